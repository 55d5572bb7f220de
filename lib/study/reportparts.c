#include "study/reportparts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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

const char *qk_report_said(const struct qk_report_writer *w, const char *key)
{
    const cJSON *all = cJSON_GetObjectItemCaseSensitive(w->r->verdict, "sentences");
    const cJSON *one = cJSON_GetObjectItemCaseSensitive(all, key);
    return cJSON_IsString(one) ? one->valuestring : "";
}

void qk_report_sentence(struct qk_report_writer *w, const char *key)
{
    const char *text = qk_report_said(w, key);
    if (text[0] != '\0')
        qk_page_paragraph(&w->page, text);
}

const char *qk_report_reservation(const struct qk_report_writer *w)
{
    return qk_verdict_reservation(w->r->numbers);
}

const cJSON *qk_report_config(const struct qk_report_writer *w, int condition)
{
    const struct qk_condition *c = w->r->numbers->at[condition].condition;
    return cJSON_GetObjectItemCaseSensitive(c->seeds[0].json, "config");
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
