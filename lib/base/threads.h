/* How many threads the process uses.  Results never depend on it: every reduction has a fixed
 * shape. */
#ifndef QK_BASE_THREADS_H
#define QK_BASE_THREADS_H

/* Use n threads from now on; 0 means all processors this process may run on. */
void qk_threads_set(int n);
int qk_threads(void);

#endif
