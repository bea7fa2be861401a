/* W13 and scalar gradients: forward and backward of long recurrences; h is kept in a given buffer. */
#include <math.h>

/* h = tanh(a h + b x); loss = sum (y - h)^2; g = d/da, d/db. Returns the loss. */
double ar1(const double* x, const double* y, double a, double b, double* h, double* g, long n) {
    double s = 0, loss = 0;
    for (long t = 0; t < n; t++) h[t] = s = tanh(a * s + b * x[t]);
    for (long t = 0; t < n; t++) loss += (y[t] - h[t]) * (y[t] - h[t]);
    double d = 0, ga = 0, gb = 0;
    for (long t = n - 1; t >= 0; t--) {
        d += 2 * (h[t] - y[t]);
        double z = d * (1 - h[t] * h[t]);
        ga += z * (t ? h[t - 1] : 0);
        gb += z * x[t];
        d = z * a;
    }
    g[0] = ga;
    g[1] = gb;
    return loss;
}

/* h_t = sum_k a_k h_{t-k} + x_t, k = 1..10; loss = mean h^2; g = d/da. h and d have 10 zeros more. */
double ar10(const double* x, const double* a, double* h, double* d, double* g, long n) {
    double loss = 0;
    for (long t = 0; t < n; t++) {
        double s = x[t];
        for (int k = 9; k >= 0; k--) s += a[k] * h[t + 9 - k];
        h[t + 10] = s;
    }
    for (long t = 0; t < n; t++) loss += h[t + 10] * h[t + 10];
    double acc[10] = {0};
    for (long t = n - 1; t >= 0; t--) {
        double s = 2 * h[t + 10] / n;
        for (int k = 9; k >= 0; k--) s += a[k] * d[t + k + 1];
        d[t] = s;
        for (int k = 0; k < 10; k++) acc[k] += s * h[t + 9 - k];
    }
    for (int k = 0; k < 10; k++) g[k] = acc[k];
    return loss / n;
}

/* GARCH(1,1): v = w + a r^2 + b v; loss = mean(log v + r^2 / v); g = d/dw, d/da, d/db. */
double garch(const double* r, double w, double a, double b, double* v, double* d, double* g, long n) {
    double s = 1, loss = 0;
    for (long t = 0; t < n; t++) {
        v[t] = s;
        s = w + a * r[t] * r[t] + b * s;
    }
    for (long t = 0; t < n; t++) {
        double q = 1 / v[t], e = r[t] * r[t] * q;
        loss += log(v[t]) + e;
        d[t] = (1 - e) * q / n;
    }
    double z = 0, gw = 0, ga = 0, gb = 0;
    for (long t = n - 1; t > 0; t--) {
        z = d[t] + b * z;
        gw += z;
        ga += z * r[t - 1] * r[t - 1];
        gb += z * v[t - 1];
    }
    g[0] = gw;
    g[1] = ga;
    g[2] = gb;
    return loss / n;
}

/* Scalar recurrences and their gradients by the parameters. */
double average_gradient(const double* x, double a, double* s, double* g, long n) {
    double h = 0, loss = 0, d = 0, ga = 0;
    for (long t = 0; t < n; t++) {
        s[t] = h;
        h = a * h + (1 - a) * x[t];
        loss += h * h;
    }
    double next = h;
    for (long t = n - 1; t >= 0; t--) {
        d += 2 * next;
        ga += d * (s[t] - x[t]);
        d *= a;
        next = s[t];
    }
    *g = ga;
    return loss;
}

double logistic_gradient(double r, double x, double* s, double* g, long n) {
    for (long t = 0; t < n; t++) {
        s[t] = x;
        x = r * x * (1 - x);
    }
    double d = 1, gr = 0;
    for (long t = n - 1; t >= 0; t--) {
        gr += d * s[t] * (1 - s[t]);
        d *= r * (1 - 2 * s[t]);
    }
    g[0] = gr;
    g[1] = d;
    return x;
}

double fibonacci_gradient(double a, double b, double* s, double* g, long n) {
    s[0] = s[1] = 1;
    for (long t = 0; t < n; t++) s[t + 2] = a * s[t + 1] + b * s[t];
    double d = 1, e = 0, ga = 0, gb = 0; /* adjoints of s[t + 2], s[t + 1] */
    for (long t = n - 1; t >= 0; t--) {
        ga += d * s[t + 1];
        gb += d * s[t];
        double f = e + a * d;
        e = b * d;
        d = f;
    }
    g[0] = ga;
    g[1] = gb;
    return s[n + 1];
}
