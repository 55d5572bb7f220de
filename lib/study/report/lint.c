#include "study/report/lint.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/textfile.h"

/* Sections whose every paragraph must show a number or a figure. */
static const char *const claiming[] = {
    "TL;DR",      "Verdict",         "Loss",   "Rank",           "Representation quality",
    "Layer",      "What changes",    "Gain",   "Other measures", "Data complexity",
    "Surgery",    "Reversal",        "Claims", "Downstream",     "The original's report",
    "Discussion", "Published values"};
/* Figures that show loss: one of them must be there. */
static const char *const curves[] = {"1_loss", "panel_a_loss", "rank_and_loss", "lr_sweep",
                                     "val_loss"};
/* What limitations speak of. */
static const struct {
    const char *word, *of;
} limits[] = {{"seed", "seeds"},
              {"earning rate", "learning rates"},
              {"size", "the size of the model"},
              {"rchitecture", "the architecture"},
              {"scale", "other scales"},
              {"production", "production models"}};

/* What limitations say of a comparison of tuned configurations (main300m) that is none.  A study
 * that keeps one rate on purpose says "not tuned per condition". */
static const char *const untuned[] = {"not tuned per configuration", "No rate was chosen for",
                                      "was not trained at the rate the sweep chose"};

enum section { OTHER, CLAIMS, LIMITATIONS };

static enum section section_of(const char *heading)
{
    if (strncmp(heading, "Limitations", 11) == 0)
        return LIMITATIONS;
    for (size_t i = 0; i < sizeof claiming / sizeof claiming[0]; i++)
        if (strncmp(heading, claiming[i], strlen(claiming[i])) == 0)
            return CLAIMS;
    return OTHER;
}

/* "proves" as a word, in any case. */
static bool has_proves(const char *line)
{
    for (const char *s = line; *s != '\0'; s++)
        if (strncasecmp(s, "proves", 6) == 0 && !isalpha((unsigned char)s[6]) &&
            (s == line || !isalpha((unsigned char)s[-1])))
            return true;
    return false;
}

/* A digit that belongs to no name: neither that of A1 nor those of main300m. */
static bool has_number(const char *block)
{
    bool in_name = false;
    for (const char *s = block; *s != '\0'; s++) {
        if (isdigit((unsigned char)*s) && !in_name)
            return true;
        in_name =
            isalpha((unsigned char)*s) || *s == '_' || (in_name && isdigit((unsigned char)*s));
    }
    return false;
}

static bool has_evidence(const char *block)
{
    return has_number(block) || strstr(block, "![") != NULL;
}

struct lint {
    const char *where;
    struct qk_err *err;
    enum section section;
    char heading[128];
    struct qk_buffer block, limitations, downstream, summary;
    bool code, has_curves, has_sweep, setup;
    bool asked; /* under a heading of level 3 in a claiming section, without a block so far */
    int line, block_line;
};

/* A paragraph or list item is over. */
static int end_block(struct lint *l)
{
    int failed = 0;
    if (l->block.size == 0)
        return 0;
    l->asked = false;
    if (l->section == CLAIMS && !has_evidence(l->block.at))
        failed = qk_fail(l->err, "%s: line %d: a claim under '%s' has neither number nor figure",
                         l->where, l->block_line, l->heading);
    if (l->section == LIMITATIONS)
        qk_buffer_text(&l->limitations, l->block.at);
    if (strncmp(l->heading, "Downstream", 10) == 0)
        qk_buffer_text(&l->downstream, l->block.at);
    if (strncmp(l->heading, "TL;DR", 5) == 0)
        qk_buffer_text(&l->summary, l->block.at);
    l->block.size = 0;
    return failed;
}

static int end_heading(const struct lint *l)
{
    if (l->asked)
        return qk_fail(l->err, "%s: '%s' is asked and not answered", l->where, l->heading);
    return 0;
}

/* One of level 3 belongs to the section that it stands in. */
static int heading(struct lint *l, const char *text)
{
    const size_t level = strspn(text, "#");
    if (end_heading(l) != 0)
        return -1;
    text += strspn(text, "# ");
    snprintf(l->heading, sizeof l->heading, "%.120s", text);
    if (level <= 2)
        l->section = section_of(text);
    l->asked = level == 3 && l->section == CLAIMS;
    l->setup |= strncmp(text, "Set-up", 6) == 0;
    return 0;
}

static void note_figure(struct lint *l, const char *line)
{
    if (strncmp(line, "![", 2) != 0)
        return;
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++)
        l->has_curves |= strstr(line, curves[i]) != NULL;
    l->has_sweep |= strstr(line, "lr_sweep") != NULL;
}

/* Sentences of a text: full stops before a space or at the end. */
static int sentences_in(const char *text)
{
    int count = 0;
    for (const char *s = text; (s = strstr(s, ". ")) != NULL; s++)
        count++;
    return count;
}

static int lint_line(struct lint *l, const char *line)
{
    l->line++;
    if (strncmp(line, "```", 3) == 0)
        l->code = !l->code;
    else if (has_proves(line))
        return qk_fail(l->err, "%s: line %d: says \"proves\"", l->where, l->line);
    note_figure(l, line);
    bool item = strncmp(line, "- ", 2) == 0, is_heading = line[0] == '#' && !l->code;
    bool skip = line[strspn(line, " \t\r")] == '\0' || line[0] == '|' || line[0] == '<' || l->code;
    if ((skip || item || is_heading) && end_block(l) != 0)
        return -1;
    if (is_heading)
        return heading(l, line);
    if (skip)
        return 0;
    if (l->block.size == 0)
        l->block_line = l->line;
    qk_buffer_text(&l->block, line);
    qk_buffer_text(&l->block, " ");
    return 0;
}

static int lint_limitations(const struct lint *l)
{
    if (l->limitations.size == 0)
        return qk_fail(l->err, "%s: the limitations are missing", l->where);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        if (strstr(l->limitations.at, limits[i].word) == NULL)
            return qk_fail(l->err, "%s: the limitations say nothing about %s", l->where,
                           limits[i].of);
    for (size_t i = 0; i < sizeof untuned / sizeof untuned[0]; i++)
        if (strstr(l->limitations.at, untuned[i]) != NULL)
            return qk_fail(l->err,
                           "%s: configurations are compared whose learning rates were not tuned "
                           "for each: the limitations say \"%s\"",
                           l->where, untuned[i]);
    if (!l->has_sweep && strstr(l->limitations.at, "not tuned per condition") == NULL)
        return qk_fail(l->err,
                       "%s: no tuning of learning rates is shown (figure lr_sweep), and the "
                       "limitations do not say that they were not tuned per condition",
                       l->where);
    return 0;
}

static int lint_whole(const struct lint *l)
{
    if (end_heading(l) != 0)
        return -1;
    if (l->summary.size == 0)
        return qk_fail(l->err, "%s: there is no TL;DR", l->where);
    if (sentences_in(l->summary.at) < 3)
        return qk_fail(l->err, "%s: the TL;DR has fewer than three sentences", l->where);
    if (!l->setup)
        return qk_fail(l->err, "%s: the set-up is missing", l->where);
    if (!l->has_curves)
        return qk_fail(l->err, "%s: the loss curves (figure 1_loss or its kin) are missing",
                       l->where);
    if (l->downstream.size > 0 && strstr(l->downstream.at, "HellaSwag") != NULL &&
        strstr(l->downstream.at, "underpowered") == NULL)
        return qk_fail(l->err, "%s: downstream numbers are given without their power", l->where);
    return lint_limitations(l);
}

int qk_lint_text(const char *markdown, const char *where, struct qk_err *err)
{
    struct lint l = {.where = where, .err = err};
    struct qk_strings lines = {0};
    int failed = 0;
    qk_strings_split(&lines, markdown, '\n');
    for (size_t i = 0; i < lines.count && !failed; i++)
        failed = lint_line(&l, lines.at[i]);
    if (!failed)
        failed = end_block(&l) != 0 || lint_whole(&l) != 0;
    qk_strings_free(&lines);
    qk_buffer_free(&l.block);
    qk_buffer_free(&l.limitations);
    qk_buffer_free(&l.downstream);
    qk_buffer_free(&l.summary);
    return failed ? -1 : 0;
}

int qk_lint_file(const char *path, struct qk_err *err)
{
    struct qk_buffer text = {0};
    int failed = qk_text_slurp(path, &text, err);
    if (!failed)
        failed = qk_lint_text(text.at != NULL ? text.at : "", path, err);
    qk_buffer_free(&text);
    return failed;
}
