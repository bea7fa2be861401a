"""The driver's end of a worker: where its interpreter is, how it is started, asked and ended."""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.kernels import cache_folder

#: Peers whose packages live in an environment of their own, which `setup_peers.py` makes.
ENVIRONMENTS = {
    "numba": "numba",
    "jax": "jax",
    "pytensor": "pytensor",
    "pytensor_c": "pytensor",
    "torch": "torch",
    "inductor": "torch",
}

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "LTENSOR_NUM_THREADS",
)


def thread_settings(threads: int) -> dict[str, str]:
    """Environment variables by which the peers use so many threads."""
    settings = dict.fromkeys(THREADS, str(threads)) | {"JAX_PLATFORMS": "cpu"}
    if threads == 1:
        one = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        settings["XLA_FLAGS"] = one
    return settings


#: Settings that some machines carry and that would change what is measured.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")


class PeerError(Exception):
    """The worker answered with a failure, was too slow or died."""


def interpreter(peer: str) -> Path | None:
    """The Python that runs a peer; None where it is absent."""
    if peer not in ENVIRONMENTS:
        return Path(sys.executable)
    path = cache_folder() / ENVIRONMENTS[peer] / "bin" / "python"
    return path if (path.parent.parent / "complete").exists() else None


class Peer:
    """A worker, started when first asked."""

    def __init__(
        self,
        name: str,
        cores: set[int] | None,
        settings: dict[str, str] | None = None,
        threads: int = 1,
    ) -> None:
        self.name, self.cores = name, cores
        self.settings = {**thread_settings(threads), **(settings or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """A fresh process, pinned to the cores."""
        if self.process is not None:
            return self.process
        environment = {k: v for k, v in os.environ.items() if k not in UNSET}
        environment.update(self.settings)
        cores = self.cores

        def pin() -> None:
            if cores is not None:
                os.sched_setaffinity(0, cores)

        self.process = subprocess.Popen(
            [str(interpreter(self.name)), str(Path(__file__).with_name("worker.py")), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if "LTENSOR_BENCHMARKS_LOG" not in os.environ else None,
            env=environment,
            preexec_fn=pin,
        )
        return self.process

    def ask(self, *request: Any, timeout: float = 300) -> dict[str, Any]:
        """Send a request and wait for the answer; a slow or dead worker is ended."""
        process = self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(request, process.stdin)
            process.stdin.flush()
            deadline = time.monotonic() + timeout
            if not select.select([process.stdout], [], [], deadline - time.monotonic())[0]:
                self.stop()
                raise PeerError(f"no answer in {timeout:.0f} s")
            answer: dict[str, Any] = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError) as failure:
            code = process.wait()
            self.process = None
            raise PeerError(f"the process ended with {code}") from failure
        if "error" in answer:
            failure_ = PeerError(answer["error"])
            failure_.trace = answer["traceback"]  # type: ignore[attr-defined]
            raise failure_
        return answer

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
