#include "study/report/reportparts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "study/results/picklr.h"

void qk_report_heading(struct qk_report_writer *w, int level, const char *text)
{
    qk_page_heading(&w->page, level, text);
}

void qk_report_paragraph(struct qk_report_writer *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = qk_format_args(format, args);
    va_end(args);
    qk_page_paragraph(&w->page, text);
    free(text);
}

void qk_report_item(struct qk_strings *list, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = qk_format_args(format, args);
    va_end(args);
    qk_strings_add(list, text);
    free(text);
}

void qk_report_items(struct qk_strings *list, const char *const *texts)
{
    for (; *texts != NULL; texts++)
        qk_strings_add(list, *texts);
}

void qk_report_list(struct qk_report_writer *w, struct qk_strings *list)
{
    if (list->count > 0)
        qk_page_list(&w->page, list);
    qk_strings_free(list);
}

void qk_report_table(struct qk_report_writer *w, struct qk_table *t)
{
    qk_page_table(&w->page, t);
    qk_table_free(t);
}

void qk_report_figure(struct qk_report_writer *w, const char *name, const char *caption)
{
    if (!w->failed)
        w->failed = qk_page_figure(&w->page, w->r->figures, w->link, name, caption, w->err) != 0;
}

static bool figure_there(const struct qk_report_writer *w, const char *name)
{
    char *svg = qk_format("%s/%s.svg", w->r->figures, name);
    bool there = access(svg, R_OK) == 0;
    free(svg);
    return there;
}

void qk_report_figure_if(struct qk_report_writer *w, const char *name, const char *caption)
{
    if (figure_there(w, name))
        qk_report_figure(w, name, caption);
}

static const char *string_of(const cJSON *object, const char *key)
{
    const char *text = qk_json_find_text(object, key);
    return text != NULL ? text : "";
}

const char *qk_report_text(const struct qk_report_writer *w, const char *key)
{
    return string_of(w->r->verdict, key);
}

const char *qk_report_said(const struct qk_report_writer *w, const char *key)
{
    return string_of(cJSON_GetObjectItemCaseSensitive(w->r->verdict, "sentences"), key);
}

void qk_report_sentence(struct qk_report_writer *w, const char *key)
{
    const char *text = qk_report_said(w, key);
    if (text[0] != '\0')
        qk_page_paragraph(&w->page, text);
}

void qk_report_sentences(struct qk_report_writer *w, const char *const *keys)
{
    for (; *keys != NULL; keys++)
        qk_report_sentence(w, *keys);
}

void qk_report_three(struct qk_report_writer *w, const char *second, const char *third)
{
    qk_report_paragraph(w, "%s %s %s", qk_report_text(w, "sentence"), qk_report_said(w, second),
                        qk_report_said(w, third));
}

void qk_report_study_table(struct qk_report_writer *w, const char *of)
{
    const struct qk_evidence e = qk_report_evidence(w->r);
    struct qk_table t = {0};
    if (w->failed)
        return;
    w->failed = qk_study_table(&t, w->r->study, of, &e, w->err) != 0;
    if (w->failed)
        qk_table_free(&t);
    else
        qk_report_table(w, &t);
}

void qk_report_judged(struct qk_report_writer *w, const char *heading, const char *const *keys)
{
    qk_report_study_table(w, "conditions");
    qk_report_heading(w, 2, heading);
    qk_report_sentences(w, keys);
    qk_report_study_table(w, "contrasts");
}

void qk_report_rule(struct qk_report_writer *w)
{
    qk_report_paragraph(w, "The rule was fixed before the runs. %s", qk_report_text(w, "rule"));
}

int qk_report_seeds(const struct qk_report_writer *w)
{
    const struct qk_combined *c = w->r->combined;
    return c == NULL ? qk_chosen_seeds(w->r->chosen) : c->count == 0 ? 1 : c->at[0].n_seeds;
}

const char *qk_report_reservation(const struct qk_report_writer *w)
{
    return qk_seeds_reservation(qk_report_seeds(w));
}

const cJSON *qk_report_config(const struct qk_report_writer *w, int condition)
{
    if (w->r->combined == NULL)
        return cJSON_GetObjectItemCaseSensitive(w->r->chosen, "config");
    if (condition >= w->r->combined->count)
        return NULL;
    return cJSON_GetObjectItemCaseSensitive(w->r->combined->at[condition].seeds[0].json, "config");
}

void qk_report_setting(const cJSON *config, const char *key, char text[64])
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(config, key);
    char *printed = cJSON_IsString(value) ? qk_strdup(value->valuestring)
                    : value != NULL       ? cJSON_PrintUnformatted(value)
                                          : qk_strdup("-");
    snprintf(text, 64, "%s", printed);
    free(printed);
}

double qk_report_last(const struct qk_results *r, const char *group, const char *key)
{
    const cJSON *json = r->json;
    if (group != NULL)
        json = cJSON_GetObjectItemCaseSensitive(json, group);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, key);
    return qk_json_as_number(cJSON_GetArrayItem(list, cJSON_GetArraySize(list) - 1));
}
