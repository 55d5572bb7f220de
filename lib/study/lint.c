#include "study/lint.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/textfile.h"

/* Sections whose every paragraph must show a number or a figure. */
static const char *const claiming[] = {"TL;DR", "Verdict",        "Loss",
                                       "Rank",  "Layer",          "What changes",
                                       "Gain",  "Other measures", "Discussion"};

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

static bool has_evidence(const char *block)
{
    return strpbrk(block, "0123456789") != NULL || strstr(block, "![") != NULL;
}

struct lint {
    const char *where;
    struct qk_err *err;
    enum section section;
    char heading[128];
    struct qk_buffer block, limitations;
    bool code, summary, curves;
    int line, block_line;
};

/* A paragraph or list item is over. */
static int end_block(struct lint *l)
{
    int failed = 0;
    if (l->block.size > 0 && l->section == CLAIMS && !has_evidence(l->block.at))
        failed = qk_fail(l->err, "%s: line %d: a claim under '%s' has neither number nor figure",
                         l->where, l->block_line, l->heading);
    if (l->block.size > 0 && l->section == LIMITATIONS)
        qk_buffer_text(&l->limitations, l->block.at);
    l->block.size = 0;
    return failed;
}

static int heading(struct lint *l, const char *text)
{
    text += strspn(text, "# ");
    snprintf(l->heading, sizeof l->heading, "%.120s", text);
    l->section = section_of(text);
    l->summary |= strncmp(text, "TL;DR", 5) == 0;
    return 0;
}

static int lint_line(struct lint *l, const char *line)
{
    l->line++;
    if (strncmp(line, "```", 3) == 0)
        l->code = !l->code;
    else if (has_proves(line))
        return qk_fail(l->err, "%s: line %d: says \"proves\"", l->where, l->line);
    l->curves |= strncmp(line, "![", 2) == 0 && strstr(line, "1_loss") != NULL;
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

static int lint_whole(const struct lint *l)
{
    if (!l->summary)
        return qk_fail(l->err, "%s: there is no TL;DR", l->where);
    if (!l->curves)
        return qk_fail(l->err, "%s: the loss curves (figure 1_loss) are missing", l->where);
    if (l->limitations.size == 0)
        return qk_fail(l->err, "%s: the limitations are missing", l->where);
    if (strstr(l->limitations.at, "seed") == NULL)
        return qk_fail(l->err, "%s: the limitations say nothing about seeds", l->where);
    if (strstr(l->limitations.at, "earning rate") == NULL)
        return qk_fail(l->err, "%s: the limitations say nothing about learning rates", l->where);
    return 0;
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
