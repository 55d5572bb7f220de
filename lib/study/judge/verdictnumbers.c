/* What causal50m's verdict was made from, for verdict.json. */
#include <math.h>

#include "study/judge/judging.h"
#include "study/judge/verdict.h"

static cJSON *contrast_json(const struct qk_contrast *k)
{
    cJSON *o = qk_paired_json(&k->pr);
    qk_paired_add_equivalence(o, &k->pr);
    qk_json_add_number(o, "p_holm", k->p_holm);
    cJSON_AddItemToObject(o, "seeds", qk_json_numbers(k->seeds, k->pr.n));
    qk_json_add_number(o, "plateau_mean", k->plateau_mean);
    qk_json_add_number(o, "plateau_sd", k->plateau_sd);
    qk_json_add_number(o, "layer_mean", k->layer_mean);
    qk_json_add_number(o, "layer_mean_abs", k->layer_abs);
    qk_json_add_number(o, "layers_above", k->layers_above);
    cJSON *loss = cJSON_AddObjectToObject(o, "loss");
    cJSON_AddItemToObject(loss, "train", qk_paired_json(&k->train));
    cJSON_AddItemToObject(loss, "val", qk_paired_json(&k->val));
    qk_json_add_number(loss, "sign_changes", k->sign_changes);
    qk_json_add_number(loss, "sign_points", k->sign_points);
    return o;
}

static cJSON *trajectory_json(const struct qk_verdict *v, const struct qk_trajectory *t)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "tag", t->condition->mean.tag);
    cJSON_AddStringToObject(o, "name", qk_condition_name(t->condition));
    qk_json_add_number(o, "start_pr", t->start_pr);
    qk_json_add_number(o, "mean_pr", t->last_pr);
    qk_json_add_number(o, "share_of_null", t->last_pr / v->null_pr);
    qk_json_add_number(o, "share_of_head_dim", v->head_dim > 0 ? t->last_pr / v->head_dim : NAN);
    qk_json_add_number(o, "train_loss", t->train_loss);
    qk_json_add_number(o, "val_loss", t->val_loss);
    qk_json_add_number(o, "val_tokens", t->val_tokens);
    cJSON *least = cJSON_AddObjectToObject(o, "minimum");
    qk_json_add_number(least, "tokens", t->least_tokens);
    qk_json_add_number(least, "pr", t->least_pr);
    cJSON *recovery = cJSON_AddObjectToObject(o, "recovery");
    qk_json_add_number(recovery, "pr", t->recovery);
    qk_json_add_number(recovery, "share_of_fall", t->recovered_share);
    cJSON *plateau = cJSON_AddObjectToObject(o, "plateau");
    qk_json_add_number(plateau, "points", t->plateau_points);
    qk_json_add_number(plateau, "mean", t->plateau_mean);
    qk_json_add_number(plateau, "sd", t->plateau_sd);
    qk_json_add_number(plateau, "drift", t->plateau_drift);
    return o;
}

static cJSON *order_json(const struct qk_verdict *v)
{
    cJSON *o = cJSON_CreateObject();
    char text[16];
    snprintf(text, sizeof text, "%c > %c > %c", v->pr_order[0], v->pr_order[1], v->pr_order[2]);
    cJSON_AddStringToObject(o, "pr", text);
    snprintf(text, sizeof text, "%c < %c < %c", v->loss_order[0], v->loss_order[1],
             v->loss_order[2]);
    cJSON_AddStringToObject(o, "loss", text);
    cJSON_AddStringToObject(o, "loss_of", v->loss_is_val ? "val" : "train");
    cJSON_AddBoolToObject(o, "match", v->orders_match);
    return o;
}

void qk_verdict_numbers(const struct qk_verdict *v, cJSON *o)
{
    static const char *const names[] = {"A-B", "B-C", "A-C"};
    qk_json_add_number(o, "tokens", v->tokens);
    cJSON_AddStringToObject(o, "site", v->site);
    qk_json_add_number(o, "seeds", v->n_seeds);
    qk_json_add_number(o, "points", v->points);
    qk_json_add_number(o, "layers", v->layers);
    qk_json_add_number(o, "head_dim", v->head_dim > 0 ? v->head_dim : NAN);
    qk_json_add_number(o, "null_pr", v->null_pr);
    qk_json_add_number(o, "tolerance", v->tolerance);
    cJSON *conditions = cJSON_AddObjectToObject(o, "conditions");
    for (int i = 0; i < 3; i++) {
        char letter[2] = {(char)('A' + i), '\0'};
        cJSON_AddItemToObject(conditions, letter, trajectory_json(v, &v->at[i]));
    }
    cJSON *contrasts = cJSON_AddObjectToObject(o, "contrasts");
    for (int i = 0; i < QK_CONTRASTS; i++)
        cJSON_AddItemToObject(contrasts, names[i], contrast_json(&v->contrast[i]));
    cJSON_AddItemToObject(o, "order", order_json(v));
    cJSON *gain = cJSON_AddObjectToObject(o, "gain");
    qk_json_add_number(gain, "mean", v->gain_mean);
    qk_json_add_number(gain, "least_layer", v->gain_low);
    qk_json_add_number(gain, "most_layer", v->gain_high);
    qk_json_add_number(gain, "correlation_with_mean", v->gain_r);
    qk_json_add_number(gain, "correlation_with_cv", v->cv_r);
}
