/* The reference values of tests/unit/test_oracle.c, on the CUDA device in fp32. */
#define QK_TESTS_DEVICE "cuda"
#include "unit/test_oracle.c"
