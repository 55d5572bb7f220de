#define _GNU_SOURCE
#include "model/config.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

enum kind { WHOLE, REAL, BOOLEAN, CHOICE };
enum { REQUIRED = 1, DERIVED = 2 }; /* derived: the default comes from another key */

/* Every key: parsing, printing, --set and the record of an experiment come from this table. */
struct key {
    const char *name;
    enum kind kind;
    size_t offset;
    int flags;
    double fallback;     /* default of a number or boolean; a choice's default is its first word */
    double least, most;  /* numbers */
    const char *choices; /* "a|b", in the order of the enum */
};

#define NUMBER(f, k, flags, fallback, least, most)                                                 \
    {                                                                                              \
#f, k, offsetof(struct qk_config, f), flags, fallback, least, most, NULL                   \
    }
#define WORD(f, choices)                                                                           \
    {                                                                                              \
#f, CHOICE, offsetof(struct qk_config, f), 0, 0, 0, 0, choices                             \
    }

static const double MOST_COUNT = 9007199254740992.0; /* 2^53: exact in JSON */
static const double ALMOST_ONE = 0.99999999;

static const struct key keys[] = {
    NUMBER(vocab_size, WHOLE, REQUIRED, 0, 1, 1 << 24),
    NUMBER(d_model, WHOLE, REQUIRED, 0, 1, 1 << 17),
    NUMBER(n_layers, WHOLE, REQUIRED, 0, 1, 4096),
    NUMBER(n_heads, WHOLE, REQUIRED, 0, 1, 1 << 14),
    NUMBER(n_kv_heads, WHOLE, DERIVED, 0, 1, 1 << 14),
    NUMBER(d_ff, WHOLE, REQUIRED, 0, 1, 1 << 20),
    WORD(ffn, "relu2|swiglu"),
    WORD(qk_norm, "learned|frozen|scalar|none"),
    NUMBER(norm_eps, REAL, 0, 1.1920929e-07, 0, 1),
    NUMBER(rope_base, REAL, 0, 10000, 1, 1e30),
    WORD(rope_style, "interleaved|half"),
    NUMBER(embed_scale, REAL, DERIVED, 0, -1e6, 1e6),
    NUMBER(tie_embeddings, BOOLEAN, 0, 1, 0, 1),
    NUMBER(seq_len, WHOLE, REQUIRED, 0, 1, 1 << 22),
    NUMBER(init_std, REAL, 0, 0.02, 0, 1e6),
    WORD(optimizer, "muon+adamw|adamw"),
    NUMBER(muon_lr, REAL, DERIVED, 0, 0, 1e6),
    NUMBER(muon_momentum, REAL, 0, 0.95, 0, ALMOST_ONE),
    WORD(muon_orthogonalizer, "polar-express|newton-schulz"),
    WORD(muon_qkvo, "merged|matrix|head|split"),
    NUMBER(muon_weight_decay, REAL, 0, 0, 0, 1e6),
    NUMBER(adamw_lr, REAL, REQUIRED, 0, 0, 1e6),
    NUMBER(adamw_beta1, REAL, 0, 0.9, 0, ALMOST_ONE),
    NUMBER(adamw_beta2, REAL, 0, 0.999, 0, ALMOST_ONE),
    NUMBER(adamw_eps, REAL, 0, 1e-8, 1e-30, 1),
    NUMBER(weight_decay, REAL, 0, 0.2, 0, 1e6),
    NUMBER(qk_gain_weight_decay, REAL, DERIVED, 0, 0, 1e6),
    NUMBER(grad_clip, REAL, 0, 1, -1e30, 1e30),
    WORD(lr_schedule, "constant|cosine|linear|wsd"),
    NUMBER(warmup_tokens, WHOLE, 0, 0, 0, MOST_COUNT),
    NUMBER(batch_size, WHOLE, REQUIRED, 0, 1, 1 << 20),
    NUMBER(grad_accum, WHOLE, 0, 1, 1, 1 << 20),
    NUMBER(train_tokens, WHOLE, REQUIRED, 0, 1, MOST_COUNT),
    NUMBER(seed, WHOLE, 0, 42, 0, MOST_COUNT),
    WORD(data_order, "shuffle|sequential"),
    WORD(dtype, "fp32|bf16"),
};
enum { KEYS = sizeof keys / sizeof *keys };
_Static_assert(sizeof(enum qk_ffn) == sizeof(int), "choices are stored as int");

static int find_key(const char *name)
{
    for (int i = 0; i < KEYS; i++)
        if (strcmp(keys[i].name, name) == 0)
            return i;
    return -1;
}

/* Place of `word` in "a|b|c", or -1. */
static int choice_index(const char *choices, const char *word)
{
    size_t n = strlen(word);
    int index = 0;
    for (const char *p = choices;; index++) {
        size_t length = strcspn(p, "|");
        if (length == n && memcmp(p, word, n) == 0)
            return index;
        if (!p[length])
            return -1;
        p += length + 1;
    }
}

static char *choice_word(const char *choices, int index)
{
    const char *p = choices;
    while (index-- > 0)
        p += strcspn(p, "|") + 1;
    return strndup(p, strcspn(p, "|"));
}

static void store_number(struct qk_config *c, const struct key *key, double value)
{
    char *at = (char *)c + key->offset;
    int64_t whole = (int64_t)value;
    bool truth = value != 0;
    if (key->kind == WHOLE)
        memcpy(at, &whole, sizeof whole);
    else if (key->kind == REAL)
        memcpy(at, &value, sizeof value);
    else
        memcpy(at, &truth, sizeof truth);
}

static double load_number(const struct qk_config *c, const struct key *key)
{
    const char *at = (const char *)c + key->offset;
    int64_t whole;
    double value;
    bool truth;
    if (key->kind == WHOLE)
        return (double)*(const int64_t *)memcpy(&whole, at, sizeof whole);
    if (key->kind == REAL)
        return *(const double *)memcpy(&value, at, sizeof value);
    return *(const bool *)memcpy(&truth, at, sizeof truth);
}

static int take_choice(struct qk_config *c, const struct key *key, const cJSON *item,
                       const char *where, struct qk_err *err)
{
    int index = cJSON_IsString(item) ? choice_index(key->choices, item->valuestring) : -1;
    if (index < 0)
        return qk_fail(err, "%s: config key %s must be one of %s", where, key->name, key->choices);
    if (key->offset == offsetof(struct qk_config, muon_qkvo) && index == 3)
        index = QK_QKVO_MATRIX; /* split is its alias */
    memcpy((char *)c + key->offset, &index, sizeof index);
    return 0;
}

static int take(struct qk_config *c, const struct key *key, const cJSON *item, const char *where,
                struct qk_err *err)
{
    if (key->kind == CHOICE)
        return take_choice(c, key, item, where, err);
    if (key->kind == BOOLEAN) {
        if (!cJSON_IsBool(item))
            return qk_fail(err, "%s: config key %s must be true or false", where, key->name);
        store_number(c, key, cJSON_IsTrue(item));
        return 0;
    }
    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble))
        return qk_fail(err, "%s: config key %s must be a number", where, key->name);
    double value = item->valuedouble;
    if (key->kind == WHOLE && value != floor(value))
        return qk_fail(err, "%s: config key %s must be a whole number, not %g", where, key->name,
                       value);
    if (value < key->least || value > key->most)
        return qk_fail(err, "%s: config key %s is %.15g, not between %.15g and %.15g", where,
                       key->name, value, key->least, key->most);
    store_number(c, key, value);
    return 0;
}

static void fill_derived(struct qk_config *c, const bool *given)
{
    if (!given[find_key("n_kv_heads")])
        c->n_kv_heads = c->n_heads;
    if (!given[find_key("embed_scale")])
        c->embed_scale = sqrt((double)c->d_model);
    if (!given[find_key("qk_gain_weight_decay")])
        c->qk_gain_weight_decay = c->weight_decay;
    if (!given[find_key("muon_lr")])
        c->muon_lr = NAN; /* only without Muon: see check_whole */
}

static int check_whole(const struct qk_config *c, const char *where, struct qk_err *err)
{
    if (c->d_model % c->n_heads)
        return qk_fail(err,
                       "%s: d_model %" PRId64 " is no multiple of n_heads %" PRId64
                       ", so there is no whole head dimension",
                       where, c->d_model, c->n_heads);
    if (qk_head_dim(c) % 2 || qk_head_dim(c) > 128)
        return qk_fail(err,
                       "%s: the head dimension d_model / n_heads is %" PRId64
                       ", not an even number up to 128",
                       where, qk_head_dim(c));
    if (c->n_heads % c->n_kv_heads)
        return qk_fail(err, "%s: n_heads %" PRId64 " is no multiple of n_kv_heads %" PRId64, where,
                       c->n_heads, c->n_kv_heads);
    if (c->optimizer == QK_MUON_ADAMW && isnan(c->muon_lr))
        return qk_fail(err, "%s: config key muon_lr is missing (optimizer is muon+adamw)", where);
    return 0;
}

int qk_config_from_json(struct qk_config *c, const cJSON *json, const char *where,
                        struct qk_err *err)
{
    bool given[KEYS] = {false};
    memset(c, 0, sizeof *c);
    if (!cJSON_IsObject(json))
        return qk_fail(err, "%s: the config is not a JSON object", where);
    for (int i = 0; i < KEYS; i++)
        if (keys[i].kind != CHOICE)
            store_number(c, &keys[i], keys[i].fallback);
    const cJSON *item;
    cJSON_ArrayForEach(item, json)
    {
        int i = find_key(item->string);
        if (i < 0)
            return qk_fail(err, "%s: unknown config key '%.60s'", where, item->string);
        if (given[i])
            return qk_fail(err, "%s: config key %s is given twice", where, item->string);
        if (take(c, &keys[i], item, where, err) != 0)
            return -1;
        given[i] = true;
    }
    for (int i = 0; i < KEYS; i++)
        if (keys[i].flags & REQUIRED && !given[i])
            return qk_fail(err, "%s: config key %s is missing", where, keys[i].name);
    fill_derived(c, given);
    return check_whole(c, where, err);
}

int qk_config_from_text(struct qk_config *c, const char *text, const char *where,
                        struct qk_err *err)
{
    cJSON *json = qk_json_parse(text, where, err);
    if (!json)
        return -1;
    int bad = qk_config_from_json(c, json, where, err);
    cJSON_Delete(json);
    return bad;
}

static cJSON *parse_value(const struct key *key, const char *text, struct qk_err *err)
{
    int64_t whole;
    double value;
    switch (key->kind) {
    case CHOICE:
        return cJSON_CreateString(text);
    case BOOLEAN:
        if (strcmp(text, "true") && strcmp(text, "false"))
            return qk_fail_null(err, "'%.80s' is neither true nor false", text);
        return cJSON_CreateBool(text[0] == 't');
    case WHOLE:
        if (qk_parse_count(text, &whole, err) != 0)
            return NULL;
        return cJSON_CreateNumber((double)whole);
    default:
        if (qk_parse_real(text, &value, err) != 0)
            return NULL;
        return cJSON_CreateNumber(value);
    }
}

int qk_config_set(cJSON *json, const char *assignment, struct qk_err *err)
{
    const char *sign = strchr(assignment, '=');
    if (!sign || sign == assignment)
        return qk_fail(err, "--set %.80s: not of the form key=value", assignment);
    char *name = strndup(assignment, (size_t)(sign - assignment));
    int i = name ? find_key(name) : -1;
    free(name);
    if (i < 0)
        return qk_fail(err, "--set %.80s: unknown config key", assignment);
    cJSON *value = parse_value(&keys[i], sign + 1, err);
    if (!value)
        return qk_fail_in(err, "--set %s: ", keys[i].name);
    cJSON_DeleteItemFromObjectCaseSensitive(json, keys[i].name);
    cJSON_AddItemToObject(json, keys[i].name, value);
    return 0;
}

void qk_config_relax(cJSON *json)
{
    const cJSON *whole = cJSON_GetObjectItemCaseSensitive(json, "weight_decay");
    const cJSON *gain = cJSON_GetObjectItemCaseSensitive(json, "qk_gain_weight_decay");
    if (whole && gain && whole->valuedouble == gain->valuedouble)
        cJSON_DeleteItemFromObjectCaseSensitive(json, "qk_gain_weight_decay");
}

bool qk_config_is_derived(const char *assignment)
{
    for (int i = 0; i < KEYS; i++) {
        size_t n = strlen(keys[i].name);
        if (keys[i].flags & DERIVED && strncmp(assignment, keys[i].name, n) == 0 &&
            assignment[n] == '=')
            return true;
    }
    return false;
}

static cJSON *value_json(const struct qk_config *c, const struct key *key)
{
    if (key->kind == CHOICE) {
        int index;
        memcpy(&index, (const char *)c + key->offset, sizeof index);
        char *word = choice_word(key->choices, index);
        cJSON *item = cJSON_CreateString(word);
        free(word);
        return item;
    }
    double value = load_number(c, key);
    if (key->kind == BOOLEAN)
        return cJSON_CreateBool(value != 0);
    return isnan(value) ? NULL : cJSON_CreateNumber(value);
}

cJSON *qk_config_to_json(const struct qk_config *c)
{
    cJSON *json = cJSON_CreateObject();
    for (int i = 0; i < KEYS; i++) {
        cJSON *item = value_json(c, &keys[i]);
        if (item)
            cJSON_AddItemToObject(json, keys[i].name, item);
    }
    return json;
}

char *qk_config_to_text(const struct qk_config *c)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (!to)
        return qk_strdup("");
    cJSON *json = qk_config_to_json(c);
    qk_json_print_line(json, to);
    cJSON_Delete(json);
    fclose(to);
    if (size && text[size - 1] == '\n')
        text[size - 1] = '\0';
    return text;
}

const char *qk_config_difference(const struct qk_config *a, const struct qk_config *b)
{
    for (int i = 0; i < KEYS; i++) {
        size_t size = keys[i].kind == CHOICE    ? sizeof(int)
                      : keys[i].kind == BOOLEAN ? sizeof(bool)
                                                : sizeof(double);
        const char *x = (const char *)a + keys[i].offset, *y = (const char *)b + keys[i].offset;
        if (keys[i].kind == REAL && isnan(load_number(a, &keys[i])) &&
            isnan(load_number(b, &keys[i])))
            continue;
        if (memcmp(x, y, size) != 0)
            return keys[i].name;
    }
    return NULL;
}

const char *qk_norm_name(enum qk_norm_kind kind)
{
    static const char *const names[] = {"learned", "frozen", "scalar", "none"};
    return names[kind];
}
