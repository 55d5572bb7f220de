/* The functions of cuBLASLt that are used, found when a card is opened.
 *
 * The library is large, and linking it would be paid for at every start of every program: it is
 * loaded with dlopen by lt.cu.  tests/emulation has its own lt.cu, over its own cublasLt.h. */
#ifndef QK_COMPUTE_CUDA_LT_CUH
#define QK_COMPUTE_CUDA_LT_CUH

#include <cublasLt.h>

#include "base/err.h"

/* All there is to load: QK_LT(member, name). */
#define QK_LT_CALLS                                                                                \
    QK_LT(create, cublasLtCreate)                                                                  \
    QK_LT(destroy, cublasLtDestroy)                                                                \
    QK_LT(status_string, cublasLtGetStatusString)                                                  \
    QK_LT(matmul, cublasLtMatmul)                                                                  \
    QK_LT(heuristic, cublasLtMatmulAlgoGetHeuristic)                                               \
    QK_LT(desc_create, cublasLtMatmulDescCreate)                                                   \
    QK_LT(desc_destroy, cublasLtMatmulDescDestroy)                                                 \
    QK_LT(desc_set, cublasLtMatmulDescSetAttribute)                                                \
    QK_LT(layout_create, cublasLtMatrixLayoutCreate)                                               \
    QK_LT(layout_destroy, cublasLtMatrixLayoutDestroy)                                             \
    QK_LT(layout_set, cublasLtMatrixLayoutSetAttribute)                                            \
    QK_LT(preference_create, cublasLtMatmulPreferenceCreate)                                       \
    QK_LT(preference_destroy, cublasLtMatmulPreferenceDestroy)                                     \
    QK_LT(preference_set, cublasLtMatmulPreferenceSetAttribute)

struct qk_lt_calls {
#define QK_LT(member, name) decltype(&name) member;
    QK_LT_CALLS
#undef QK_LT
};

/* 0 with every member set, or -1 with a sentence.  What was loaded stays. */
int qk_lt_load(struct qk_lt_calls *to, struct qk_err *err);

#endif
