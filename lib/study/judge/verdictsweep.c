/* sweep20m: which learning rate each configuration gets, and how much rank moves with the rate. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/judge/judging.h"
#include "study/judge/verdict.h"
#include "study/results/picklr.h"

static const char *const rule =
    "Each configuration gets the rate of least validation loss on the split `select`, which is not "
    "used for reporting. A winner at the edge of its grid is not taken for an optimum: the grid is "
    "to be extended there. Rank is shown at every rate.";

struct range {
    double least, most; /* NaN while there is no number */
    int count;
};

static void widen(struct range *r, double value)
{
    r->least = fmin(r->least, value);
    r->most = fmax(r->most, value);
    r->count += !isnan(value);
}

static struct range ranks_of(const cJSON *config)
{
    struct range r = {NAN, NAN, 0};
    const cJSON *at;
    cJSON_ArrayForEach(at, cJSON_GetObjectItemCaseSensitive(config, "grid"))
    {
        widen(&r, qk_json_find_number(at, "mean_pr"));
    }
    return r;
}

static int added_to(const cJSON *config)
{
    const cJSON *at;
    int count = 0;
    cJSON_ArrayForEach(at, cJSON_GetObjectItemCaseSensitive(config, "grid"))
    {
        count += cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(at, "added"));
    }
    return count;
}

static void say_config(struct qk_judging *j, const cJSON *config)
{
    char label[QK_CONDITION_NAME], rank[96] = "", added[96] = "";
    const int beyond = added_to(config);
    const struct range r = ranks_of(config);
    const cJSON *side = cJSON_GetObjectItemCaseSensitive(config, "side");
    const bool edge = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(config, "edge"));
    if (r.count > 0)
        snprintf(rank, sizeof rank, "; mean PR is %.2f there and %.2f to %.2f over the grid",
                 qk_json_find_number(config, "rank"), r.least, r.most);
    if (beyond > 0)
        snprintf(added, sizeof added, ", %d of them added beyond an edge at which a rate was best",
                 beyond);
    qk_judging_say(j, config->string, "%s: rate %g wins with %.4f nats among %d%s%s%s%s%s",
                   qk_condition_label(config->string, label), qk_json_find_number(config, "rate"),
                   qk_json_find_number(config, "val_loss"),
                   cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(config, "grid")), added,
                   rank, edge ? ", at the " : "",
                   edge && cJSON_IsString(side) ? side->valuestring : "",
                   edge ? " edge of the grid, which is to be extended" : "");
}

static void say_moves(struct qk_judging *j, double by_rate, double by_config, int configs)
{
    if (isnan(by_rate) || isnan(by_config))
        return;
    qk_judging_say(j, "rank_moves",
                   "Within a configuration the rate moves mean PR by up to %.2f; between the %d "
                   "winners it differs by %.2f: %s",
                   by_rate, configs, by_config,
                   by_rate >= by_config ? "rank moves at least as much with the rate as with the "
                                          "condition, so ranks at untuned rates compare nothing"
                                        : "the condition moves it more than the rate does");
}

/* All configurations together. */
struct sweep {
    struct range winners; /* of their ranks */
    double by_rate;       /* the largest range of ranks within a configuration */
    int edges;
};

static int check_all(const cJSON *chosen, struct qk_err *err)
{
    const cJSON *config;
    int configs = 0;
    cJSON_ArrayForEach(config, chosen)
    {
        if (!cJSON_HasObjectItem(config, "grid"))
            continue;
        if (qk_chosen_check(config, err) != 0)
            return -1;
        configs++;
    }
    return configs > 0 ? configs : qk_fail(err, "there is no configuration in it");
}

static struct sweep say_configs(struct qk_judging *j, const cJSON *chosen)
{
    struct sweep all = {{NAN, NAN, 0}, NAN, 0};
    cJSON *numbers = cJSON_AddObjectToObject(j->numbers, "configurations");
    const cJSON *config;
    cJSON_ArrayForEach(config, chosen)
    {
        if (!cJSON_HasObjectItem(config, "grid"))
            continue;
        const struct range r = ranks_of(config);
        widen(&all.winners, qk_json_find_number(config, "rank"));
        all.by_rate = fmax(all.by_rate, r.most - r.least);
        all.edges += cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(config, "edge"));
        say_config(j, config);
        cJSON_AddItemToObject(numbers, config->string, cJSON_Duplicate(config, 1));
    }
    return all;
}

static void say_edges(struct qk_judging *j, int edges, int configs)
{
    qk_judging_say(
        j, "edges", "%d of %d configurations are best inside their grids; %d at an edge%s",
        configs - edges, configs, edges,
        edges > 0 ? ", whose grid is to be extended before the rate is called tuned" : "");
}

cJSON *qk_judge_sweep(const struct qk_evidence *e, struct qk_err *err)
{
    struct qk_judging j;
    if (e->chosen == NULL)
        return qk_fail_null(err, "sweep20m is judged from a chosen.json");
    const int configs = check_all(e->chosen, err);
    if (configs < 0)
        return NULL;
    qk_judging_start(&j, e, qk_chosen_seeds(e->chosen));
    const struct sweep all = say_configs(&j, e->chosen);
    const double by_config = all.winners.most - all.winners.least;
    say_edges(&j, all.edges, configs);
    say_moves(&j, all.by_rate, by_config, configs);
    qk_json_add_number(j.numbers, "edges", all.edges);
    qk_json_add_number(j.numbers, "rank_range_by_rate", all.by_rate);
    qk_json_add_number(j.numbers, "rank_range_of_winners", by_config);
    if (j.n_seeds == 1)
        qk_judging_caveat(&j, "One seed per rate: which of two rates that are near each other in "
                              "loss is better is not known.");
    else
        qk_judging_caveat(&j,
                          "The loss of a rate is the mean of %d seeds; between rates no test "
                          "is made.",
                          j.n_seeds);
    char *title = qk_format("Learning rates of %d configurations, %s", configs,
                            all.edges > 0 ? "some still at the edge of their grids" : "each tuned");
    cJSON *json = qk_judging_end(&j, "sweep20m", title, all.edges > 0 ? "extend the grid" : "tuned",
                                 qk_judging_said(&j, "edges"), rule);
    free(title);
    return json;
}
