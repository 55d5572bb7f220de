/* Verdicts of the studies: made by code from numbers, by rules fixed before any run.
 *
 * Each study's is a file of its own over what they share (judging.h): verdictpilot.c,
 * verdictablation.c, verdictsweep.c, verdictmain.c, and of causal50m verdict.h.  Each makes
 * verdict.json: study, title, outcome, sentence, rule, sentences{}, caveats[], numbers{}.  With one
 * seed every sentence about a difference says that no variance is known.
 *
 * Sentences by study (a report takes them by key; one that cannot be said is not there):
 *   causal50m   pattern kill equivalence_ab _bc _ac loss loss_ab loss_bc order minimum recovery
 *               plateau plateau_contrasts null layers gain scale
 *   pilot500k   rank loss trajectory layers null
 *   ablation25m norm norm_adamw optimizer interaction data loss time surgery queries cross null
 *               claim_joint claim_accelerates claim_spectrum claim_adaptive claim_pruning
 *   sweep20m    CONFIG (one each), edges, rank_moves
 *   main300m    scenario order tolerance norm_muon norm_adamw optimizer reversal_adamw
 *               reversal_muon downstream loss_vs_pr headline
 */
#ifndef QK_STUDY_JUDGE_H
#define QK_STUDY_JUDGE_H

#include "study/judge/table.h"
#include "study/measure/stats.h"
#include "study/results/results.h"
#include "study/results/surgery.h"

#define QK_STUDIES "causal50m|pilot500k|ablation25m|sweep20m|main300m"

/* What a verdict is made from; `surgery` and `chosen` (chosen.json) may be NULL.  sweep20m needs
 * `chosen` alone, the others `combined`. */
struct qk_evidence {
    const struct qk_combined *combined;
    const struct qk_surgery *surgery;
    const cJSON *chosen;
};

/* " (one seed: no variance is known)" with one seed, else "": stands before the full stop of every
 * sentence about a difference. */
const char *qk_seeds_reservation(int n_seeds);

/* verdict.json without provenance, the caller's to delete; NULL with a sentence. */
cJSON *qk_judge(const char *study, const struct qk_evidence *e, struct qk_err *err);

/* A table of a study: "conditions" and "contrasts" of all (sweep20m: "rates", "grid"); main300m
 * also "runs", "rates", "configs", "headline"; ablation25m also "surgery".  -1 with a sentence for
 * what is not there. */
int qk_study_table(struct qk_table *t, const char *study, const char *of,
                   const struct qk_evidence *e, struct qk_err *err);
#define QK_STUDY_TABLES "conditions|contrasts|trajectory|runs|rates|grid|configs|headline|surgery"

#endif
