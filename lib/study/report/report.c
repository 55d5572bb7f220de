#include "study/report/report.h"

#include <stdlib.h>
#include <string.h>

#include "study/report/lint.h"
#include "study/report/reportparts.h"

static const struct qk_report_kind *const kinds[] = {
    &qk_report_causal, &qk_report_pilot, &qk_report_ablation, &qk_report_sweep, &qk_report_main};

static const struct qk_report_kind *kind_of(const char *study)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i]->study, study) == 0)
            return kinds[i];
    return NULL;
}

/* From the folder of `out` to `folder`, both as given on the command line. */
static char *relative(const char *out, const char *folder)
{
    if (strcmp(out, "-") == 0 || (out[0] == '/') != (folder[0] == '/'))
        return qk_strdup(folder);
    struct qk_strings from = {0}, to = {0};
    struct qk_buffer path = {0};
    qk_strings_split(&from, out, '/');
    qk_strings_split(&to, folder, '/');
    size_t same = 0, depth = from.count - 1;
    while (same < depth && same < to.count && strcmp(from.at[same], to.at[same]) == 0)
        same++;
    for (size_t i = same; i < depth; i++)
        qk_buffer_text(&path, path.size > 0 ? "/.." : "..");
    for (size_t i = same; i < to.count; i++)
        if (to.at[i][0] != '\0')
            qk_buffer_format(&path, "%s%s", path.size > 0 ? "/" : "", to.at[i]);
    if (path.size == 0)
        qk_buffer_text(&path, ".");
    qk_strings_free(&from);
    qk_strings_free(&to);
    return path.at;
}

/* A verdict.json made from another combined.json must not end up in this report. */
static int check_verdict(const struct qk_report *r, struct qk_err *err)
{
    static const char *const keys[] = {"study", "outcome",  "numbers",
                                       "title", "sentence", "sentences"};
    const cJSON *study = cJSON_GetObjectItemCaseSensitive(r->verdict, "study");
    const struct qk_evidence e = qk_report_evidence(r);
    if (!cJSON_IsString(study) || strcmp(study->valuestring, r->study) != 0)
        return qk_fail(err, "%s: is no verdict of %s", r->verdict_path, r->study);
    cJSON *ours = qk_judge(r->study, &e, err);
    if (ours == NULL)
        return qk_fail_in(err, "%s: ", r->verdict_path);
    int failed = 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && !failed; i++)
        if (!cJSON_Compare(cJSON_GetObjectItemCaseSensitive(ours, keys[i]),
                           cJSON_GetObjectItemCaseSensitive(r->verdict, keys[i]), 1))
            failed = qk_fail(
                err, "%s: '%s' is not what %s: make the verdict anew", r->verdict_path, keys[i],
                r->surgery != NULL || r->chosen != NULL ? "the files given with it give"
                                                        : "the combined file gives");
    cJSON_Delete(ours);
    return failed;
}

static int write_page(struct qk_buffer *to, const struct qk_report *r,
                      const struct qk_verdict *numbers, bool html, struct qk_err *err)
{
    struct qk_report_writer w = {.r = r,
                                 .kind = kind_of(r->study),
                                 .numbers = numbers,
                                 .err = err,
                                 .link = relative(r->out, r->figures)};
    qk_page_begin(&w.page, html, qk_report_text(&w, "title"));
    qk_page_verdict(&w.page, "Verdict:", qk_report_text(&w, "sentence"));
    qk_report_write_size(&w);
    qk_report_heading(&w, 2, "TL;DR");
    w.kind->tldr(&w);
    w.kind->summary(&w);
    qk_report_setup(&w);
    w.kind->findings(&w);
    qk_report_limitations(&w);
    qk_report_prior_work(&w);
    qk_report_recommendations(&w);
    qk_report_made(&w);
    qk_page_end(&w.page);
    free(w.link);
    if (w.failed)
        qk_buffer_free(&w.page.text);
    else
        *to = w.page.text;
    return w.failed ? -1 : 0;
}

static int write_linted(struct qk_buffer *to, const struct qk_report *r,
                        const struct qk_verdict *numbers, struct qk_err *err)
{
    struct qk_buffer markdown = {0};
    if (write_page(&markdown, r, numbers, false, err) != 0)
        return -1;
    int failed = qk_lint_text(markdown.at, r->out, err);
    if (!failed && !r->html) {
        *to = markdown;
        return 0;
    }
    if (!failed)
        failed = write_page(to, r, numbers, true, err);
    qk_buffer_free(&markdown);
    return failed;
}

int qk_report_write(struct qk_buffer *to, const struct qk_report *r, struct qk_err *err)
{
    struct qk_verdict numbers;
    if (kind_of(r->study) == NULL)
        return qk_fail(err, "there is no report of a study '%s'", r->study);
    if (check_verdict(r, err) != 0)
        return -1;
    if (kind_of(r->study) != &qk_report_causal)
        return write_linted(to, r, NULL, err);
    if (qk_verdict_causal(&numbers, r->combined, err) != 0)
        return -1;
    int failed = write_linted(to, r, &numbers, err);
    qk_verdict_free(&numbers);
    return failed;
}
