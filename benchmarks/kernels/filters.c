/* W16: forward pass of a hidden Markov model, a Kalman filter of four states, and their gradients. */
#include <math.h>
#include <string.h>

#define M 50

/* One step of the forward pass: next_j = log sum_i exp(alpha_i + move_ij) + emit_j(symbol). */
static void forward(const double* restrict alpha, const double* restrict move,
                    const double* restrict emit, double* restrict lse, double* restrict next) {
    double top[M], sum[M];
    for (int j = 0; j < M; j++) { top[j] = -INFINITY; sum[j] = 0; }
    for (int i = 0; i < M; i++)
        for (int j = 0; j < M; j++) {
            double z = alpha[i] + move[i * M + j];
            top[j] = z > top[j] ? z : top[j];
        }
    for (int i = 0; i < M; i++)
        for (int j = 0; j < M; j++) sum[j] += exp(alpha[i] + move[i * M + j] - top[j]);
    for (int j = 0; j < M; j++) {
        lse[j] = log(sum[j]) + top[j];
        next[j] = lse[j] + emit[j];
    }
}

/* Floor: the exponentials of n steps alone. */
void exponentials(const double* restrict move, double* restrict sum, long n) {
    for (long t = 0; t < n; t++) {
        double shift = -1e-6 * t;
        for (int i = 0; i < M; i++)
            for (int j = 0; j < M; j++) sum[j] += exp(move[i * M + j] + shift);
    }
}

static double total(const double* x) {
    double top = x[0], sum = 0;
    for (int j = 1; j < M; j++) top = x[j] > top ? x[j] : top;
    for (int j = 0; j < M; j++) sum += exp(x[j] - top);
    return log(sum) + top;
}

/* emit is (symbols, M); alpha has n rows, lse n. */
double hmm(const long* observed, const double* start, const double* move, const double* emit,
           double* alpha, double* lse, long n) {
    for (int j = 0; j < M; j++) alpha[j] = start[j] + emit[observed[0] * M + j];
    for (long t = 1; t < n; t++)
        forward(alpha + (t - 1) * M, move, emit + observed[t] * M, lse + t * M, alpha + t * M);
    return total(alpha + (n - 1) * M);
}

double hmm_gradient(const long* observed, const double* start, const double* move,
                    const double* emit, double* alpha, double* lse, double* g_start,
                    double* g_move, double* g_emit, long n, long symbols) {
    double value = hmm(observed, start, move, emit, alpha, lse, n), d[M], before[M];
    memset(g_move, 0, M * M * sizeof(double));
    memset(g_emit, 0, symbols * M * sizeof(double));
    for (int j = 0; j < M; j++) d[j] = exp(alpha[(n - 1) * M + j] - value);
    for (long t = n - 1; t > 0; t--) {
        const double *a = alpha + (t - 1) * M, *l = lse + t * M;
        double* e = g_emit + observed[t] * M;
        for (int j = 0; j < M; j++) e[j] += d[j];
        for (int i = 0; i < M; i++) {
            double s = 0;
            for (int j = 0; j < M; j++) {
                double p = exp(a[i] + move[i * M + j] - l[j]) * d[j];
                g_move[i * M + j] += p;
                s += p;
            }
            before[i] = s;
        }
        memcpy(d, before, sizeof d);
    }
    for (int j = 0; j < M; j++) g_start[j] = d[j];
    for (int j = 0; j < M; j++) g_emit[observed[0] * M + j] += d[j];
    return value;
}

/* State of four, one observation. kept: six numbers per step for the backward pass. */
double kalman(const double* y, const double* f, const double* h, const double* q, double r,
              double* kept, long n) {
    double m[4] = {0}, p[4][4] = {{0}}, ll = 0;
    for (int i = 0; i < 4; i++) p[i][i] = 1;
    for (long t = 0; t < n; t++) {
        double a[4] = {0}, b[4][4], s[4][4], c[4] = {0}, spread = r, v = y[t];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) a[i] += f[i * 4 + j] * m[j];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                double z = 0;
                for (int k = 0; k < 4; k++) z += f[i * 4 + k] * p[k][j];
                b[i][j] = z;
            }
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                double z = i == j ? q[i] : 0;
                for (int k = 0; k < 4; k++) z += b[i][k] * f[j * 4 + k];
                s[i][j] = z;
            }
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) c[i] += s[i][j] * h[j];
        for (int i = 0; i < 4; i++) { spread += h[i] * c[i]; v -= h[i] * a[i]; }
        double inverse = 1 / spread;
        ll -= 0.5 * (log(6.283185307179586 * spread) + v * v * inverse);
        for (int i = 0; i < 4; i++) {
            m[i] = a[i] + c[i] * v * inverse;
            for (int j = 0; j < 4; j++) p[i][j] = s[i][j] - c[i] * c[j] * inverse;
        }
        if (kept) {
            for (int i = 0; i < 4; i++) kept[t * 6 + i] = c[i];
            kept[t * 6 + 4] = spread;
            kept[t * 6 + 5] = v;
        }
    }
    return ll;
}

double kalman_gradient(const double* y, const double* f, const double* h, const double* q, double r,
                       double* kept, double* gq, double* gr, long n) {
    double ll = kalman(y, f, h, q, r, kept, n);
    double dm[4] = {0}, dp[4][4] = {{0}}, sum_r = 0, sum_q[4] = {0};
    for (long t = n - 1; t >= 0; t--) {
        const double* c = kept + t * 6;
        double w = 1 / c[4], v = c[5], mc = 0, cpc = 0, dc[4], b[4][4];
        for (int i = 0; i < 4; i++) {
            double z = 0;
            for (int j = 0; j < 4; j++) z += (dp[i][j] + dp[j][i]) * c[j];
            dc[i] = (dm[i] * v - z) * w;
            mc += dm[i] * c[i];
            cpc += 0.5 * z * c[i];
        }
        double ds = (cpc - mc * v) * w * w - 0.5 * (w - v * v * w * w), dv = (mc - v) * w;
        sum_r += ds;
        for (int i = 0; i < 4; i++) {
            dm[i] -= dv * h[i];
            dc[i] += ds * h[i];
        }
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) dp[i][j] += dc[i] * h[j];
        for (int i = 0; i < 4; i++) sum_q[i] += dp[i][i];
        double a[4] = {0};
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) a[j] += f[i * 4 + j] * dm[i];
        memcpy(dm, a, sizeof a);
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                double z = 0;
                for (int k = 0; k < 4; k++) z += f[k * 4 + i] * dp[k][j];
                b[i][j] = z;
            }
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                double z = 0;
                for (int k = 0; k < 4; k++) z += b[i][k] * f[k * 4 + j];
                dp[i][j] = z;
            }
    }
    memcpy(gq, sum_q, sizeof sum_q);
    *gr = sum_r;
    return ll;
}
