/* W02: elementwise loops. W03: reductions. With OMP_NUM_THREADS threads. */
#include <math.h>

void sigmoid_tanh(const float* x, float* y, long n) {
#pragma omp parallel for simd schedule(static)
    for (long i = 0; i < n; i++) y[i] = tanhf(x[i]) / (1.f + expf(-x[i]));
}

void chain(const float* x, float* y, long n) {
#pragma omp parallel for simd schedule(static)
    for (long i = 0; i < n; i++) y[i] = expf(-x[i]) * logf(x[i] + 1.f) + powf(x[i], 1.7f);
}

void triad(const float* a, const float* b, float* y, long n) {
#pragma omp parallel for simd schedule(static)
    for (long i = 0; i < n; i++) y[i] = a[i] + 2.f * b[i];
}

/* y = a + b', in tiles that fit the first cache */
void plus_transposed(const double* a, const double* b, double* y, long n) {
    enum { TILE = 32 };
#pragma omp parallel for schedule(static)
    for (long i0 = 0; i0 < n; i0 += TILE)
        for (long j0 = 0; j0 < n; j0 += TILE) {
            long i1 = i0 + TILE < n ? i0 + TILE : n, j1 = j0 + TILE < n ? j0 + TILE : n;
            for (long i = i0; i < i1; i++)
                for (long j = j0; j < j1; j++) y[i * n + j] = a[i * n + j] + b[j * n + i];
        }
}

/* Blocks in single precision, their sums in double: n is large. */
enum { BLOCK = 4096 };

float sum_squares(const float* x, long n) {
    double total = 0;
#pragma omp parallel for reduction(+ : total) schedule(static)
    for (long i = 0; i < n; i += BLOCK) {
        long m = i + BLOCK < n ? i + BLOCK : n;
        float s = 0;
#pragma omp simd reduction(+ : s)
        for (long j = i; j < m; j++) s += x[j] * x[j];
        total += s;
    }
    return total;
}

float variance(const float* x, long n) {
    double total = 0, spread = 0;
#pragma omp parallel for reduction(+ : total) schedule(static)
    for (long i = 0; i < n; i += BLOCK) {
        long m = i + BLOCK < n ? i + BLOCK : n;
        float s = 0;
#pragma omp simd reduction(+ : s)
        for (long j = i; j < m; j++) s += x[j];
        total += s;
    }
    float mean = total / n;
#pragma omp parallel for reduction(+ : spread) schedule(static)
    for (long i = 0; i < n; i += BLOCK) {
        long m = i + BLOCK < n ? i + BLOCK : n;
        float d = 0;
#pragma omp simd reduction(+ : d)
        for (long j = i; j < m; j++) d += (x[j] - mean) * (x[j] - mean);
        spread += d;
    }
    return spread / n;
}

/* The largest of each block, then the place in the first block that holds it. */
long arg_max(const float* x, long n) {
    float best = x[0];
    long where = 0;
    for (long i = 0; i < n; i += BLOCK) {
        long m = i + BLOCK < n ? i + BLOCK : n;
        float top = x[i];
#pragma omp simd reduction(max : top)
        for (long j = i; j < m; j++) top = x[j] > top ? x[j] : top;
        if (top > best) best = top, where = i;
    }
    while (x[where] != best) where++;
    return where;
}

static float row_max(const float* x, long m) {
    float top = x[0];
#pragma omp simd reduction(max : top)
    for (long j = 0; j < m; j++) top = x[j] > top ? x[j] : top;
    return top;
}

void logsumexp_rows(const float* x, float* y, long n, long m) {
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i++) {
        const float* row = x + i * m;
        float top = row_max(row, m), s = 0;
#pragma omp simd reduction(+ : s)
        for (long j = 0; j < m; j++) s += expf(row[j] - top);
        y[i] = logf(s) + top;
    }
}

void softmax_rows(const float* x, float* y, long n, long m) {
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i++) {
        const float* row = x + i * m;
        float top = row_max(row, m), s = 0;
        float* out = y + i * m;
#pragma omp simd reduction(+ : s)
        for (long j = 0; j < m; j++) s += out[j] = expf(row[j] - top);
        s = 1 / s;
        for (long j = 0; j < m; j++) out[j] *= s;
    }
}

void norm_rows(const float* x, float* y, long n, long m) {
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i++) {
        const float* row = x + i * m;
        float s = 0, d = 0;
#pragma omp simd reduction(+ : s)
        for (long j = 0; j < m; j++) s += row[j];
        s /= m;
#pragma omp simd reduction(+ : d)
        for (long j = 0; j < m; j++) d += (row[j] - s) * (row[j] - s);
        d = 1 / sqrtf(d / m + 1e-5f);
        for (long j = 0; j < m; j++) y[i * m + j] = (row[j] - s) * d;
    }
}

/* Mean of -log softmax(x)[i, label[i]], and its gradient in g. */
float crossentropy(const float* x, const long* label, float* g, long n, long m) {
    float loss = 0;
#pragma omp parallel for reduction(+ : loss) schedule(static)
    for (long i = 0; i < n; i++) {
        const float* row = x + i * m;
        float top = row_max(row, m), s = 0;
        float* out = g + i * m;
#pragma omp simd reduction(+ : s)
        for (long j = 0; j < m; j++) s += out[j] = expf(row[j] - top);
        loss += logf(s) + top - row[label[i]];
        s = 1 / (s * n);
        for (long j = 0; j < m; j++) out[j] *= s;
        out[label[i]] -= 1.f / n;
    }
    return loss / n;
}
