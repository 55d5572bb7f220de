/* The original study's published numbers (vukrosic/attention-keys-analysis, 50M study: 1.577 B
 * parameters, one seed), to stand beside ours.  Mean over layers of the keys' PR before RoPE, after
 * the norm; training loss is the mean since the point before. */
#ifndef QK_STUDY_PUBLISHED_H
#define QK_STUDY_PUBLISHED_H

enum {
    QK_PUBLISHED_POINTS = 26,
    QK_PUBLISHED_HEAD_DIM = 128,
    QK_PUBLISHED_LAYERS = 32,
    QK_PUBLISHED_PARAMETERS = 1577199616,
};

struct qk_published_point {
    double tokens;
    struct {
        double pr, train, val; /* losses NaN at 0 */
    } at[3];                   /* A learned, B frozen, C none */
};

extern const struct qk_published_point qk_published_causal50m[QK_PUBLISHED_POINTS];

/* The pilot of 500 K tokens, same model: mean PR of the keys after RoPE over 8,192 rows. */
struct qk_published_pilot {
    double tokens, pr[2], train[2]; /* with QK-Norm, without; training loss NaN at 0 */
};
enum { QK_PUBLISHED_PILOT_POINTS = 5 };
extern const struct qk_published_pilot qk_published_pilot500k[QK_PUBLISHED_PILOT_POINTS];

/* "vukrosic/attention-keys-analysis at 6a5743b" */
extern const char *const qk_published_source;

#endif
