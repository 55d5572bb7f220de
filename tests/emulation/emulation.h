/* The emulated card, as a test sees it.  README.md in this folder says what is emulated. */
#ifndef QK_TESTS_EMULATION_H
#define QK_TESTS_EMULATION_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which threads and blocks get to run first: "forward", "reverse" or "shuffle:SEED"; NULL: what
 * QK_EMULATION_ORDER says, or forward. */
void qk_emulation_order(const char *order);

/* The card's memory in bytes from now on; 0: what QK_EMULATION_MEMORY says, or 4 GiB. */
void qk_emulation_memory(int64_t bytes);

/* Whether this program's kernels are watched for races: the order then hardly matters. */
int qk_emulation_watched(void);

/* Kernels run so far.  With QK_EMULATION_TRACE set each is named on standard error. */
int64_t qk_emulation_launches(void);

#ifdef __cplusplus
}
#endif

#endif
