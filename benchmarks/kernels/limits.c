/* What the machine allows: moving bytes, multiplying and adding. With OMP_NUM_THREADS threads. */
#include <stddef.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef float floats __attribute__((vector_size(64), aligned(4), may_alias));

/* Copy as STREAM does, by plain stores or by those that pass the cache. */
void copy(const float* x, float* y, long n) {
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i++) y[i] = x[i];
}

void copy_past_cache(const float* x, float* y, long n) {
#if defined(__AVX512F__)
    long head = ((64 - ((size_t)y & 63)) & 63) / 4;
    memcpy(y, x, head * 4);
    long whole = (n - head) / 16;
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (long i = 0; i < whole; i++)
            _mm512_stream_ps(y + head + 16 * i, _mm512_loadu_ps(x + head + 16 * i));
        _mm_sfence();
    }
    memcpy(y + head + 16 * whole, x + head + 16 * whole, (n - head - 16 * whole) * 4);
#else
    copy(x, y, n);
#endif
}

/* Read everything once. */
float read_all(const float* x, long n) {
    float result = 0;
#pragma omp parallel reduction(+ : result)
    {
        floats s[8] = {0};
#pragma omp for schedule(static)
        for (long i = 0; i < n / 128; i++)
            for (int j = 0; j < 8; j++) s[j] += *(const floats*)(x + 128 * i + 16 * j);
        for (int j = 0; j < 8; j++)
            for (int k = 0; k < 16; k++) result += s[j][k];
    }
    return result;
}

/* At least n multiply-adds: twelve chains of wide ones, which hide their latency. */
#define PEAK(NAME, T)                                                             \
    double NAME(long n) {                                                         \
        typedef T wide __attribute__((vector_size(64)));                          \
        enum { LANES = 64 / sizeof(T) };                                          \
        double total = 0;                                                         \
        _Pragma("omp parallel reduction(+ : total)") {                            \
            wide a, b;                                                            \
            for (int k = 0; k < LANES; k++) a[k] = (T)0.999, b[k] = (T)1e-3;      \
            wide s0 = a, s1 = b, s2 = a + b, s3 = a - b, s4 = -a, s5 = -b;        \
            wide s6 = a * b, s7 = a + 1, s8 = b + 1, s9 = a + 2, sa = b + 2, sb = a + 3; \
            _Pragma("omp for schedule(static)") for (long i = 0;                  \
                                                     i < (n + 12 * LANES - 1) / (12 * LANES); \
                                                     i++) {                       \
                s0 = s0 * a + b, s1 = s1 * a + b, s2 = s2 * a + b, s3 = s3 * a + b; \
                s4 = s4 * a + b, s5 = s5 * a + b, s6 = s6 * a + b, s7 = s7 * a + b; \
                s8 = s8 * a + b, s9 = s9 * a + b, sa = sa * a + b, sb = sb * a + b; \
            }                                                                     \
            wide sum = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + sa + sb; \
            for (int k = 0; k < LANES; k++) total += sum[k];                      \
        }                                                                         \
        return total;                                                             \
    }
PEAK(peak_f32, float)
PEAK(peak_f64, double)
