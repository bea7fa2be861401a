/* W04: a step of logistic regression. W15: of a net with two hidden layers, products by a BLAS. */
#include <math.h>
#include <string.h>

#include "blas.h"

/* Returns the cost; x (n, d), w (d), g (d) scratch; w[d] is the bias. */
#define LOGISTIC(NAME, T, EXP, LOG)                                            \
    double NAME(const T* x, const T* y, T* w, T* g, double rate_, long n, long d) { \
        const T rate = (T)rate_;                                               \
        T p[n], cost = 0, gb = 0, norm = 0;                                    \
        for (long i = 0; i < n; i++) {                                         \
            T s = 0;                                                           \
            for (long j = 0; j < d; j++) s += x[i * d + j] * w[j];             \
            p[i] = s + w[d];                                                   \
        }                                                                      \
        for (long i = 0; i < n; i++) {                                         \
            T z = p[i], e = EXP(-(z < 0 ? -z : z));                            \
            cost += LOG(1 + e) + (z > 0 ? z : 0) - y[i] * z;                   \
            p[i] = ((z > 0 ? 1 : e) / (1 + e) - y[i]) / n;                     \
        }                                                                      \
        memset(g, 0, d * sizeof(T));                                           \
        for (long i = 0; i + 4 <= n; i += 4) {                                 \
            const T* r = x + i * d;                                            \
            for (long j = 0; j < d; j++)                                       \
                g[j] += p[i] * r[j] + p[i + 1] * r[j + d] + p[i + 2] * r[j + 2 * d] + \
                        p[i + 3] * r[j + 3 * d];                               \
        }                                                                      \
        for (long i = n / 4 * 4; i < n; i++)                                   \
            for (long j = 0; j < d; j++) g[j] += p[i] * x[i * d + j];          \
        for (long i = 0; i < n; i++) gb += p[i];                               \
        for (long j = 0; j < d; j++) {                                         \
            norm += w[j] * w[j];                                               \
            w[j] -= rate * (g[j] + (T)0.02 * w[j]);                            \
        }                                                                      \
        w[d] -= rate * gb;                                                     \
        return cost / n + (T)0.01 * norm;                                      \
    }
LOGISTIC(logistic_f32, float, expf, logf)
LOGISTIC(logistic_f64, double, exp, log)

static void biased_relu(float* h, const float* b, long n, long m) {
    for (long i = 0; i < n; i++)
        for (long j = 0; j < m; j++) {
            float v = h[i * m + j] + b[j];
            h[i * m + j] = v > 0 ? v : 0;
        }
}

static void step(float* p, const float* g, float rate, long n) {
    for (long i = 0; i < n; i++) p[i] -= rate * g[i];
}

static void bias_step(float* b, const float* e, float rate, long n, long m) {
    for (long i = 0; i < n; i++)
        for (long j = 0; j < m; j++) b[j] -= rate * e[i * m + j];
}

static void masked(float* e, const float* h, long n) {
    for (long i = 0; i < n; i++) e[i] = h[i] > 0 ? e[i] : 0;
}

/* d inputs, h, h hidden, k classes; scratch: h1, h2, e1, e2 (n, h), o (n, k), g (largest matrix) */
double mlp(sgemm_t gemm, const float* x, const long* label, float* w1, float* b1, float* w2,
           float* b2, float* w3, float* b3, float* h1, float* h2, float* e1, float* e2, float* o,
           float* g, double rate_, long n, long d, long h, long k) {
    const float rate = (float)rate_;
    float loss = 0;
    NN(n, h, d, x, d, w1, h, 0.f, h1, h);
    biased_relu(h1, b1, n, h);
    NN(n, h, h, h1, h, w2, h, 0.f, h2, h);
    biased_relu(h2, b2, n, h);
    NN(n, k, h, h2, h, w3, k, 0.f, o, k);
    for (long i = 0; i < n; i++) {
        float top = -INFINITY, s = 0, *r = o + i * k;
        for (long j = 0; j < k; j++) {
            r[j] += b3[j];
            top = r[j] > top ? r[j] : top;
        }
        loss += top - r[label[i]];
        for (long j = 0; j < k; j++) s += r[j] = expf(r[j] - top);
        loss += logf(s);
        for (long j = 0; j < k; j++) r[j] /= s * n;
        r[label[i]] -= 1.f / n;
    }
    NT(n, h, k, o, k, w3, k, 0.f, e2, h);
    masked(e2, h2, n * h);
    NT(n, h, h, e2, h, w2, h, 0.f, e1, h);
    masked(e1, h1, n * h);
    TN(h, k, n, h2, h, o, k, 0.f, g, k);
    step(w3, g, rate, h * k);
    bias_step(b3, o, rate, n, k);
    TN(h, h, n, h1, h, e2, h, 0.f, g, h);
    step(w2, g, rate, h * h);
    bias_step(b2, e2, rate, n, h);
    TN(d, h, n, x, d, e1, h, 0.f, g, h);
    step(w1, g, rate, d * h);
    bias_step(b1, e1, rate, n, h);
    return loss / n;
}
