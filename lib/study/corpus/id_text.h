/* Token ids as text: numbers between blanks, a document a line. */
#ifndef QK_STUDY_ID_TEXT_H
#define QK_STUDY_ID_TEXT_H

#include <stdio.h>

#include "study/corpus/corpus.h"
#include "study/text/tokenizer.h"

/* A line of ids, separated by spaces, for each document. */
int qk_encode_corpus(const struct qk_tokenizer *t, struct qk_corpus *corpus, FILE *to,
                     struct qk_err *err);

/* The bytes of all ids in the file ("-": standard input), however they stand in lines. */
int qk_decode_file(const struct qk_tokenizer *t, const char *path, FILE *to, struct qk_err *err);

#endif
