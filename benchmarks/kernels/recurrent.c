/* W09: vanilla, GRU and LSTM nets, forward and backward, over the BLAS. W11: Gibbs chain. */
#include "blas.h"
#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

/* z (T B, G H) = x wx + b */
static void project(sgemm_t gemm, const float* x, const float* wx, const float* b, float* z, long n,
                    long d, long g) {
    NN(n, g, d, x, d, wx, g, 0.f, z, g);
    for (long i = 0; i < n; i++)
        for (long j = 0; j < g; j++) z[i * g + j] += b[j];
}

/* Column sums. */
static void sum_rows(const float* dz, float* db, long n, long g) {
    memset(db, 0, g * sizeof(float));
    for (long i = 0; i < n; i++)
        for (long j = 0; j < g; j++) db[j] += dz[i * g + j];
}

/* hs has T + 1 blocks of (B, H), the first zero. */
void vanilla(sgemm_t gemm, const float* x, const float* wx, const float* u, const float* b,
             float* hs, float* z, long T, long B, long D, long H) {
    project(gemm, x, wx, b, z, T * B, D, H);
    for (long t = 0; t < T; t++) {
        float *h = hs + t * B * H, *next = h + B * H, *zt = z + t * B * H;
        NN(B, H, H, h, H, u, H, 1.f, zt, H);
        for (long i = 0; i < B * H; i++) next[i] = tanhf(zt[i]);
    }
}

float vanilla_train(sgemm_t gemm, const float* x, const float* wx, const float* u, const float* b,
                    float* hs, float* z, float* dh, float* dwx, float* du, float* db, long T,
                    long B, long D, long H) {
    vanilla(gemm, x, wx, u, b, hs, z, T, B, D, H);
    float loss = 0, scale = 2.f / (T * B * H);
    for (long i = B * H; i < (T + 1) * B * H; i++) loss += hs[i] * hs[i];
    memset(dh, 0, B * H * sizeof(float));
    for (long t = T - 1; t >= 0; t--) {
        const float* h = hs + (t + 1) * B * H;
        float* zt = z + t * B * H;
        for (long i = 0; i < B * H; i++) zt[i] = (dh[i] + scale * h[i]) * (1 - h[i] * h[i]);
        if (t) NT(B, H, H, zt, H, u, H, 0.f, dh, H);
    }
    TN(H, H, T * B, hs, H, z, H, 0.f, du, H);
    TN(D, H, T * B, x, D, z, H, 0.f, dwx, H);
    sum_rows(z, db, T * B, H);
    return loss / (T * B * H);
}

/* Functions of their own, not inlined: gcc forgets `restrict` otherwise and does not vectorize. */
#define APART __attribute__((noinline)) static void

APART lstm_row(float* restrict i, float* restrict f, float* restrict o, float* restrict g,
               const float* restrict before, float* restrict after, float* restrict out, long H) {
    for (long j = 0; j < H; j++) {
        i[j] = sigmoid(i[j]);
        f[j] = sigmoid(f[j]);
        o[j] = sigmoid(o[j]);
        g[j] = tanhf(g[j]);
        after[j] = f[j] * before[j] + i[j] * g[j];
        out[j] = o[j] * tanhf(after[j]);
    }
}

APART lstm_row_back(float* restrict i, float* restrict f, float* restrict o, float* restrict g,
                    const float* restrict before, const float* restrict after,
                    const float* restrict h, float* restrict eh, float* restrict ec, float scale,
                    long H) {
    for (long j = 0; j < H; j++) {
        float d = eh[j] + scale * h[j], c = tanhf(after[j]);
        float e = ec[j] + d * o[j] * (1 - c * c);
        float di = e * g[j] * i[j] * (1 - i[j]), df = e * before[j] * f[j] * (1 - f[j]);
        float dg = e * i[j] * (1 - g[j] * g[j]);
        ec[j] = e * f[j];
        o[j] = d * c * o[j] * (1 - o[j]);
        i[j] = di;
        f[j] = df;
        g[j] = dg;
    }
}

/* Gates in z: i, f, o, g. cs like hs. */
void lstm(sgemm_t gemm, const float* x, const float* wx, const float* u, const float* b, float* hs,
          float* cs, float* z, long T, long B, long D, long H) {
    project(gemm, x, wx, b, z, T * B, D, 4 * H);
    for (long t = 0; t < T; t++) {
        float *h = hs + t * B * H, *c = cs + t * B * H, *zt = z + t * B * 4 * H;
        NN(B, 4 * H, H, h, H, u, 4 * H, 1.f, zt, 4 * H);
        for (long r = 0; r < B; r++) {
            float* i = zt + r * 4 * H;
            lstm_row(i, i + H, i + 2 * H, i + 3 * H, c + r * H, c + (B + r) * H, h + (B + r) * H, H);
        }
    }
}

float lstm_train(sgemm_t gemm, const float* x, const float* wx, const float* u, const float* b,
                 float* hs, float* cs, float* z, float* dh, float* dc, float* dwx, float* du,
                 float* db, long T, long B, long D, long H) {
    lstm(gemm, x, wx, u, b, hs, cs, z, T, B, D, H);
    float loss = 0, scale = 2.f / (T * B * H);
    for (long i = B * H; i < (T + 1) * B * H; i++) loss += hs[i] * hs[i];
    memset(dh, 0, B * H * sizeof(float));
    memset(dc, 0, B * H * sizeof(float));
    for (long t = T - 1; t >= 0; t--) {
        float* zt = z + t * B * 4 * H;
        for (long r = 0; r < B; r++) {
            float* i = zt + r * 4 * H;
            const float* before = cs + (t * B + r) * H;
            lstm_row_back(i, i + H, i + 2 * H, i + 3 * H, before, before + B * H,
                          hs + ((t + 1) * B + r) * H, dh + r * H, dc + r * H, scale, H);
        }
        if (t) NT(B, H, 4 * H, zt, 4 * H, u, 4 * H, 0.f, dh, H);
    }
    TN(H, 4 * H, T * B, hs, H, z, 4 * H, 0.f, du, 4 * H);
    TN(D, 4 * H, T * B, x, D, z, 4 * H, 0.f, dwx, 4 * H);
    sum_rows(z, db, T * B, 4 * H);
    return loss / (T * B * H);
}

/* z: reset, update, candidate; rh keeps reset * h. u is (H, 2 H), uc (H, H). */
void gru(sgemm_t gemm, const float* x, const float* wx, const float* u, const float* uc,
         const float* b, float* hs, float* rh, float* z, long T, long B, long D, long H) {
    project(gemm, x, wx, b, z, T * B, D, 3 * H);
    for (long t = 0; t < T; t++) {
        float *h = hs + t * B * H, *q = rh + t * B * H, *zt = z + t * B * 3 * H;
        NN(B, 2 * H, H, h, H, u, 2 * H, 1.f, zt, 3 * H);
        for (long r = 0; r < B; r++)
            for (long j = 0; j < H; j++) {
                float *reset = zt + r * 3 * H + j, *update = reset + H;
                *reset = sigmoid(*reset);
                *update = sigmoid(*update);
                q[r * H + j] = *reset * h[r * H + j];
            }
        NN(B, H, H, q, H, uc, H, 1.f, zt + 2 * H, 3 * H);
        for (long r = 0; r < B; r++)
            for (long j = 0; j < H; j++) {
                float *update = zt + r * 3 * H + H + j, *candidate = update + H;
                *candidate = tanhf(*candidate);
                h[(B + r) * H + j] =
                    *candidate + *update * (h[r * H + j] - *candidate);
            }
    }
}

float gru_train(sgemm_t gemm, const float* x, const float* wx, const float* u, const float* uc,
                const float* b, float* hs, float* rh, float* z, float* dh, float* dq, float* dwx,
                float* du, float* duc, float* db, long T, long B, long D, long H) {
    gru(gemm, x, wx, u, uc, b, hs, rh, z, T, B, D, H);
    float loss = 0, scale = 2.f / (T * B * H);
    for (long i = B * H; i < (T + 1) * B * H; i++) loss += hs[i] * hs[i];
    memset(dh, 0, B * H * sizeof(float));
    for (long t = T - 1; t >= 0; t--) {
        const float *h = hs + t * B * H, *next = h + B * H;
        float* zt = z + t * B * 3 * H;
        for (long r = 0; r < B; r++)
            for (long j = 0; j < H; j++) {
                float *v = zt + r * 3 * H + H + j, *c = v + H;
                float d = dh[r * H + j] + scale * next[r * H + j];
                float dv = d * (h[r * H + j] - *c) * *v * (1 - *v);
                dh[r * H + j] = d * *v;
                *c = d * (1 - *v) * (1 - *c * *c);
                *v = dv;
            }
        NT(B, H, H, zt + 2 * H, 3 * H, uc, H, 0.f, dq, H);
        for (long r = 0; r < B; r++)
            for (long j = 0; j < H; j++) {
                float* s = zt + r * 3 * H + j;
                dh[r * H + j] += dq[r * H + j] * *s;
                *s = dq[r * H + j] * h[r * H + j] * *s * (1 - *s);
            }
        if (t) NT(B, H, 2 * H, zt, 3 * H, u, 2 * H, 1.f, dh, H);
    }
    TN(H, 2 * H, T * B, hs, H, z, 3 * H, 0.f, du, 2 * H);
    TN(H, H, T * B, rh, H, z + 2 * H, 3 * H, 0.f, duc, H);
    TN(D, 3 * H, T * B, x, D, z, 3 * H, 0.f, dwx, 3 * H);
    sum_rows(z, db, T * B, 3 * H);
    return loss / (T * B * H);
}

/* Floor: the products alone. G gates; `train` adds the backward ones. */
void products(sgemm_t gemm, const float* x, const float* wx, const float* u, float* hs, float* z,
              float* dwx, float* du, long T, long B, long D, long H, long G, long train) {
    NN(T * B, G * H, D, x, D, wx, G * H, 0.f, z, G * H);
    for (long t = 0; t < T; t++)
        NN(B, G * H, H, hs + t * B * H, H, u, G * H, 1.f, z + t * B * G * H, G * H);
    if (!train) return;
    for (long t = T - 1; t > 0; t--)
        NT(B, H, G * H, z + t * B * G * H, G * H, u, G * H, 0.f, hs + t * B * H, H);
    TN(H, G * H, T * B, hs, H, z, G * H, 0.f, du, G * H);
    TN(D, G * H, T * B, x, D, z, G * H, 0.f, dwx, G * H);
}

/* A number in [0, 1) from a counter. */
static inline float draw(uint32_t i, uint32_t key) {
    uint32_t x = i * 0x9E3779B1u ^ key;
    x ^= x >> 16;
    x *= 0x85EBCA6Bu;
    x ^= x >> 13;
    x *= 0xC2B2AE35u;
    x ^= x >> 16;
    return (int32_t)(x >> 8) * 0x1p-24f;
}

/* v (B, V) is replaced by the state after n steps; h (B, H), z scratch. */
void gibbs(sgemm_t gemm, const float* w, const float* bv, const float* bh, float* v, float* h,
           long n, long B, long V, long H) {
    for (long t = 0; t < n; t++) {
        NN(B, H, V, v, V, w, H, 0.f, h, H);
        for (long r = 0; r < B; r++)
            for (long j = 0; j < H; j++)
                h[r * H + j] = draw(r * H + j, 2 * t) < sigmoid(h[r * H + j] + bh[j]);
        NT(B, V, H, h, H, w, H, 0.f, v, V);
        for (long r = 0; r < B; r++)
            for (long j = 0; j < V; j++)
                v[r * V + j] = draw(r * V + j, 2 * t + 1) < sigmoid(v[r * V + j] + bv[j]);
    }
}

/* Floor: the products alone. */
void gibbs_products(sgemm_t gemm, const float* w, float* v, float* h, long n, long B, long V,
                    long H) {
    for (long t = 0; t < n; t++) {
        NN(B, H, V, v, V, w, H, 0.f, h, H);
        NT(B, V, H, h, H, w, H, 0.f, v, V);
        v[0] = 0;
    }
}
