/* The polynomials that make Muon's step orthogonal, the same numbers for every device:
 * X <- (a + b A + c A^2) X with A = X X^T, QK_ORTHOGONALIZE_STEPS times, from
 * X = g / (margin |g| + 1e-7). */
#ifndef QK_COMPUTE_ORTHOGONALIZE_H
#define QK_COMPUTE_ORTHOGONALIZE_H

#include "compute/ops.h"

enum { QK_ORTHOGONALIZE_STEPS = 5 };

/* a, b, c of step `step`: Amsel et al. 2025, "The Polar Express", or Jordan 2024. */
static inline const double *qk_orthogonalize_step(enum qk_orthogonalizer which, int step)
{
    static const double polar_express[QK_ORTHOGONALIZE_STEPS][3] = {
        {8.156554524902461, -22.48329292557795, 15.878769915207462},
        {4.042929935166739, -2.808917465908714, 0.5000178451051316},
        {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
        {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
        {2.3465413258596377, -1.7097828382687081, 0.42323551169305323},
    };
    static const double newton_schulz[3] = {3.4445, -4.7750, 2.0315};
    return which == QK_POLAR_EXPRESS ? polar_express[step] : newton_schulz;
}

/* Norms are divided by this much more than they are. */
static inline double qk_orthogonalize_margin(enum qk_orthogonalizer which)
{
    return which == QK_POLAR_EXPRESS ? 1.01 : 1.0;
}

#endif
