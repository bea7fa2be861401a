/* W05: a to the k by k products; the vector's strips outside, time inside. Not reassociated, as
   that would change the work: r*a*a*a*a becomes r*b*b. */
#define EXACT __attribute__((optimize("no-associative-math")))
#define POWER(NAME, REAL, STRIP)                                                  \
    EXACT void NAME(const REAL* restrict a, REAL* restrict y, long n, long k) {         \
        long i = 0;                                                               \
        for (; i + STRIP <= n; i += STRIP) {                                      \
            REAL r[STRIP], s[STRIP];                                              \
            for (int j = 0; j < STRIP; j++) { r[j] = 1; s[j] = a[i + j]; }        \
            for (long t = 0; t < k; t++)                                          \
                for (int j = 0; j < STRIP; j++) r[j] *= s[j];                     \
            for (int j = 0; j < STRIP; j++) y[i + j] = r[j];                      \
        }                                                                         \
        for (long h = i; h < n; h++) y[h] = 1;                                    \
        for (long t = 0; t < k; t++)                                              \
            for (long h = i; h < n; h++) y[h] *= a[h];                            \
    }
POWER(power32, float, 128)
POWER(power64, double, 64)
/* Floor: k dependent products. */
#define CHAIN(NAME, REAL)                                                         \
    REAL NAME(REAL a, long k) {                                                   \
        REAL r = 1;                                                               \
        for (long t = 0; t < k; t++) { r *= a; __asm__ volatile("" : "+x"(r)); }  \
        return r;                                                                 \
    }
CHAIN(chain32, float)
CHAIN(chain64, double)
