"""A process of one peer: reads requests, answers with results and times.

Started by the driver as ``python worker.py PEER``. Requests and answers are pickles on the standard
streams; what libraries print goes to the standard error.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.row import MAKERS, Row, all_rows


def as_arrays(results: Any) -> list[np.ndarray]:
    """Results of any peer as NumPy arrays of their own."""
    if not isinstance(results, list | tuple):
        results = [results]
    return [np.array(r) for r in results]


def peak_bytes() -> int:
    """Largest resident size since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak() -> None:
    """Let the peak count from here, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


class Worker:
    """State of the process: the row at hand and its function."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.rows = all_rows()
        self.work: Any = None
        if peer in ("c", "c_fast", "floor"):
            from benchmarks import kernels

            kernels.fast_math = peer != "c"
        self.maker = MAKERS.get(peer, peer)
        if self.maker == "lt":
            if "LTENSOR_BENCHMARKS_TREE" in os.environ:
                sys.path.insert(0, os.environ["LTENSOR_BENCHMARKS_TREE"])
            import ltensor.tensor  # noqa: F401
        elif peer == "jax":
            import jax
            import jax.numpy

            jax.config.update("jax_enable_x64", True)
            jax.numpy.zeros(1).block_until_ready()  # starts its back end
        elif peer in ("pytensor", "pytensor_c"):
            import pytensor.tensor

            pytensor.config.floatX = "float64"
            if peer == "pytensor_c":
                pytensor.config.linker = "cvm"
        elif peer in ("torch", "inductor"):
            import torch

            torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

    def prepare(self, key: str, data: dict[str, Any]) -> dict[str, Any]:
        """Build, call once for the results, once for the time."""
        row: Row = self.rows[key]
        self.work = None
        if self.maker in row.before:
            row.before[self.maker](data)()
        start, cpu = time.perf_counter(), time.process_time()
        made = row.peers[self.maker](data)
        if row.kind == "memory":
            small, large = made
            as_arrays(small())
            reset_peak()
            before = peak_bytes()
            results = as_arrays(large())
            return {"figure": peak_bytes() - before, "results": results}
        if row.kind in ("seconds", "size"):
            return {"figure": made(), "results": []}
        results = as_arrays(made())
        if hasattr(made, "state"):
            results += as_arrays(made.state())
        built, built_cpu = time.perf_counter() - start, time.process_time() - cpu
        if row.kind == "compile":
            return {"figure": built, "wall": built, "cpu": built_cpu, "results": results}
        start = time.perf_counter()
        made()
        self.work = made
        return {"results": results, "built": built, "call": time.perf_counter() - start}

    def measure(self, calls: int) -> dict[str, float]:
        """Seconds per call, of the processor and of the wall."""
        work = self.work
        work()
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            work()
        cpu = time.process_time() - cpu
        return {"cpu": cpu / calls, "wall": (time.perf_counter() - start) / calls}


def main() -> None:
    """Serve until the driver closes the stream."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    worker = None
    while True:
        try:
            name, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            if worker is None:
                worker = Worker(sys.argv[1])
            reply = getattr(worker, name)(*arguments) if name != "hello" else {}
        except Exception as failure:
            reply = {
                "error": f"{type(failure).__name__}: {failure}",
                "traceback": traceback.format_exc(),
            }
        pickle.dump(reply, answers)
        answers.flush()


if __name__ == "__main__":
    main()
