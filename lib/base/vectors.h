/* The widest vectors this processor has, of those that the kernels are compiled for: they are
 * chosen when the program runs. */
#ifndef QK_BASE_VECTORS_H
#define QK_BASE_VECTORS_H

/* Plain: what the compiler was told to expect everywhere; matrix products go to BLAS then. */
enum qk_vectors { QK_PLAIN, QK_AVX2, QK_AVX512 };

enum qk_vectors qk_vectors(void);

/* Asks for less (tests); what it is now. */
enum qk_vectors qk_vectors_limit(enum qk_vectors most);

#endif
