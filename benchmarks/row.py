"""What one row of the table is: inputs, one maker per peer, targets.

A workload file (``workloads/*.py``) has a list ``ROWS``. The maker of a peer takes the inputs and
gives a function without arguments that does the work once and returns its results. Makers import
their libraries themselves: the file is read in every worker, also where those are not installed.
The function may have an attribute ``state``, a function that gives further results after a call
(what a training step has made of its weights).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Data = dict[str, Any]
Work = Callable[[], Any]
Maker = Callable[[Data], Any]

#: Peers in the order of the table. `c_fast` is `c` with -ffast-math and libmvec; `floor` is a loop
#: in C (or calls of a BLAS) that does only what cannot be avoided.
#: `lt_one` is ltensor with one thread, beside `lt` with several; `pytensor_c` PyTensor by C,
#: `inductor` torch.compile: they run where a row names them.
PEERS = (
    "lt",
    "lt_one",
    "c",
    "c_fast",
    "numba",
    "jax",
    "pytensor",
    "pytensor_c",
    "torch",
    "inductor",
    "numpy",
    "floor",
)

#: Peers that run by the makers of another.
MAKERS = {"c_fast": "c", "lt_one": "lt"}

#: Peers that compile a graph, as ltensor does (or could: torch).
GRAPH_PEERS = ("jax", "pytensor", "pytensor_c", "torch", "inductor")


def makers(*functions: Maker) -> dict[str, Maker]:
    """The makers ``lt``, ``c``, ``numpy_``, ... by peer; PyTensor's and PyTorch's run twice."""
    by_peer = {function.__name__.rstrip("_"): function for function in functions}
    for peer, other in (("pytensor", "pytensor_c"), ("torch", "inductor")):
        if peer in by_peer:
            by_peer[other] = by_peer[peer]
    return by_peer


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    code, name : str
        Workload, and which case of it.
    inputs : callable
        From a seeded generator to the inputs, the same for all peers.
    peers : dict
        Peer to maker.
    steps : int
        Steps of the loop, for nanoseconds per step.
    graph, c, numpy : float, optional
        Targets: time over the best graph peer's, over the better C's, over NumPy's.
    speedup : float, optional
        Target with several threads: one thread's time over theirs.
    rtol, atol : float
        How near the results must be to the reference's (the first of `numpy`, `c`).
    floor : str
        What the peer `floor` does.
    kind : str
        ``"time"``; ``"memory"``: a maker gives (small call, large call), the figure is how much
        the peak grows in the large one; ``"compile"``: the figure is the time of the maker and
        the first call in a new process; ``"seconds"``, ``"size"``: it is what the function gives.
    notes : dict
        Peer to why it is not there.
    limit, limit_cached : float, optional
        Target in the figure's own unit (seconds per step, bytes, seconds); with a disk cache.
    before : dict
        Peer to a maker that is called, and its function once, before anything is measured.
    check : callable, optional
        Compares results with the reference's instead of `rtol`; raises ValueError.
    """

    code: str
    name: str
    inputs: Callable[[np.random.Generator], Data]
    peers: dict[str, Maker]
    steps: int = 1
    graph: float | None = None
    c: float | None = None
    numpy: float | None = None
    speedup: float | None = None
    rtol: float = 1e-6
    atol: float = 1e-9
    floor: str = ""
    kind: str = "time"
    notes: dict[str, str] = field(default_factory=dict)
    limit: float | None = None
    limit_cached: float | None = None
    before: dict[str, Maker] = field(default_factory=dict)
    check: Callable[[Any, Any], None] | None = None

    @property
    def key(self) -> str:
        """What the driver and the workers call it."""
        return f"{self.code} {self.name}"


def all_rows() -> dict[str, Row]:
    """Every row of every workload file, by key, in the order of the files."""
    from benchmarks import workloads

    rows: dict[str, Row] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(workloads.__path__)):
        for row in importlib.import_module(f"benchmarks.workloads.{module}").ROWS:
            if row.key in rows:
                raise ValueError(f"two rows are named {row.key!r}")
            rows[row.key] = row
    return rows
