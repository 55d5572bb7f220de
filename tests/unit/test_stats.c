#include "check.h"

#include "study/measure/stats.h"

/* Numerical integration of the density (Gauss-Legendre, 400 nodes, numpy). */
static void t_cdf_equals_the_integral_of_its_density(void **state)
{
    (void)state;
    static const double known[][3] = {
        {1.0, 1, 0.75},
        {2.0, 5, 0.9490302605850875},
        {-1.5, 3, 0.11529193262241044},
        {4.3, 2, 0.9749714229414743},
        {0.3, 30, 0.6168769473577913},
        {-6, 9, 0.00010124966103381167},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_close(qk_stats_t_cdf(known[i][0], known[i][1]), known[i][2], 1e-11);
    assert_true(qk_stats_t_cdf(0, 7) == 0.5);
    assert_true(qk_stats_t_cdf(INFINITY, 3) == 1);
    assert_true(isnan(qk_stats_t_cdf(1, 0)));
}

/* Closed forms: 1 degree of freedom is Cauchy, 2 has an algebraic quantile; the rest are the
 * tables every textbook prints. */
static void t_quantiles_equal_the_tables(void **state)
{
    (void)state;
    assert_close(qk_stats_t_quantile(0.975, 1), tan(3.14159265358979323846 * 0.475), 1e-12);
    double p = 0.95, a = 4 * p * (1 - p);
    assert_close(qk_stats_t_quantile(p, 2), 2 * (p - 0.5) * sqrt(2 / a), 1e-12);
    assert_close(qk_stats_t_quantile(0.975, 5), 2.570581835636314, 1e-10);
    assert_close(qk_stats_t_quantile(0.95, 7), 1.894578605061305, 1e-10);
    assert_close(qk_stats_t_quantile(0.995, 30), 2.7499956535672, 1e-10);
    assert_close(qk_stats_t_quantile(0.025, 5), -2.570581835636314, 1e-10);
    assert_true(qk_stats_t_quantile(0.5, 3) == 0);
    assert_true(isnan(qk_stats_t_quantile(0, 3)) && isnan(qk_stats_t_quantile(1, 3)));
}

static void beta_is_symmetric_and_a_power_where_it_must_be(void **state)
{
    (void)state;
    assert_close(qk_stats_beta(0.3, 4, 1), pow(0.3, 4), 1e-13);
    assert_close(qk_stats_beta(0.3, 2.5, 1.5), 1 - qk_stats_beta(0.7, 1.5, 2.5), 1e-13);
    assert_true(qk_stats_beta(0, 2, 2) == 0 && qk_stats_beta(1, 2, 2) == 1);
}

static void sign_flips_are_counted_exactly(void **state)
{
    (void)state;
    const double same[] = {1, 2, 3, 4, 5, 6};
    assert_true(qk_stats_sign_flip(same, 2) == 0.5);
    assert_true(qk_stats_sign_flip(same, 6) == 2.0 / 64);
    /* sums of +-1 +-2 -3: |1+2-3| = 0 is reached or passed by all 8 */
    const double balanced[] = {1, 2, -3};
    assert_true(qk_stats_sign_flip(balanced, 3) == 1);
    /* 5+1-2 = 4: |sum| >= 4 for 5+1+2, 5+1-2, 5-1+2 = 6 and their negatives; 5-1-2 = 2 is less */
    const double mixed[] = {5, 1, -2};
    assert_true(qk_stats_sign_flip(mixed, 3) == 6.0 / 8);
    /* 0.1 + 0.2 and 0.3 differ in the last bit but are one sum on paper */
    const double decimal[] = {0.1, 0.2, -0.3, 0.6};
    assert_true(qk_stats_sign_flip(decimal, 4) == 10.0 / 16);
    assert_true(isnan(qk_stats_sign_flip(same, 0)));
    assert_true(isnan(qk_stats_sign_flip(same, QK_STATS_MOST_FLIPS + 1)));
}

static void holm_steps_down(void **state)
{
    (void)state;
    const double p[] = {0.01, 0.04, 0.03, 0.005, NAN};
    double adjusted[5];
    qk_stats_holm(p, 5, adjusted);
    assert_close(adjusted[0], 0.03, 1e-12);
    assert_close(adjusted[1], 0.06, 1e-12); /* never below the one before it */
    assert_close(adjusted[2], 0.06, 1e-12);
    assert_close(adjusted[3], 0.02, 1e-12);
    assert_true(isnan(adjusted[4]));
    const double large[] = {0.6, 0.7};
    qk_stats_holm(large, 2, adjusted);
    assert_true(adjusted[0] == 1 && adjusted[1] == 1);
}

/* d = 1, 2, 3, 4: mean 2.5, sd sqrt(5/3), t = 2.5 / (sd/2) = 3.872983, df 3. */
static void paired_differences_follow_the_formulas(void **state)
{
    (void)state;
    const double d[] = {1, 2, 3, 4};
    struct qk_paired s;
    qk_stats_paired(&s, d, 4, 1.0);
    assert_close(s.mean, 2.5, 1e-15);
    assert_close(s.sd, sqrt(5.0 / 3), 1e-14);
    assert_close(s.se, sqrt(5.0 / 3) / 2, 1e-14);
    assert_close(s.high95 - s.mean, 3.182446305284263 * s.se, 1e-9);
    assert_close(s.mean - s.low90, 2.353363434801823 * s.se, 1e-9);
    assert_close(s.p_t, 2 * (1 - qk_stats_t_cdf(2.5 / s.se, 3)), 1e-12);
    assert_true(s.p_flip == 2.0 / 16);
    assert_close(s.p_tost, 1 - qk_stats_t_cdf((1 - 2.5) / s.se, 3), 1e-12);
}

/* Far out in the tail, beside scipy.stats.ttest_1samp: 1 minus the CDF would be 0 there. */
static void small_probabilities(void **state)
{
    (void)state;
    const double d[] = {1, 1.000001, 0.999999, 1.0000005, 0.9999995, 1.000002, 0.999998, 1.0000015};
    struct qk_paired s;
    qk_stats_paired(&s, d, 8, 2.0);
    assert_close(s.p_t / 1.3756145082242998e-42, 1, 1e-6);
    assert_close(s.p_tost / 6.8780905960856065e-43, 1, 1e-6);
}

static enum qk_equivalence outcome(double a, double b, double c)
{
    const double d[] = {a, b, c};
    struct qk_paired s;
    qk_stats_paired(&s, d, 3, 1.0);
    /* The interval and the two one-sided tests must say the same. */
    assert_int_equal(s.equivalence == QK_EQ_NULL, s.p_tost < 0.05);
    return s.equivalence;
}

static void three_outcomes(void **state)
{
    (void)state;
    assert_int_equal(outcome(0.1, -0.1, 0.05), QK_EQ_NULL);
    assert_int_equal(outcome(0.4, 0.5, 0.6), QK_EQ_NULL); /* not 0, but small */
    assert_int_equal(outcome(6, 6.2, 5.9), QK_EQ_EFFECT);
    assert_int_equal(outcome(-6, -6.2, -5.9), QK_EQ_EFFECT);
    assert_int_equal(outcome(1, 1.1, 0.9), QK_EQ_INCONCLUSIVE);
    assert_int_equal(outcome(3, -3, 0.5), QK_EQ_INCONCLUSIVE);
    assert_int_equal(outcome(0.2, 0.2, 0.2), QK_EQ_NULL); /* no spread at all */
    assert_int_equal(outcome(2, 2, 2), QK_EQ_EFFECT);
    assert_string_equal(qk_stats_equivalence_name(QK_EQ_NULL), "null");
}

static void one_pair_has_no_variance(void **state)
{
    (void)state;
    const double d[] = {6.15};
    struct qk_paired s;
    qk_stats_paired(&s, d, 1, 1.0);
    assert_true(s.mean == 6.15);
    assert_true(isnan(s.sd) && isnan(s.low95) && isnan(s.high90) && isnan(s.p_t));
    assert_true(isnan(s.p_flip) && isnan(s.p_tost));
    assert_int_equal(s.equivalence, QK_EQ_INCONCLUSIVE);
}

static void correlation_and_slope(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3, 4}, y[] = {2, 4, 6, 8.5}, flat[] = {3, 3, 3, 3};
    assert_close(qk_stats_pearson(x, x, 4), 1, 1e-15);
    assert_close(qk_stats_slope(x, y, 4), 2.15, 1e-14);
    assert_close(qk_stats_pearson(x, y, 4), 0.9983814394570298, 1e-12);
    assert_true(isnan(qk_stats_pearson(x, flat, 4)) && isnan(qk_stats_pearson(x, y, 2)));
    assert_true(isnan(qk_stats_slope(flat, y, 4)) && isnan(qk_stats_slope(x, y, 1)));
    assert_true(isnan(qk_stats_mean(x, 0)) && isnan(qk_stats_sd(x, 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(t_cdf_equals_the_integral_of_its_density),
        cmocka_unit_test(t_quantiles_equal_the_tables),
        cmocka_unit_test(beta_is_symmetric_and_a_power_where_it_must_be),
        cmocka_unit_test(sign_flips_are_counted_exactly),
        cmocka_unit_test(holm_steps_down),
        cmocka_unit_test(paired_differences_follow_the_formulas),
        cmocka_unit_test(small_probabilities),
        cmocka_unit_test(three_outcomes),
        cmocka_unit_test(one_pair_has_no_variance),
        cmocka_unit_test(correlation_and_slope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
