#include "base/provenance.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/outfile.h"
#include "base/sha256.h"

void qk_provenance_begin(struct qk_provenance *p, const struct qk_command *command, bool off)
{
    *p = (struct qk_provenance){.off = off, .tool = command->tool};
    qk_strings_add(&p->argv, command->tool);
    for (size_t i = 0; i < command->canonical.count; i++)
        qk_strings_add(&p->argv, command->canonical.at[i]);
}

void qk_provenance_free(struct qk_provenance *p)
{
    qk_strings_free(&p->argv);
    qk_strings_free(&p->paths);
    qk_strings_free(&p->hashes);
    qk_out_forget_inputs();
}

/* The place of the path, -1 when it is not there. */
static int find(const struct qk_provenance *p, const char *path)
{
    for (size_t i = 0; i < p->paths.count; i++)
        if (strcmp(p->paths.at[i], path) == 0)
            return (int)i;
    return -1;
}

/* What is gone once it is read, as a pipe is, cannot be hashed before. */
static bool is_passing(const char *path)
{
    struct stat st;
    return strcmp(path, "-") == 0 ||
           (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode));
}

void qk_provenance_expect(struct qk_provenance *p, const char *path)
{
    qk_out_protect(path);
    if (p->off || is_passing(path) || find(p, path) >= 0)
        return;
    qk_strings_add(&p->paths, path);
    qk_strings_add(&p->hashes, "");
}

void qk_provenance_found(struct qk_provenance *p, const char *path, const char *hex)
{
    int i = find(p, path);
    if (i < 0)
        return;
    free(p->hashes.at[i]);
    p->hashes.at[i] = qk_strdup(hex);
}

int qk_provenance_input(struct qk_provenance *p, const char *path, struct qk_err *err)
{
    qk_out_protect(path);
    if (p->off || is_passing(path) || find(p, path) >= 0)
        return 0;
    char hex[QK_SHA256_HEX];
    if (qk_sha256_file(path, hex, err) != 0)
        return -1;
    qk_strings_add(&p->paths, path);
    qk_strings_add(&p->hashes, hex);
    return 0;
}

void qk_provenance_device(struct qk_provenance *p, const char *name)
{
    if (strcmp(name, "cpu") == 0)
        return;
    for (size_t i = 0; i + 1 < p->argv.count; i++) {
        if (strcmp(p->argv.at[i], "--device") != 0)
            continue;
        if (strcmp(p->argv.at[i + 1], "auto") == 0) {
            free(p->argv.at[i + 1]);
            p->argv.at[i + 1] = qk_strdup(name);
        }
        return;
    }
    qk_strings_add(&p->argv, "--device");
    qk_strings_add(&p->argv, name);
}

static cJSON *as_json(const struct qk_provenance *p)
{
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "tool", p->tool);
    cJSON_AddStringToObject(object, "version", QK_VERSION);
    cJSON *argv = cJSON_AddArrayToObject(object, "argv");
    for (size_t i = 0; i < p->argv.count; i++)
        cJSON_AddItemToArray(argv, cJSON_CreateString(p->argv.at[i]));
    cJSON *inputs = cJSON_AddArrayToObject(object, "inputs");
    for (size_t i = 0; i < p->paths.count; i++) {
        cJSON *input = cJSON_CreateObject();
        cJSON_AddStringToObject(input, "path", p->paths.at[i]);
        cJSON_AddStringToObject(input, "sha256", p->hashes.at[i]);
        cJSON_AddItemToArray(inputs, input);
    }
    return object;
}

char *qk_provenance_text(const struct qk_provenance *p)
{
    if (p->off)
        return NULL;
    cJSON *object = as_json(p);
    char *text = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    return text;
}

int qk_provenance_to_h5(const struct qk_provenance *p, struct qk_h5 *file, struct qk_err *err)
{
    if (p->off)
        return 0;
    char *text = qk_provenance_text(p);
    int bad = qk_h5_put_text(file, "/", "provenance", text, err);
    free(text);
    return bad;
}

void qk_provenance_to_json(const struct qk_provenance *p, struct cJSON *object)
{
    if (!p->off)
        cJSON_AddItemToObject(object, "provenance", as_json(p));
}
