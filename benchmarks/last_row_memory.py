"""Memory of ``scan(...)[0][-1]`` over a million steps of a vector of 1000: the peak must not grow.

Run ``python benchmarks/last_row_memory.py``.
"""

from __future__ import annotations

import resource
import time

import numpy as np

import ltensor as theano
import ltensor.tensor as T


def peak() -> int:
    """Largest resident size so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Ten steps, then a million."""
    v, n = T.dvector("v"), T.lscalar("n")
    rows, _ = theano.scan(lambda s: s * 0.999 + 0.001, outputs_info=[v], n_steps=n)
    f = theano.function([v, n], rows[-1])
    value = np.ones(1000)
    f(value, 10)
    before = peak()
    start = time.perf_counter()
    f(value, 1_000_000)
    seconds = time.perf_counter() - start
    print(f"1e6 steps of 1000 elements: {seconds:.3f} s, peak grew by {peak() - before} KiB")


if __name__ == "__main__":
    main()
