/* What a tokenizer.json wants put before every text: its post-processor.
 *
 * *bos is the token its template ("TemplateProcessing", alone or in a "Sequence") puts in front of
 * a single text, -1 when there is none.  Templates that put more there, or anything behind the
 * text, are refused: a continuation could not be told from its context.
 */
#ifndef QK_STUDY_TEMPLATE_H
#define QK_STUDY_TEMPLATE_H

#include "study/text/tokenizer.h"

int qk_template_bos(const struct qk_tokenizer *t, int64_t *bos, struct qk_err *err);

#endif
