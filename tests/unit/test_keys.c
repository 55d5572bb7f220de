/* Key statistics: the sums against plain loops over the rows, and dumps that give back every bit.
 */
#include "keys_check.h"

#include "base/threads.h"
#include "study/measure/keys.h"

static struct qk_err err;
static struct qk_device *device;

static int open_device(void **state)
{
    (void)state;
    device = qk_device_open("cpu", &err);
    return device ? 0 : -1;
}

static int close_device(void **state)
{
    qk_device_close(device);
    return remove_folder(state);
}

static struct qk_model *new_model(const struct qk_config *c, int64_t micro_batch, int64_t T)
{
    struct qk_model *m = qk_model_create(device, c, micro_batch, T, false, false, &err);
    assert_non_null(m);
    qk_model_initialize(m);
    return m;
}

static void gather(struct qk_keys *k, const struct qk_config *c, struct qk_keys_plan plan)
{
    struct qk_model *m = new_model(c, 2, plan.T);
    int32_t *tokens = some_tokens(plan.n_seq * plan.T, (int32_t)c->vocab_size);
    plan.tokens = tokens;
    assert_works(qk_keys_gather(k, device, m, c, &plan, &err));
    free(tokens);
    qk_model_free(m);
    k->step = 5;
    k->tokens_seen = 678;
}

static void assert_bits(const void *a, const void *b, int64_t count, size_t size)
{
    assert_true(!a == !b);
    if (a)
        assert_memory_equal(a, b, (size_t)count * size);
}

static void assert_same(const struct qk_keys *a, const struct qk_keys *b)
{
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->tokens_seen, b->tokens_seen);
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->sequences, b->sequences);
    assert_int_equal(a->positions, b->positions);
    assert_int_equal(a->skip_first, b->skip_first);
    assert_int_equal(a->sites, b->sites);
    assert_int_equal(a->full, b->full);
    assert_null(qk_config_difference(&a->config, &b->config));
    int64_t hd = qk_head_dim(&a->config);
    for (int64_t l = 0; l < a->config.n_layers; l++) {
        const struct qk_keys_layer *x = &a->layers[l], *y = &b->layers[l];
        for (int what = 0; what < 2; what++) {
            int64_t heads = qk_keys_heads(&a->config, what);
            for (int site = 0; site <= QK_SITES; site++)
                assert_bits(x->gram[site][what], y->gram[site][what], heads * hd * hd, 8);
            for (int site = 0; site < QK_SITES; site++) {
                assert_bits(x->mean[site][what], y->mean[site][what], heads * hd, 8);
                assert_bits(x->rows[site][what], y->rows[site][what], heads * a->rows * hd, 4);
            }
            assert_bits(x->gain[what], y->gain[what], qk_keys_gains(&a->config), 8);
        }
        assert_bits(x->entropy, y->entropy, a->config.n_heads, 8);
        assert_bits(x->max_logit, y->max_logit, a->config.n_heads, 8);
    }
}

/* Gram and mean of every head against loops over the rows that were kept. */
static void sums_of_rows(void **state)
{
    (void)state;
    struct qk_config c = small_config();
    struct qk_keys k;
    gather(&k, &c,
           (struct qk_keys_plan){.n_seq = 3, .T = 300, .sites = QK_ALL_SITES, .full = true});
    assert_int_equal(k.rows, 900);
    for (int i = 0; i < 2 * QK_SITES; i++) {
        int site = i / 2, what = i % 2;
        int64_t hd = 8, heads = qk_keys_heads(&c, what);
        const struct qk_keys_layer *l = &k.layers[1];
        for (int64_t h = 0; h < heads; h++)
            for (int64_t a = 0; a < hd; a++) {
                const float *rows = l->rows[site][what] + h * k.rows * hd;
                double sum = 0;
                for (int64_t r = 0; r < k.rows; r++)
                    sum += (double)rows[r * hd + a];
                assert_true(fabs(l->mean[site][what][h * hd + a] - sum / 900) < 1e-12);
                for (int64_t b = 0; b < hd; b++) {
                    double dot = 0;
                    for (int64_t r = 0; r < k.rows; r++)
                        dot += (double)rows[r * hd + a] * (double)rows[r * hd + b];
                    double gram = l->gram[site][what][(h * hd + a) * hd + b];
                    assert_true(fabs(gram - dot) < 1e-9 * (1 + fabs(dot)));
                }
            }
    }
    qk_keys_free(&k);
}

/* Rotation keeps each row's length, the norm sets it: sites are not mixed up. */
static void sites_are_what_they_say(void **state)
{
    (void)state;
    struct qk_config c = small_config();
    struct qk_keys k;
    gather(&k, &c, (struct qk_keys_plan){.n_seq = 1, .T = 20, .sites = QK_ALL_SITES, .full = true});
    for (int what = 0; what < 2; what++) {
        int64_t count = qk_keys_heads(&c, what) * k.rows;
        const struct qk_keys_layer *l = &k.layers[0];
        double moved = 0;
        for (int64_t r = 0; r < count; r++) {
            double pre = 0, normed = 0, rotated = 0;
            for (int64_t j = r * 8; j < (r + 1) * 8; j++) {
                pre += pow((double)l->rows[QK_SITE_PRE_NORM][what][j], 2);
                normed += pow((double)l->rows[QK_SITE_POST_NORM][what][j], 2);
                rotated += pow((double)l->rows[QK_SITE_POST_ROPE][what][j], 2);
                moved += fabs((double)l->rows[QK_SITE_POST_ROPE][what][j] -
                              (double)l->rows[QK_SITE_POST_NORM][what][j]);
            }
            assert_close(normed, 8, 1e-5); /* gains are 1 */
            assert_close(rotated, normed, 1e-5);
            assert_true(fabs(pre - 8) > 1e-3);
        }
        assert_true(moved > 1);
    }
    /* position 0 is not turned */
    assert_memory_equal(k.layers[0].rows[QK_SITE_POST_ROPE][QK_OF_K],
                        k.layers[0].rows[QK_SITE_POST_NORM][QK_OF_K], 8 * sizeof(float));
    qk_keys_free(&k);
    c.qk_norm = QK_NORM_NONE;
    gather(&k, &c, (struct qk_keys_plan){.n_seq = 1, .T = 20, .sites = QK_ALL_SITES, .full = true});
    for (int what = 0; what < 2; what++)
        assert_memory_equal(k.layers[1].gram[QK_SITE_PRE_NORM][what],
                            k.layers[1].gram[QK_SITE_POST_NORM][what], 2 * 64 * sizeof(double));
    assert_null(k.layers[0].gain[QK_OF_K]);
    qk_keys_free(&k);
}

/* Attention statistics by their definition, from the rotated queries and keys. */
static void entropy_and_largest_logit(void **state)
{
    (void)state;
    struct qk_config c = small_config();
    struct qk_keys k;
    enum { N = 2, T = 24 };
    gather(&k, &c, (struct qk_keys_plan){.n_seq = N, .T = T, .sites = QK_ALL_SITES, .full = true});
    const struct qk_keys_layer *l = &k.layers[1];
    for (int64_t h = 0; h < c.n_heads; h++) {
        double entropy = 0, most = -1e300;
        for (int64_t r = 0; r < N * T; r++) {
            double logit[T], sum = 0, mean = 0;
            int64_t first = r / T * T, n = r - first + 1;
            for (int64_t s = 0; s < n; s++) {
                logit[s] = 0;
                for (int j = 0; j < 8; j++)
                    logit[s] +=
                        (double)l->rows[QK_SITE_POST_ROPE][QK_OF_Q][(h * N * T + r) * 8 + j] *
                        (double)l
                            ->rows[QK_SITE_POST_ROPE][QK_OF_K][(h / 2 * N * T + first + s) * 8 + j];
                logit[s] /= sqrt(8);
                most = fmax(most, logit[s]);
                sum += exp(logit[s]);
            }
            for (int64_t s = 0; s < n; s++)
                mean += exp(logit[s]) / sum * logit[s];
            entropy += log(sum) - mean;
        }
        assert_close(l->entropy[h], entropy / (N * T), 1e-5);
        assert_close(l->max_logit[h], most, 1e-5);
    }
    qk_keys_free(&k);
}

static void weight_blocks(void **state)
{
    (void)state;
    struct qk_config c = small_config();
    struct qk_keys k, alone;
    gather(&k, &c, (struct qk_keys_plan){.n_seq = 1, .T = 4, .sites = QK_ALL_SITES});
    struct qk_params params;
    qk_params_layout(&params, &c);
    const struct qk_param *wk = qk_params_find(&params, QK_WK, 1);
    float *w = qk_alloc((size_t)wk->count, sizeof *w);
    qk_param_initialize(wk, &c, w);
    for (int h = 0; h < 2; h++)
        for (int a = 0; a < 8; a++)
            for (int b = 0; b < 8; b++) {
                double dot = 0;
                for (int j = 0; j < 32; j++)
                    dot += (double)w[(h * 8 + a) * 32 + j] * (double)w[(h * 8 + b) * 32 + j];
                double gram = k.layers[1].gram[QK_SITE_WEIGHT][QK_OF_K][(h * 8 + a) * 8 + b];
                assert_true(fabs(gram - dot) < 1e-12);
            }
    free(w);
    qk_params_free(&params);
    qk_keys_free(&k);

    const char *path = in_folder("weights.h5");
    struct qk_checkpoint checkpoint;
    assert_works(write_checkpoint(path, &c, 0, 0, &err));
    assert_works(qk_checkpoint_open(&checkpoint, path, &err));
    const struct qk_keys_plan nothing = {.sites = QK_ALL_SITES, .full = true};
    assert_works(qk_keys_stream(&alone, NULL, &checkpoint, &nothing, &err));
    assert_int_equal(alone.sites, 1 << QK_SITE_WEIGHT);
    assert_int_equal(alone.rows, 0);
    assert_int_equal(alone.tokens_seen, 3456);
    assert_non_null(alone.layers[1].gain[QK_OF_Q]);
    assert_null(alone.layers[0].entropy);
    qk_checkpoint_close(&checkpoint);
    const char *dump = in_folder("weights-keys.h5");
    struct qk_keys back;
    assert_works(qk_keys_write(&alone, dump, NULL, &err));
    assert_works(qk_keys_read(&back, dump, &err));
    assert_same(&alone, &back);
    qk_keys_free(&back);
    qk_keys_free(&alone);
}

static void round_trip(void **state)
{
    (void)state;
    for (int norm = QK_NORM_LEARNED; norm <= QK_NORM_NONE; norm++)
        for (int full = 0; full < 2; full++) {
            struct qk_config c = small_config();
            struct qk_keys k, back;
            const char *path = in_folder("keys.h5");
            c.qk_norm = (enum qk_norm_kind)norm;
            gather(&k, &c,
                   (struct qk_keys_plan){.n_seq = 2,
                                         .T = 10,
                                         .sites = full ? QK_ALL_SITES : 1 << QK_SITE_POST_NORM,
                                         .skip_first = full,
                                         .full = full});
            assert_works(qk_keys_write(&k, path, NULL, &err));
            assert_works(qk_keys_read(&back, path, &err));
            assert_true(back.dumped);
            assert_same(&k, &back);
            qk_keys_free(&k);
            qk_keys_free(&back);
        }
}

/* The sums have a fixed shape. */
static void threads_and_skipping_change_no_bit(void **state)
{
    (void)state;
    struct qk_config c = small_config();
    struct qk_keys one, two;
    struct qk_keys_plan plan = {.n_seq = 2, .T = 300, .sites = QK_ALL_SITES, .full = true};
    qk_threads_set(1);
    gather(&one, &c, plan);
    qk_threads_set(2);
    gather(&two, &c, plan);
    assert_same(&one, &two);
    qk_keys_free(&one);
    plan.skip_first = 7;
    gather(&one, &c, plan);
    assert_int_equal(one.rows, 2 * 293);
    assert_works(qk_keys_skip(&two, 7, &err));
    assert_same(&one, &two);
    assert_works(qk_keys_skip(&two, 7, &err));
    assert_int_equal(qk_keys_skip(&two, 6, &err), -1);
    assert_int_equal(qk_keys_skip(&two, 300, &err), -1);
    qk_keys_free(&one);
    qk_keys_free(&two);
    plan.full = false;
    gather(&one, &c, plan);
    assert_int_equal(qk_keys_skip(&one, 8, &err), -1);
    assert_string_equal(err.text, "the dump was made without --full: no rows are there to skip");
    qk_keys_free(&one);
}

/* What the trainer's model, made for other batches and shorter now, gives. */
static void any_model_gives_the_same(void **state)
{
    (void)state;
    struct qk_config c = small_config();
    struct qk_keys a, b;
    int32_t *tokens = some_tokens(2 * 40, 40);
    struct qk_keys_plan plan = {.tokens = tokens, .n_seq = 2, .T = 40, .sites = QK_ALL_SITES};
    struct qk_model *small = new_model(&c, 1, 40);
    struct qk_model *trainer = qk_model_create(device, &c, 3, 300, true, false, &err);
    assert_non_null(trainer);
    qk_model_initialize(trainer);
    assert_works(qk_model_set_length(trainer, 40, &err));
    assert_works(qk_keys_gather(&a, device, small, &c, &plan, &err));
    assert_works(qk_keys_gather(&b, device, trainer, &c, &plan, &err));
    assert_same(&a, &b);
    qk_keys_free(&a);
    qk_keys_free(&b);
    qk_model_free(small);
    qk_model_free(trainer);
    free(tokens);
}

/* Layer by layer out of the file, and the whole model in memory. */
static void assert_streams(const struct qk_config *c, struct qk_keys_plan plan)
{
    const char *path = in_folder("streamed.h5");
    struct qk_checkpoint checkpoint;
    struct qk_keys whole, streamed;
    int32_t *tokens = some_tokens(plan.n_seq * plan.T, (int32_t)c->vocab_size);
    plan.tokens = tokens;
    assert_works(write_checkpoint(path, c, 0, 0, &err));
    assert_works(qk_checkpoint_open(&checkpoint, path, &err));
    struct qk_model *m = qk_model_create(device, c, 1, plan.T, false, false, &err);
    assert_non_null(m);
    assert_works(qk_model_load(m, &checkpoint, &err));
    assert_works(qk_keys_gather(&whole, device, m, c, &plan, &err));
    whole.step = checkpoint.step;
    whole.tokens_seen = checkpoint.tokens_seen;
    assert_works(qk_keys_stream(&streamed, device, &checkpoint, &plan, &err));
    assert_same(&whole, &streamed);
    qk_keys_free(&whole);
    qk_keys_free(&streamed);
    qk_model_free(m);
    qk_checkpoint_close(&checkpoint);
    free(tokens);
}

static void streams_the_same_bits(void **state)
{
    (void)state;
    for (int norm = QK_NORM_LEARNED; norm <= QK_NORM_NONE; norm++)
        for (int other = 0; other < 2; other++) {
            struct qk_config c = small_config();
            c.qk_norm = (enum qk_norm_kind)norm;
            c.n_layers = 3;
            c.ffn = other ? QK_SWIGLU : QK_RELU2;
            c.tie_embeddings = !other;
            assert_streams(&c, (struct qk_keys_plan){.n_seq = 3,
                                                     .T = 50,
                                                     .sites = QK_ALL_SITES,
                                                     .skip_first = other,
                                                     .full = other});
        }
    struct qk_config c = small_config();
    c.vocab_size = 40000; /* its table is read in pieces */
    assert_streams(&c, (struct qk_keys_plan){.n_seq = 2, .T = 300, .sites = QK_ALL_SITES});
    c.vocab_size = 40;
    int32_t wrong[4] = {0, 1, 40, 2};
    struct qk_checkpoint checkpoint;
    struct qk_keys k;
    const struct qk_keys_plan plan = {.tokens = wrong, .n_seq = 1, .T = 4, .sites = QK_ALL_SITES};
    const char *path = in_folder("streamed.h5");
    assert_works(write_checkpoint(path, &c, 0, 0, &err));
    assert_works(qk_checkpoint_open(&checkpoint, path, &err));
    assert_int_equal(qk_keys_stream(&k, device, &checkpoint, &plan, &err), -1);
    assert_string_equal(err.text, "a token of the batch is outside the vocabulary");
    qk_checkpoint_close(&checkpoint);
}

static void loads_either_kind(void **state)
{
    (void)state;
    struct qk_config c = small_config();
    const char *path = in_folder("c.h5"), *dump = in_folder("d.h5"), *bare = in_folder("b.h5");
    struct qk_keys_loader how = {
        .sites = QK_ALL_SITES, .device_name = "cpu", .progress = {.tool = "test", .quiet = true}};
    struct qk_keys a, b;
    assert_works(write_checkpoint(path, &c, 2, 30, &err));
    assert_works(write_checkpoint(bare, &c, 0, 0, &err));
    assert_works(qk_keys_load(&a, path, &how, &err));
    assert_int_equal(a.step, 12);
    assert_int_equal(a.rows, 60);
    assert_works(qk_keys_write(&a, dump, NULL, &err));
    assert_works(qk_keys_load(&b, dump, &how, &err));
    assert_same(&a, &b);
    qk_keys_free(&b);
    assert_works(qk_keys_load(&b, bare, &how, &err));
    assert_int_equal(b.sites, 1 << QK_SITE_WEIGHT);
    qk_keys_free(&b);
    how.skip_first = 30;
    assert_int_equal(qk_keys_load(&b, path, &how, &err), -1);
    assert_non_null(strstr(err.text, "c.h5: sequences have only 30 positions"));
    how.skip_first = 1;
    assert_int_equal(qk_keys_load(&b, dump, &how, &err), -1);
    assert_non_null(strstr(err.text, "d.h5: the dump was made without --full"));
    how.batch = path;
    assert_int_equal(qk_keys_load(&b, dump, &how, &err), -1);
    qk_keys_free(&a);
    qk_device_close(how.device);
}

/* A dump with one attribute or array replaced by something wrong is refused, naming it. */
static void start_dump(struct qk_h5 **f, const char *path, const char *config)
{
    *f = qk_h5_create(path, &err);
    assert_non_null(*f);
    assert_works(qk_h5_put_text(*f, "/", "kind", "keys", &err));
    assert_works(qk_h5_put_int(*f, "/", "version", 1, &err));
    assert_works(qk_h5_put_text(*f, "/", "config", config, &err));
    assert_works(qk_h5_put_int(*f, "/", "step", 1, &err));
    assert_works(qk_h5_put_int(*f, "/", "tokens_seen", 2, &err));
}

static void put_zeros(struct qk_h5 *f, const char *object, int rank, const int64_t *dims)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= dims[i];
    double *zeros = qk_zalloc((size_t)count, sizeof *zeros);
    assert_works(qk_h5_write(f, object, QK_F64, rank, dims, QK_F64, zeros, 0, &err));
    free(zeros);
}

static void expect_refusal(const char *path, const char *part)
{
    struct qk_keys k;
    assert_int_equal(qk_keys_read(&k, path, &err), -1);
    if (!strstr(err.text, part) || !strstr(err.text, path))
        fail_msg("'%s' does not name %s and '%s'", err.text, path, part);
}

static void refuses_bad_dumps(void **state)
{
    (void)state;
    struct qk_config c = small_config();
    c.n_layers = 1;
    char *config = qk_config_to_text(&c);
    const char *path = in_folder("bad.h5");
    struct qk_h5 *f;

    start_dump(&f, path, config);
    assert_works(qk_h5_commit(f, &err));
    expect_refusal(path, "/layers/0");

    start_dump(&f, path, config);
    assert_works(qk_h5_make_group(f, "/layers/0", &err));
    assert_works(qk_h5_commit(f, &err));
    expect_refusal(path, "no Gram matrix");

    start_dump(&f, path, config);
    put_zeros(f, "/layers/0/post_norm/k/gram", 3, (int64_t[]){2, 8, 8});
    assert_works(qk_h5_commit(f, &err));
    expect_refusal(path, "no attribute rows");

    start_dump(&f, path, config);
    put_zeros(f, "/layers/0/post_norm/k/gram", 3, (int64_t[]){2, 8, 4});
    assert_works(qk_h5_commit(f, &err));
    expect_refusal(path, "/layers/0/post_norm/k/gram has shape");

    start_dump(&f, path, config);
    put_zeros(f, "/layers/0/post_norm/k/gram", 3, (int64_t[]){2, 8, 8});
    assert_works(qk_h5_put_int(f, "/layers/0/post_norm/k", "rows", 0, &err));
    assert_works(qk_h5_commit(f, &err));
    expect_refusal(path, "expected at least 1");

    start_dump(&f, path, config);
    put_zeros(f, "/layers/0/post_norm/k/gram", 3, (int64_t[]){2, 8, 8});
    put_zeros(f, "/layers/0/post_norm/q/gram", 3, (int64_t[]){4, 8, 8});
    assert_works(qk_h5_put_int(f, "/layers/0/post_norm/k", "rows", 10, &err));
    assert_works(qk_h5_put_int(f, "/layers/0/post_norm/q", "rows", 11, &err));
    assert_works(qk_h5_commit(f, &err));
    expect_refusal(path, "elsewhere");

    start_dump(&f, path, config);
    put_zeros(f, "/layers/0/post_norm/k/gram", 3, (int64_t[]){2, 8, 8});
    assert_works(qk_h5_put_int(f, "/", "rows", 10, &err));
    assert_works(qk_h5_put_int(f, "/", "positions", 4, &err));
    assert_works(qk_h5_put_int(f, "/", "sequences", 2, &err));
    assert_works(qk_h5_put_int(f, "/", "skip_first", 0, &err));
    assert_works(qk_h5_commit(f, &err));
    expect_refusal(path, "do not make 10 rows");
    free(config);
}

static void names_of_sites(void **state)
{
    (void)state;
    unsigned sites;
    assert_works(qk_keys_sites("all", &sites, &err));
    assert_int_equal(sites, 15);
    assert_works(qk_keys_sites("weight,pre_norm", &sites, &err));
    assert_int_equal(sites, 9);
    assert_int_equal(qk_keys_sites("pre_norm,", &sites, &err), -1);
    assert_int_equal(qk_keys_sites("post", &sites, &err), -1);
    assert_string_equal(err.text,
                        "'post' is not a site: all, pre_norm, post_norm, post_rope or weight");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_rows),
        cmocka_unit_test(sites_are_what_they_say),
        cmocka_unit_test(entropy_and_largest_logit),
        cmocka_unit_test(weight_blocks),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(threads_and_skipping_change_no_bit),
        cmocka_unit_test(any_model_gives_the_same),
        cmocka_unit_test(streams_the_same_bits),
        cmocka_unit_test(loads_either_kind),
        cmocka_unit_test(refuses_bad_dumps),
        cmocka_unit_test(names_of_sites),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
