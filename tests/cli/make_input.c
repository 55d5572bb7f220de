/* Tiny HDF5 inputs for the command-line tests, whole or wrong in one way.
 *
 *     make_input checkpoint|tokens|keys|config OUT [CHANGE...]
 *     make_input flip OUT IN SEED        IN with a few bytes damaged
 *
 * CHANGE is one of
 *     text:NAME=TEXT  int:NAME=N   another value of an attribute (a new one of the file if none)
 *     without:NAME                 no such attribute, or no such array
 *     move:NAME=OBJECT             the attribute at that object alone
 *     config:KEY=JSON              another value of a config key; "config:KEY=" removes it
 *     nan:ARRAY  inf:ARRAY         the first number
 *     value:ARRAY=N                the first number; second:, last: another one
 *     wide:ARRAY                   one row too many
 *     as:ARRAY=TYPE                stored as another type ("int32", "float64", ...)
 *     full                         a keys dump with its rows
 *
 * The model: V 32, D 8, 1 layer, 2 query heads and 1 key head of dimension 4, F 16, T 8.  "config"
 * writes its config as JSON.  The files follow the contract's text, not lib/model.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/h5.h"
#include "base/json.h"
#include "base/outfile.h"
#include "base/rng.h"

enum { V = 32, D = 8, H = 2, G = 1, HD = 4, F = 16, T = 8, PROBES = 2, ROWS = PROBES * T };
enum { MOST = 64, SEED = 5 };

struct attribute {
    char object[64];
    const char *name, *text; /* text NULL: a whole number */
    int64_t whole;
};

struct array {
    char name[64];
    enum qk_type type;
    int rank;
    int64_t dims[3], count;
    double *values;
};

static struct attribute attributes[MOST];
static struct array arrays[MOST];
static int attribute_count, array_count;
static cJSON *config;
static char *config_text;
static bool full;

static void die(const char *sentence)
{
    fprintf(stderr, "make_input: %s\n", sentence);
    exit(1);
}

static void check(int bad, const struct qk_err *err)
{
    if (bad)
        die(err->text);
}

/* ---- what a file holds ---- */

static struct attribute *attribute(const char *object, const char *name)
{
    if (attribute_count == MOST)
        die("too many attributes");
    struct attribute *a = &attributes[attribute_count++];
    *a = (struct attribute){.name = name};
    snprintf(a->object, sizeof a->object, "%s", object);
    return a;
}

static void put_text(const char *name, const char *text)
{
    attribute("/", name)->text = text;
}

static void put_int(const char *object, const char *name, int64_t whole)
{
    attribute(object, name)->whole = whole;
}

/* Zeros; the caller fills values[]. */
static struct array *array(const char *name, enum qk_type type, int rank, int64_t a, int64_t b,
                           int64_t c)
{
    if (array_count == MOST)
        die("too many arrays");
    struct array *to = &arrays[array_count++];
    *to = (struct array){.type = type, .rank = rank, .dims = {a, b, c}};
    snprintf(to->name, sizeof to->name, "%s", name);
    to->count = a * (rank > 1 ? b : 1) * (rank > 2 ? c : 1);
    to->values = qk_zalloc((size_t)to->count, sizeof *to->values);
    return to;
}

static void normal(struct array *to, double mean, double scale)
{
    for (int64_t i = 0; i < to->count; i++)
        to->values[i] = mean + scale * qk_rng_normal(SEED, qk_rng_stream(to->name), (uint64_t)i);
}

static void matrix(const char *name, int64_t rows, int64_t cols)
{
    normal(array(name, QK_F32, 2, rows, cols, 0), 0, 0.3);
}

static void gain(const char *name, enum qk_type type, int64_t n)
{
    normal(array(name, type, 1, n, 0, 0), 1, 0.1);
}

/* Random tokens; in a list every tenth is 0, the end of text. */
static void tokens(const char *name, int rank, int64_t rows, int64_t cols)
{
    struct array *to = array(name, QK_U16, rank, rows, cols, 0);
    for (int64_t i = 0; i < to->count; i++)
        to->values[i] = 1 + (double)qk_rng_below(SEED, qk_rng_stream(name), (uint64_t)i, V - 1);
    for (int64_t i = 9; rank == 1 && i < to->count; i += 10)
        to->values[i] = 0;
}

static void checkpoint(void)
{
    put_text("kind", "checkpoint");
    put_int("/", "version", 1);
    put_int("/", "step", 0);
    put_int("/", "tokens_seen", 0);
    put_int("/", "eot", 0);
    matrix("/weights/embed", V, D);
    gain("/weights/layers/0/attn_norm", QK_F32, D);
    matrix("/weights/layers/0/wq", H * HD, D);
    matrix("/weights/layers/0/wk", G * HD, D);
    matrix("/weights/layers/0/wv", G * HD, D);
    matrix("/weights/layers/0/wo", D, H * HD);
    gain("/weights/layers/0/q_norm", QK_F32, HD);
    gain("/weights/layers/0/k_norm", QK_F32, HD);
    gain("/weights/layers/0/ffn_norm", QK_F32, D);
    matrix("/weights/layers/0/w_up", F, D);
    matrix("/weights/layers/0/w_down", D, F);
    gain("/weights/final_norm", QK_F32, D);
    tokens("/probe/tokens", 2, PROBES, T);
}

static void split(const char *name, int64_t count)
{
    char object[64];
    snprintf(object, sizeof object, "/%s/tokens", name);
    tokens(object, 1, count, 0);
    snprintf(object, sizeof object, "/%s/docs", name);
    struct array *docs = array(object, QK_U64, 1, count / 10 + 1, 0, 0);
    for (int64_t i = 0; i < docs->count; i++)
        docs->values[i] = (double)(10 * i);
}

static void pack(void)
{
    put_text("kind", "tokens");
    put_int("/", "version", 1);
    put_int("/", "vocab_size", V);
    put_int("/", "eot", 0);
    split("train", 400);
    split("val", 100);
    split("test", 100);
    tokens("/short/tokens", 1, T, 0); /* one too few for a window */
    tokens("/probe/tokens", 2, PROBES, T);
}

/* Gram matrix and mean of random rows, per head. */
static void statistics(const char *site, const char *what, int heads)
{
    const bool weight = strcmp(site, "weight") == 0;
    const int n = weight ? D : ROWS;
    char group[40], name[60];
    snprintf(group, sizeof group, "/layers/0/%s/%s", site, what);
    snprintf(name, sizeof name, "%s/rows", group);
    struct array rows = {.count = (int64_t)heads * n * HD};
    snprintf(rows.name, sizeof rows.name, "%s", name);
    rows.values = qk_zalloc((size_t)rows.count, sizeof *rows.values);
    normal(&rows, 0.2, 1);
    snprintf(name, sizeof name, "%s/gram", group);
    struct array *gram = array(name, QK_F64, 3, heads, HD, HD);
    for (int64_t i = 0; i < rows.count; i++)
        for (int j = 0; j < HD; j++)
            gram->values[(i / (n * HD) * HD + i % HD) * HD + j] +=
                rows.values[i] * rows.values[i - i % HD + j];
    if (weight) {
        free(rows.values);
        return;
    }
    put_int(group, "rows", n);
    snprintf(name, sizeof name, "%s/mean", group);
    struct array *mean = array(name, QK_F64, 2, heads, HD, 0);
    for (int64_t i = 0; i < rows.count; i++)
        mean->values[i / (n * HD) * HD + i % HD] += rows.values[i] / n;
    if (!full) {
        free(rows.values);
        return;
    }
    struct array *kept = array(rows.name, QK_F32, 3, heads, n, HD);
    free(kept->values);
    kept->values = rows.values;
}

static void keys(void)
{
    static const char *const sites[] = {"pre_norm", "post_norm", "post_rope", "weight"};
    put_text("kind", "keys");
    put_int("/", "version", 1);
    put_int("/", "step", 3);
    put_int("/", "tokens_seen", 48);
    for (int s = 0; s < 4; s++) {
        statistics(sites[s], "q", H);
        statistics(sites[s], "k", G);
    }
    normal(array("/layers/0/entropy", QK_F64, 1, H, 0, 0), 1, 0.1);
    normal(array("/layers/0/max_logit", QK_F64, 1, H, 0, 0), 2, 0.1);
    gain("/layers/0/q_norm", QK_F64, HD);
    gain("/layers/0/k_norm", QK_F64, HD);
}

/* ---- changes ---- */

static struct array *find_array(const char *name)
{
    for (int i = 0; i < array_count; i++)
        if (strcmp(arrays[i].name, name) == 0)
            return &arrays[i];
    return NULL;
}

static struct array *need_array(const char *name)
{
    struct array *a = find_array(name);
    if (!a)
        die(qk_format("there is no array %s", name));
    return a;
}

/* Every attribute of that name, whatever it belongs to. */
static void change_attribute(const char *name, const char *text, int64_t whole)
{
    int found = 0;
    for (int i = 0; i < attribute_count; i++)
        if (strcmp(attributes[i].name, name) == 0) {
            attributes[i].text = text;
            attributes[i].whole = whole;
            found++;
        }
    if (!found && text)
        put_text(name, text);
    else if (!found)
        put_int("/", name, whole);
}

static void leave_out(const char *name)
{
    struct array *a = find_array(name);
    bool found = a != NULL;
    if (a)
        a->name[0] = '\0';
    for (int i = 0; i < attribute_count; i++)
        if (strcmp(attributes[i].name, name) == 0) {
            attributes[i].name = "";
            found = true;
        }
    if (!found)
        die(qk_format("there is no %s to leave out", name));
}

static void move_attribute(const char *name, const char *object)
{
    int64_t whole = 0;
    for (int i = 0; i < attribute_count; i++)
        if (strcmp(attributes[i].name, name) == 0)
            whole = attributes[i].whole;
    leave_out(name);
    put_int(object, qk_strdup(name), whole);
}

static void widen(const char *name)
{
    struct array *a = need_array(name);
    const int64_t row = a->count / a->dims[0];
    a->values = qk_realloc(a->values, (size_t)(a->count + row), sizeof *a->values);
    memcpy(a->values + a->count, a->values, (size_t)row * sizeof *a->values);
    a->dims[0]++;
    a->count += row;
}

static void retype(const char *name, const char *type)
{
    for (int t = QK_U8; t <= QK_F64; t++)
        if (strcmp(qk_type_name((enum qk_type)t), type) == 0) {
            need_array(name)->type = (enum qk_type)t;
            return;
        }
    die(qk_format("there is no type %s", type));
}

static void change_config(const char *key, const char *text)
{
    struct qk_err err;
    cJSON_DeleteItemFromObjectCaseSensitive(config, key);
    if (!*text)
        return;
    cJSON *value = qk_json_parse(text, key, &err);
    if (!value)
        die(err.text);
    cJSON_AddItemToObject(config, key, value);
}

static void change_numbers(const char *verb, const char *name, const char *value)
{
    struct array *a = need_array(name);
    if (strcmp(verb, "nan") == 0)
        a->values[0] = NAN;
    else if (strcmp(verb, "inf") == 0)
        a->values[0] = INFINITY;
    else if (strcmp(verb, "value") == 0)
        a->values[0] = strtod(value, NULL);
    else if (strcmp(verb, "second") == 0)
        a->values[1] = strtod(value, NULL);
    else if (strcmp(verb, "last") == 0)
        a->values[a->count - 1] = strtod(value, NULL);
    else
        die(qk_format("unknown change %s", verb));
}

static void change(const char *word)
{
    const char *colon = strchr(word, ':');
    if (!colon)
        die(qk_format("unknown change %s", word));
    static struct qk_strings kept; /* attributes point into the words */
    qk_strings_add(&kept, word);
    char *verb = kept.at[kept.count - 1], *name = verb + (colon - word) + 1;
    char *value = strchr(name, '=');
    name[-1] = '\0';
    if (value)
        *value++ = '\0';
    else
        value = name + strlen(name);
    if (strcmp(verb, "text") == 0)
        change_attribute(name, value, 0);
    else if (strcmp(verb, "int") == 0)
        change_attribute(name, NULL, strtoll(value, NULL, 10));
    else if (strcmp(verb, "without") == 0)
        leave_out(name);
    else if (strcmp(verb, "move") == 0)
        move_attribute(name, value);
    else if (strcmp(verb, "config") == 0)
        change_config(name, value);
    else if (strcmp(verb, "wide") == 0)
        widen(name);
    else if (strcmp(verb, "as") == 0)
        retype(name, value);
    else
        change_numbers(verb, name, value);
}

/* ---- writing ---- */

static void store(char *to, enum qk_type type, double value)
{
    const int64_t whole = type < QK_F32 ? (int64_t)value : 0;
    const float narrow = (float)value;
    if (type == QK_F64)
        memcpy(to, &value, sizeof value);
    else if (type == QK_F32)
        memcpy(to, &narrow, sizeof narrow);
    else /* little endian: the low bytes come first */
        memcpy(to, &whole, qk_type_size(type));
}

static void write_array(struct qk_h5 *file, const struct array *a)
{
    struct qk_err err;
    const size_t size = qk_type_size(a->type);
    char *bytes = qk_alloc((size_t)a->count, size);
    for (int64_t i = 0; i < a->count; i++)
        store(bytes + (size_t)i * size, a->type, a->values[i]);
    check(qk_h5_write(file, a->name, a->type, a->rank, a->dims, a->type, bytes,
                      a->type == QK_F32 ? QK_PLAIN : 1, &err),
          &err);
    free(bytes);
}

static void write_file(const char *path)
{
    struct qk_err err;
    struct qk_h5 *file = qk_h5_create(path, &err);
    if (!file)
        die(err.text);
    for (int i = 0; i < array_count; i++)
        if (arrays[i].name[0])
            write_array(file, &arrays[i]);
    for (int i = 0; i < attribute_count; i++) {
        const struct attribute *a = &attributes[i];
        if (a->name[0] && qk_h5_has(file, a->object))
            check(a->text ? qk_h5_put_text(file, a->object, a->name, a->text, &err)
                          : qk_h5_put_int(file, a->object, a->name, a->whole, &err),
                  &err);
    }
    check(qk_h5_commit(file, &err), &err);
}

static void write_config(const char *path)
{
    struct qk_err err;
    struct qk_out *out = qk_out_open(path, &err);
    if (!out)
        die(err.text);
    qk_json_print_pretty(config, qk_out_stream(out));
    check(qk_out_commit(out, &err), &err);
}

static void fill(const char *kind)
{
    config = cJSON_Parse(
        "{\"vocab_size\":32,\"d_model\":8,\"n_layers\":1,\"n_heads\":2,\"n_kv_heads\":1,"
        "\"d_ff\":16,\"seq_len\":8,\"muon_lr\":0.02,\"adamw_lr\":0.01,\"batch_size\":2,"
        "\"train_tokens\":1600}");
    if (strcmp(kind, "checkpoint") == 0)
        checkpoint();
    else if (strcmp(kind, "tokens") == 0)
        pack();
    else if (strcmp(kind, "keys") == 0)
        keys();
    else if (strcmp(kind, "config") != 0)
        die(qk_format("there is no input of kind %s", kind));
}

/* One to four bytes that are not zero, where most of what HDF5 keeps for itself is. */
static void flip(const char *out, const char *in, uint64_t seed)
{
    static unsigned char bytes[1 << 20];
    const uint64_t stream = qk_rng_stream("flip");
    FILE *from = fopen(in, "rb"), *to = fopen(out, "wb");
    if (!from || !to)
        die("flip: cannot open");
    const size_t n = fread(bytes, 1, sizeof bytes, from);
    const uint64_t flips = 1 + qk_rng_below(seed, stream, 0, 4);
    for (uint64_t i = 1; n > 0 && i <= flips; i++) {
        size_t at = (size_t)qk_rng_below(seed, stream, 3 * i, n);
        while (at + 1 < n && !bytes[at])
            at++;
        bytes[at] ^= (unsigned char)(1 + qk_rng_below(seed, stream, 3 * i + 1, 255));
    }
    if (fwrite(bytes, 1, n, to) != n || fclose(to) != 0)
        die("flip: cannot write");
    fclose(from);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "flip") == 0) {
        flip(argv[2], argv[3], strtoull(argv[4], NULL, 10));
        return 0;
    }
    if (argc < 3)
        die("usage: make_input checkpoint|tokens|keys|config OUT [CHANGE...]");
    for (int i = 3; i < argc; i++)
        full |= strcmp(argv[i], "full") == 0;
    fill(argv[1]);
    for (int pass = 0; pass < 2; pass++) { /* the config first: its text is an attribute */
        for (int i = 3; i < argc; i++)
            if (strcmp(argv[i], "full") != 0 && (strncmp(argv[i], "config:", 7) != 0) == pass)
                change(argv[i]);
        if (pass == 0 && (strcmp(argv[1], "checkpoint") == 0 || strcmp(argv[1], "keys") == 0))
            put_text("config", config_text = cJSON_PrintUnformatted(config));
    }
    if (strcmp(argv[1], "config") == 0)
        write_config(argv[2]);
    else
        write_file(argv[2]);
    free(config_text);
    return 0;
}
