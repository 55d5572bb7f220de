#include "study/judge/judge.h"

#include <string.h>

#include "study/judge/judging.h"
#include "study/judge/verdict.h"

static cJSON *judge_causal(const struct qk_evidence *e, struct qk_err *err)
{
    struct qk_verdict v;
    if (e->combined == NULL)
        return qk_fail_null(err, "causal50m is judged from a combined.json");
    if (qk_verdict_causal(&v, e->combined, err) != 0)
        return NULL;
    cJSON *json = qk_verdict_json(&v);
    qk_verdict_free(&v);
    return json;
}

cJSON *qk_judge(const char *study, const struct qk_evidence *e, struct qk_err *err)
{
    static const struct {
        const char *name;
        cJSON *(*judge)(const struct qk_evidence *, struct qk_err *);
    } studies[] = {{"causal50m", judge_causal},
                   {"pilot500k", qk_judge_pilot},
                   {"ablation25m", qk_judge_ablation},
                   {"sweep20m", qk_judge_sweep},
                   {"main300m", qk_judge_main}};
    for (size_t i = 0; i < sizeof studies / sizeof studies[0]; i++)
        if (strcmp(study, studies[i].name) == 0)
            return studies[i].judge(e, err);
    return qk_fail_null(err, "there is no study '%s'", study);
}
