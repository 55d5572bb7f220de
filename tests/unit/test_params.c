/* The parameter table: published sizes, layout, groups, initial weights. */
#include "unit/check.h"

#include "model/params.h"

static struct qk_config tiny(void)
{
    return (struct qk_config){.vocab_size = 31,
                              .d_model = 8,
                              .n_layers = 2,
                              .n_heads = 2,
                              .n_kv_heads = 1,
                              .d_ff = 12,
                              .tie_embeddings = true,
                              .seq_len = 6,
                              .init_std = 0.5,
                              .seed = 7};
}

static void published_sizes(void **state)
{
    (void)state;
    struct qk_params p;
    struct qk_config c = {.vocab_size = 49152,
                          .d_model = 512,
                          .n_layers = 22,
                          .n_heads = 8,
                          .n_kv_heads = 4,
                          .d_ff = 2048,
                          .tie_embeddings = true};
    qk_params_layout(&p, &c);
    assert_int_equal(p.total, 88630528);
    qk_params_free(&p);
    c = (struct qk_config){.vocab_size = 49152,
                           .d_model = 2048,
                           .n_layers = 32,
                           .n_heads = 16,
                           .n_kv_heads = 8,
                           .d_ff = 8192,
                           .tie_embeddings = true};
    qk_params_layout(&p, &c);
    assert_int_equal(p.total, 1577199616);
    qk_params_free(&p);
}

static void layout_is_dense_and_projections_are_neighbours(void **state)
{
    (void)state;
    for (int kind = 0; kind < 16; kind++) {
        struct qk_config c = tiny();
        c.qk_norm = (enum qk_norm_kind)(kind & 3);
        c.ffn = kind & 4 ? QK_SWIGLU : QK_RELU2;
        c.tie_embeddings = kind & 8;
        struct qk_params p;
        qk_params_layout(&p, &c);
        int64_t sum = 0, trained = 0;
        for (int i = 0; i < p.count; i++) {
            sum += p.at[i].count;
            bool frozen = p.at[i].group == QK_GROUP_FROZEN;
            trained += frozen ? 0 : p.at[i].count;
            assert_int_equal(frozen, p.at[i].offset >= p.trained);
            if (p.at[i].rank == 2) /* these sizes are multiples of 4, and so are the places */
                assert_int_equal(p.at[i].offset % 4, 0);
        }
        assert_int_equal(sum, p.total);
        assert_int_equal(trained, p.trained);
        const struct qk_param *q = qk_params_find(&p, QK_WQ, 1), *k = qk_params_find(&p, QK_WK, 1);
        const struct qk_param *v = qk_params_find(&p, QK_WV, 1), *o = qk_params_find(&p, QK_WO, 1);
        assert_int_equal(k->offset, q->offset + q->count);
        assert_int_equal(v->offset, k->offset + k->count);
        assert_int_equal(o->offset, v->offset + v->count);
        const struct qk_param *gain = qk_params_find(&p, QK_K_NORM, 1);
        assert_int_equal(gain == NULL, c.qk_norm == QK_NORM_NONE);
        if (gain)
            assert_int_equal(gain->count, c.qk_norm == QK_NORM_SCALAR ? 1 : 4);
        assert_int_equal(qk_params_find(&p, QK_HEAD, -1) == NULL, c.tie_embeddings);
        assert_int_equal(qk_params_find(&p, QK_W_GATE, 0) == NULL, c.ffn == QK_RELU2);
        qk_params_free(&p);
    }
}

static void groups(void **state)
{
    (void)state;
    struct qk_config c = tiny();
    c.tie_embeddings = false;
    struct qk_params p;
    qk_params_layout(&p, &c);
    for (int i = 0; i < p.count; i++) {
        const struct qk_param *a = &p.at[i];
        enum qk_group want = a->tensor == QK_Q_NORM || a->tensor == QK_K_NORM ? QK_GROUP_ADAMW_QK
                             : a->rank == 1 || a->layer < 0                   ? QK_GROUP_ADAMW
                                                                              : QK_GROUP_MUON;
        assert_int_equal(a->group, want);
    }
    qk_params_free(&p);
    c.optimizer = QK_ADAMW;
    c.qk_norm = QK_NORM_FROZEN;
    qk_params_layout(&p, &c);
    for (int i = 0; i < p.count; i++)
        assert_int_equal(p.at[i].group, p.at[i].tensor == QK_Q_NORM || p.at[i].tensor == QK_K_NORM
                                            ? QK_GROUP_FROZEN
                                            : QK_GROUP_ADAMW);
    qk_params_free(&p);
}

static void initial_weights(void **state)
{
    (void)state;
    struct qk_config c = tiny();
    c.d_model = 64;
    c.n_heads = 2;
    c.vocab_size = 1000;
    struct qk_params p;
    qk_params_layout(&p, &c);
    const struct qk_param *embed = qk_params_find(&p, QK_EMBED, -1);
    float *a = qk_alloc((size_t)embed->count, sizeof *a), *b = qk_alloc((size_t)embed->count, 4);
    qk_param_initialize(embed, &c, a);
    qk_param_initialize(embed, &c, b);
    assert_memory_equal(a, b, (size_t)embed->count * sizeof *a);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < embed->count; i++) {
        sum += a[i];
        squares += (double)a[i] * a[i];
    }
    double n = (double)embed->count;
    assert_true(fabs(sum / n) < 5 * 0.5 / sqrt(n));
    assert_close(sqrt(squares / n), 0.5, 0.02);
    c.seed = 8;
    qk_param_initialize(embed, &c, b);
    assert_true(a[0] != b[0]);
    const struct qk_param *gain = qk_params_find(&p, QK_FINAL_NORM, -1);
    qk_param_initialize(gain, &c, a);
    for (int64_t i = 0; i < gain->count; i++)
        assert_true(a[i] == 1.0f);
    free(a);
    free(b);
    qk_params_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_sizes),
        cmocka_unit_test(layout_is_dense_and_projections_are_neighbours),
        cmocka_unit_test(groups),
        cmocka_unit_test(initial_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
