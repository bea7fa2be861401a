"""Profiles of compiled functions, printed in Theano's layout.

One native function runs all operations, so the time of a call is not known by operation; it is
shared out by an estimate of each operation's work and marked as such.
"""

from __future__ import annotations

import atexit
import sys
import time
from typing import IO, Any

from ltensor.config import config
from ltensor.ir.function import Function as Graph

#: stages of a compile after the passes, as they are called in a profile
STAGES = {
    "lowering": "Lowering to a kernel program and its text",
    "code": "Object code",
    "linking": "Linking",
}

_START = time.perf_counter()
_profiles: list[ProfileStats] = []


class ProfileStats:
    """Counts and times of one function.

    Attributes
    ----------
    fct_callcount : int
    fct_call_time, vm_call_time : float
        Seconds in calls, and in native code.
    """

    def __init__(self, message: str = "", atexit_print: bool = True, **_: Any) -> None:
        self.message = message
        self.fct_callcount = 0
        self.fct_call_time = 0.0
        self.vm_call_time = 0.0
        self.compile_time = 0.0
        self.optimizer_time = 0.0
        self.graph: Graph | None = None
        self.stages: dict[str, float] = {}
        self.passes = ""
        if atexit_print:
            _profiles.append(self)

    def record(self, call: float, native: float) -> None:
        """One call."""
        self.fct_callcount += 1
        self.fct_call_time += call
        self.vm_call_time += native

    def compiled(
        self, graph: Graph, total: float, stages: dict[str, float], passes: str = ""
    ) -> None:
        """What compiling took: in all, by stage, and a table of the passes."""
        self.graph = graph
        self.compile_time += total
        self.optimizer_time += stages.get("passes", 0.0)
        for name, seconds in stages.items():
            self.stages[name] = self.stages.get(name, 0.0) + seconds
        self.passes = passes

    def summary(
        self, file: IO[str] | None = None, n_ops_to_print: int = 20, n_apply_to_print: int = 20
    ) -> None:
        """Print the profile."""
        out = sys.stderr if file is None else file
        print("\n".join(self._lines(n_ops_to_print, n_apply_to_print)), file=out)

    def _lines(self, n_ops: int, n_apply: int) -> list[str]:
        nodes = self.graph.nodes if self.graph is not None else []
        lines = [
            "Function profiling",
            "==================",
            f"  Message: {self.message}",
            f"  Time in {self.fct_callcount} calls to Function.__call__: {self.fct_call_time:e}s",
        ]
        if self.fct_call_time:
            share = 100 * self.vm_call_time / self.fct_call_time
            lines.append(f"  Time in Function.fn.__call__: {self.vm_call_time:e}s ({share:.3f}%)")
        lines += [
            f"  Total compile time: {self.compile_time:e}s",
            f"    Number of Apply nodes: {len(nodes)}",
            f"    Optimizer time: {self.optimizer_time:e}s",
            *(f"       {line}" for line in self.passes.splitlines()),
            *(
                f"    {title}: {self.stages[name]:e}s"
                for name, title in STAGES.items()
                if name in self.stages
            ),
            "",
            f"Time since import {time.perf_counter() - _START:.3f}s",
            "The shares below are estimates by amount of work: all operations run in one native "
            "function.",
        ]
        weights = [float(max(1, getattr(n.op, "cost", 4))) for n in nodes]
        total = sum(weights) or 1.0
        by_class: dict[str, list[float]] = {}
        by_op: dict[str, list[float]] = {}
        for node, weight in zip(nodes, weights, strict=True):
            cls = f"{type(node.op).__module__}.{type(node.op).__name__}"
            by_class.setdefault(cls, []).append(weight)
            by_op.setdefault(str(node.op), []).append(weight)
        lines += self._table("Class", "Class name", by_class, total, n_ops)
        lines += self._table("Ops", "Op name", by_op, total, n_ops)
        lines += [
            "Apply",
            "------",
            "<% time> <sum %> <apply time> <time per call> <#call> <id> <Apply name>",
        ]
        running = 0.0
        order = sorted(range(len(nodes)), key=lambda k: -weights[k])
        for k in order[:n_apply]:
            share = weights[k] / total
            running += share
            seconds = share * self.vm_call_time
            each = seconds / max(1, self.fct_callcount)
            lines.append(
                f"  {100 * share:4.1f}%   {100 * running:5.1f}%  {seconds:8.3f}s  {each:.2e}s "
                f"{self.fct_callcount:6d} {k:5d}   {nodes[k]}"
            )
        rest = max(0, len(nodes) - n_apply)
        lines.append(
            f"   ... (remaining {rest} Apply instances account for {100 * (1 - running):.2f}%"
            f"({(1 - running) * self.vm_call_time:.2f}s) of the runtime)"
        )
        lines.append("")
        return lines

    def _table(
        self, title: str, last: str, groups: dict[str, list[float]], total: float, limit: int
    ) -> list[str]:
        columns = "<% time> <sum %> <apply time> <time per call> <type> <#call> <#apply>"
        lines = [title, "---", f"{columns} <{last}>"]
        running = 0.0
        for name, weights in sorted(groups.items(), key=lambda kv: -sum(kv[1]))[:limit]:
            share = sum(weights) / total
            running += share
            seconds = share * self.vm_call_time
            calls = self.fct_callcount * len(weights)
            lines.append(
                f"  {100 * share:4.1f}%   {100 * running:5.1f}%  {seconds:8.3f}s  "
                f"{seconds / max(1, calls):.2e}s     C {calls:8d} {len(weights):7d}   {name}"
            )
        rest = max(0, len(groups) - limit)
        lines.append(
            f"   ... (remaining {rest} {title} account for {100 * (1 - running):6.2f}%"
            f"({(1 - running) * self.vm_call_time:.2f}s) of the runtime)"
        )
        lines.append("")
        return lines


def _print_all() -> None:
    if not config.profile:
        return
    for profile in _profiles:
        if profile.fct_callcount:
            profile.summary(sys.stderr)


atexit.register(_print_all)
