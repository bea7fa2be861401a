/* Single precision GEMM by address: row-major, 64-bit sizes (the OpenBLAS inside NumPy). */
#ifndef BLAS_H
#define BLAS_H
typedef void (*sgemm_t)(int order, int ta, int tb, long m, long n, long k, float alpha,
                        const float* a, long lda, const float* b, long ldb, float beta, float* c,
                        long ldc);
/* c = beta * c + a b, with a (m, k), b (k, n) as stored rows of lda, ldb elements. */
#define NN(m, n, k, a, lda, b, ldb, beta, c, ldc) \
    gemm(101, 111, 111, m, n, k, 1.f, a, lda, b, ldb, beta, c, ldc)
/* b is stored (n, k) */
#define NT(m, n, k, a, lda, b, ldb, beta, c, ldc) \
    gemm(101, 111, 112, m, n, k, 1.f, a, lda, b, ldb, beta, c, ldc)
/* a is stored (k, m) */
#define TN(m, n, k, a, lda, b, ldb, beta, c, ldc) \
    gemm(101, 112, 111, m, n, k, 1.f, a, lda, b, ldb, beta, c, ldc)
#endif
