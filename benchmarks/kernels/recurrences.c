/* W06, W07, W12: loops over numbers. */
#include <math.h>

void polynomial(const double* c, const double* p, double* y, double x, long n) {
    for (long i = 0; i < n; i++) y[i] = c[i] * pow(x, p[i]);
}

void norms(const double* a, double* y, long rows, long columns) {
    for (long i = 0; i < rows; i++) {
        double s = 0;
        for (long j = 0; j < columns; j++) s += a[i * columns + j] * a[i * columns + j];
        y[i] = sqrt(s);
    }
}

double running_sum(const double* x, long n) {
    double s = 0;
    for (long t = 0; t < n; t++) s += x[t];
    return s;
}

double pi_last(const double* x, double dx, long n) {
    double s = 0;
    for (long t = 0; t < n; t++) s += 2. * sqrt(1 - x[t] * x[t]) * dx;
    return s;
}

void pi_all(const double* x, double* y, double dx, long n) {
    double s = 0;
    for (long t = 0; t < n; t++) y[t] = s += 2. * sqrt(1 - x[t] * x[t]) * dx;
}

double fibonacci_last(double a, double b, long n) {
    double p = 1, q = 1;
    for (long t = 0; t < n; t++) { double v = a * p + b * q; q = p; p = v; }
    return p;
}

void fibonacci_all(double* y, double a, double b, long n) {
    double p = 1, q = 1;
    for (long t = 0; t < n; t++) { double v = a * p + b * q; y[t] = v; q = p; p = v; }
}

double logistic_last(double x, double r, long n) {
    for (long t = 0; t < n; t++) x = r * x * (1 - x);
    return x;
}

void logistic_all(double* y, double x, double r, long n) {
    for (long t = 0; t < n; t++) y[t] = x = r * x * (1 - x);
}

double average_last(const double* x, double a, long n) {
    double s = 0;
    for (long t = 0; t < n; t++) s = a * s + (1 - a) * x[t];
    return s;
}

void average_all(const double* x, double* y, double a, long n) {
    double s = 0;
    for (long t = 0; t < n; t++) y[t] = s = a * s + (1 - a) * x[t];
}

double growth_last(double x, double rate, double limit, long n) {
    for (long t = 0; t < n; t++) {
        x *= rate;
        if (x > limit) break;
    }
    return x;
}

long growth_all(double* y, double x, double rate, double limit, long n) {
    long t = 0;
    while (t < n) {
        x *= rate;
        y[t++] = x;
        if (x > limit) break;
    }
    return t;
}

long collatz(long x, long n) {
    long t = 0;
    while (t < n) {
        x = x % 2 ? 3 * x + 1 : x / 2;
        t++;
        if (x == 1) break;
    }
    return t;
}

/* Floors: n dependent operations of the given depth. */
double chain(double a, double b, long n, long depth) {
    double r = 0.5;
    for (long t = 0; t < n * depth; t++) {
        r = r * a;
        __asm__ volatile("" : "+x"(r));
    }
    return r + b;
}
double chain_fma(double a, double b, long n) {
    double r = 0.5;
    for (long t = 0; t < n; t++) {
        r = r * a + b;
        __asm__ volatile("" : "+x"(r));
    }
    return r;
}
