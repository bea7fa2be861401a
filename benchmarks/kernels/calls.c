/* W01: work so small that only the call counts. */
void add_one(const double* x, double* y, long n) {
    for (long i = 0; i < n; i++) y[i] = x[i] + 1;
}

void add_eight(const double* a, const double* b, const double* c, const double* d, const double* e,
               const double* f, const double* g, const double* h, double* y, long n) {
    for (long i = 0; i < n; i++) y[i] = a[i] + b[i] + c[i] + d[i] + e[i] + f[i] + g[i] + h[i];
}

void count(long* state) { ++*state; }
