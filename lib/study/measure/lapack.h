/* The LAPACK routines the study uses, as Fortran has them: column-major, everything by address. */
#ifndef QK_STUDY_LAPACK_H
#define QK_STUDY_LAPACK_H

/* Eigenvalues (ascending) and, with jobz "V", eigenvectors of a symmetric matrix. */
extern void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda,
                    double *w, double *work, const int *lwork, int *iwork, const int *liwork,
                    int *info);
/* Eigenvalues (ascending) of a symmetric tridiagonal matrix; both arrays are overwritten. */
extern void dsterf_(const int *n, double *diagonal, double *off, int *info);
/* Singular values (descending) and, with jobvt "A", right singular vectors as rows of vt. */
extern void dgesvd_(const char *jobu, const char *jobvt, const int *m, const int *n, double *a,
                    const int *lda, double *s, double *u, const int *ldu, double *vt,
                    const int *ldvt, double *work, const int *lwork, int *info);

#endif
