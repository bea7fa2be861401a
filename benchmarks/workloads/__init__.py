"""One file per family of workloads; see `benchmarks.row`."""
