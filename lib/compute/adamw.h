/* The constants of one AdamW step, the same numbers for every device (ops.h has the formula). */
#ifndef QK_COMPUTE_ADAMW_H
#define QK_COMPUTE_ADAMW_H

#include "compute/ops.h"

/* m = beta1 m + new1 g,  v = beta2 v + new2 g^2,  w = keep w - step m / (sqrt(unbias2 v) + eps) */
struct qk_adamw_constants {
    float beta1, new1, beta2, new2, unbias2, eps, keep, step;
};

/* In double as far as that goes: 1 - 0.999f is off by 1e-5. */
static inline struct qk_adamw_constants qk_adamw_constants(const struct qk_adamw *how)
{
    struct qk_adamw_constants c;
    c.beta1 = (float)how->beta1;
    c.new1 = (float)(1 - how->beta1);
    c.beta2 = (float)how->beta2;
    c.new2 = (float)(1 - how->beta2);
    c.unbias2 = (float)(1 / how->bias2);
    c.eps = (float)how->eps;
    c.keep = (float)(1 - how->lr * how->weight_decay);
    c.step = (float)(how->lr / how->bias1);
    return c;
}

#endif
