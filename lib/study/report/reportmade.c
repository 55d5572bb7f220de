/* How a report was made: every command on the way, and the hashes of what they read. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/report/reportparts.h"

static bool is_plain(const char *word)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "_-./=:,+@%";
    return word[0] != '\0' && word[strspn(word, safe)] == '\0';
}

/* One command line; words a shell would touch are quoted. */
static void add_command(struct qk_buffer *to, const cJSON *provenance)
{
    const cJSON *word;
    bool first = true;
    cJSON_ArrayForEach(word, cJSON_GetObjectItemCaseSensitive(provenance, "argv"))
    {
        if (!cJSON_IsString(word))
            continue;
        const char *quote = is_plain(word->valuestring) ? "" : "'";
        qk_buffer_format(to, "%s%s%s%s", first ? "" : " ", quote, word->valuestring, quote);
        first = false;
    }
    if (!first)
        qk_buffer_text(to, "\n");
}

/* Input files with their hashes, each path once. */
static void add_inputs(struct qk_table *t, const cJSON *provenance)
{
    const cJSON *input;
    cJSON_ArrayForEach(input, cJSON_GetObjectItemCaseSensitive(provenance, "inputs"))
    {
        const cJSON *path = cJSON_GetObjectItemCaseSensitive(input, "path");
        const cJSON *hash = cJSON_GetObjectItemCaseSensitive(input, "sha256");
        bool known = !cJSON_IsString(path) || !cJSON_IsString(hash);
        for (int i = 0; i < qk_table_rows(t) && !known; i++)
            known = strcmp(qk_table_at(t, i, 0), path->valuestring) == 0;
        if (!known) {
            qk_table_cell(t, "%s", path->valuestring);
            qk_table_cell(t, "%s", hash->valuestring);
        }
    }
}

static void add_made(struct qk_buffer *commands, struct qk_table *inputs, const cJSON *provenance)
{
    add_command(commands, provenance);
    add_inputs(inputs, provenance);
}

static void add_run(struct qk_buffer *commands, struct qk_table *inputs, const cJSON *results)
{
    const cJSON *made;
    cJSON_ArrayForEach(made, cJSON_GetObjectItemCaseSensitive(results, "made_from"))
    {
        add_made(commands, inputs, made);
    }
    add_made(commands, inputs, cJSON_GetObjectItemCaseSensitive(results, "provenance"));
}

void qk_report_made(struct qk_report_writer *w)
{
    const struct qk_combined *c = w->r->combined;
    struct qk_buffer commands = {0};
    struct qk_table inputs = {.columns = 2};
    qk_table_cell(&inputs, "file");
    qk_table_cell(&inputs, "SHA-256");
    for (int i = 0; c != NULL && i < c->count; i++)
        for (int s = 0; s < c->at[i].n_seeds; s++)
            add_run(&commands, &inputs, c->at[i].seeds[s].json);
    if (c != NULL)
        add_made(&commands, &inputs, cJSON_GetObjectItemCaseSensitive(c->json, "provenance"));
    add_made(&commands, &inputs, cJSON_GetObjectItemCaseSensitive(w->r->chosen, "provenance"));
    add_made(&commands, &inputs, cJSON_GetObjectItemCaseSensitive(w->r->verdict, "provenance"));
    char *own = qk_provenance_text(w->r->provenance);
    cJSON *json = own != NULL ? cJSON_Parse(own) : NULL;
    add_made(&commands, &inputs, json);
    cJSON_Delete(json);
    free(own);
    qk_page_heading(&w->page, 2, "How it was made");
    qk_report_paragraph(
        w,
        "Every file records the command that made it and the hashes of what it was made "
        "from; `qk-aggregate` %s wrote this page from them.",
        QK_VERSION);
    if (c != NULL && !isnan(c->elapsed_s))
        qk_report_paragraph(w, "Training took %.0f s in all.", c->elapsed_s);
    qk_page_fold(&w->page, "Commands");
    qk_page_code(&w->page, commands.size > 0 ? commands.at : "(not recorded)");
    qk_page_unfold(&w->page);
    if (qk_table_rows(&inputs) > 0) {
        qk_page_fold(&w->page, "Inputs and their hashes");
        qk_page_table(&w->page, &inputs);
        qk_page_unfold(&w->page);
    }
    qk_table_free(&inputs);
    qk_buffer_free(&commands);
}
