/* The forward pass of a model that stays in its file: the weights of one layer at a time.
 *
 * A batch goes through layer after layer together, one sequence at a time, so memory holds one
 * layer, the batch's residual streams (n_seq * T * D numbers), and of the embedding only the rows
 * of tokens that occur: a model larger than memory can be measured.  What a tap sees is to the bit
 * what qk_model_forward shows it with one sequence at a time.
 *
 *     s = qk_stream_open(...)
 *     for every layer in order   qk_stream_load(s, layer)
 *         for every sequence     qk_stream_run(s, sequence, tap)
 *     qk_stream_close(s)
 *
 * Logits are not computed, but every tensor of the file is read once and refused when it holds a
 * number that is not finite.
 */
#ifndef QK_MODEL_STREAM_H
#define QK_MODEL_STREAM_H

#include "model/checkpoint.h"
#include "model/transformer.h"

struct qk_stream;

/* Of `tokens` [n_seq, T], T <= the config's seq_len.  The checkpoint must outlive the stream. */
struct qk_stream *qk_stream_open(struct qk_device *d, struct qk_checkpoint *from,
                                 const int32_t *tokens, int64_t n_seq, int64_t T,
                                 struct qk_err *err);
void qk_stream_close(struct qk_stream *s); /* NULL is fine */

/* The weights of a layer, 0 to n_layers - 1 in order. */
int qk_stream_load(struct qk_stream *s, int layer, struct qk_err *err);
/* That layer over one sequence; each once. */
int qk_stream_run(struct qk_stream *s, int64_t sequence, const struct qk_tap *tap,
                  struct qk_err *err);

#endif
