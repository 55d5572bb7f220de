/* Added tokens: cutting a text at the tokens that are matched before anything else. */
#ifndef QK_STUDY_ADDED_H
#define QK_STUDY_ADDED_H

#include "study/text/tokenizer.h"

/* Sort the tokens with that `normalized` flag into a set. */
void qk_added_build(struct qk_added_set *set, const struct qk_added_token *tokens, size_t count,
                    bool normalized);
void qk_added_free(struct qk_added_set *set);

/* Where the walk through a text stands; {.text, .size} starts it. */
struct qk_added_walk {
    const char *text;
    size_t size;
    size_t search; /* matching goes on from here */
    size_t done;   /* text before this has been given out */
    bool pending;  /* `token` is to be given out next */
    size_t stop;
    uint32_t token;
};

enum qk_added_part { QK_ADDED_END, QK_ADDED_TEXT, QK_ADDED_TOKEN };

/* The next part: text [*at, *size], or a token *id. */
enum qk_added_part qk_added_next(const struct qk_added_set *set, struct qk_added_walk *walk,
                                 const char **at, size_t *size, uint32_t *id);

#endif
