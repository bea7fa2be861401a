/* W08: the seed net with taps. W10: Jacobian of tanh(v A). W18: nested loops. */
#include <math.h>
#include <string.h>

static void gemv_add(const float* restrict x, const float* restrict w, float* restrict y, long h) {
    for (long i = 0; i < h; i++) {
        float s = x[i];
        const float* row = w + i * h;
        for (long j = 0; j < h; j++) y[j] += s * row[j];
    }
}

/* x (n + 3, h) and y (n + 1, h) begin with the initial rows; u has n + 4 rows. */
#define SEED(NAME, H)                                                                     \
    void NAME(const float* u, float* x, float* y, const float* w, const float* w1,        \
              const float* w2, const float* wf, const float* wo, long n, long h) {        \
        for (long t = 0; t < n; t++) {                                                    \
            float* xt = x + (t + 3) * H;                                                  \
            float* yt = y + (t + 1) * H;                                                  \
            float z[H];                                                                   \
            memset(z, 0, sizeof z);                                                       \
            gemv_add(xt - H, w, z, H);                                                    \
            gemv_add(u + (t + 4) * H, w1, z, H);                                          \
            gemv_add(u + t * H, w2, z, H);                                                \
            gemv_add(yt - H, wf, z, H);                                                   \
            for (long j = 0; j < H; j++) xt[j] = tanhf(z[j]);                             \
            memset(z, 0, sizeof z);                                                       \
            gemv_add(xt - 3 * H, wo, z, H);                                               \
            memcpy(yt, z, sizeof z);                                                      \
        }                                                                                 \
    }
SEED(seed10, 10)
SEED(seed256, 256)

/* Floor of W08: reads three matrices per step from where they fit. */
void stream3(const float* w, float* out, long n, long elements) {
    float s[64] = {0};
    for (long t = 0; t < n; t++)
        for (long i = 0; i < elements; i += 64)
            for (int j = 0; j < 64; j++) s[j] += w[i + j];
    for (int j = 0; j < 64; j++) out[j] = s[j];
}

/* jac (d, d) of tanh(v a): jac[i, j] = (1 - y_i^2) a[j, i] */
void jacobian(const double* v, const double* a, double* y, double* jac, long d) {
    for (long i = 0; i < d; i++) y[i] = 0;
    for (long j = 0; j < d; j++)
        for (long i = 0; i < d; i++) y[i] += v[j] * a[j * d + i];
    for (long i = 0; i < d; i++) {
        double t = tanh(y[i]);
        y[i] = 1 - t * t;
    }
    for (long i0 = 0; i0 < d; i0 += 20)
        for (long j = 0; j < d; j++)
            for (long i = i0; i < i0 + 20 && i < d; i++) jac[i * d + j] = y[i] * a[j * d + i];
}

/* outer steps x inner steps of h = tanh(w h + x_t), w given as its transpose; y keeps each outer h */
#define NESTED(NAME, H)                                                                   \
    void NAME(const double* x, const double* wt, double* y, long outer, long inner) {     \
        double h[H] = {0};                                                                \
        for (long t = 0; t < outer; t++) {                                                \
            for (long k = 0; k < inner; k++) {                                            \
                double z[H];                                                              \
                for (int j = 0; j < H; j++) z[j] = x[t * H + j];                          \
                for (int i = 0; i < H; i++)                                               \
                    for (int j = 0; j < H; j++) z[j] += h[i] * wt[i * H + j];             \
                for (int j = 0; j < H; j++) h[j] = tanh(z[j]);                            \
            }                                                                             \
            for (int j = 0; j < H; j++) y[t * H + j] = h[j];                              \
        }                                                                                 \
    }
NESTED(nested8, 8)
NESTED(nested32, 32)
