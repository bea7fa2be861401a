"""Verdicts and the printed table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.row import GRAPH_PEERS, Row


@dataclass
class Result:
    """What was found for one row.

    Attributes
    ----------
    figures : dict
        Peer to seconds per call (or bytes, for memory).
    spread : dict
        Peer to least and largest sample.
    failed : dict
        Peer to why it has no figure.
    to_graph, to_c, to_numpy, to_floor : float, optional
        Ratios of ltensor's figure.
    speedup : float, optional
        Of several threads over one.
    met : bool, optional
        All targets of the row are met; None where it has none, or where those that could be
        judged are met and the peers for the others did not run.
    """

    row: Row
    first: dict[str, dict[str, Any]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    to_graph: float | None = None
    to_c: float | None = None
    to_numpy: float | None = None
    to_floor: float | None = None
    speedup: float | None = None
    met: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """Figures and verdict."""
        row = self.row
        return {
            "row": row.key,
            "kind": row.kind,
            "steps": row.steps,
            "figures": self.figures,
            "spread": self.spread,
            "built": {p: a["built"] for p, a in self.first.items() if "built" in a},
            "failed": {**row.notes, **self.failed},
            "ratio": {
                "graph": self.to_graph,
                "c": self.to_c,
                "numpy": self.to_numpy,
                "floor": self.to_floor,
                "speedup": self.speedup,
            },
            "target": {
                "graph": row.graph,
                "c": row.c,
                "numpy": row.numpy,
                "speedup": row.speedup,
                "limit": row.limit,
            },
            "met": self.met,
        }


def judge(result: Result) -> None:
    """Fill in ratios and verdict."""
    row, figures = result.row, result.figures
    ours = figures.get("lt")
    if ours is None:
        result.met = False
        return

    def ratio(*peers: str) -> float | None:
        others = [figures[p] for p in peers if figures.get(p)]
        return ours / min(others) if others else None

    result.to_graph, result.to_c = ratio(*GRAPH_PEERS), ratio("c", "c_fast")
    result.to_numpy, result.to_floor = ratio("numpy"), ratio("floor")
    verdicts = []
    if "lt_one" in figures:
        result.speedup = figures["lt_one"] / ours
        if row.speedup is not None:
            verdicts.append(result.speedup >= row.speedup)
    if row.limit is not None:
        verdicts.append(ours / row.steps <= row.limit)
    if row.limit_cached is not None:
        verdicts.append(figures.get("lt cached", float("inf")) <= row.limit_cached)
    open_ = False
    for found, target in (
        (result.to_graph, row.graph),
        (result.to_c, row.c),
        (result.to_numpy, row.numpy),
    ):
        if target is not None:
            open_ |= found is None
            verdicts.append(found is None or found <= target)
    if not all(verdicts):
        result.met = False
    elif verdicts and not open_:
        result.met = True


def amount(value: float, kind: str) -> str:
    """Time or bytes with a fitting unit."""
    if kind in ("memory", "size"):
        return f"{value / 2**20:.2f} MB"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def print_row(result: Result, peers: list[str]) -> None:
    """The lines of one row."""
    row = result.row
    verdict = {True: "met", False: "NOT MET", None: "open"}[result.met]
    parts = []
    for name, found, target in (
        ("graph", result.to_graph, row.graph),
        ("C", result.to_c, row.c),
        ("NumPy", result.to_numpy if row.numpy is not None else None, row.numpy),
        ("floor", result.to_floor, None),
    ):
        if found is not None:
            parts.append(
                f"lt/{name} {found:.3g}" + (f" (target {target:g})" if target is not None else "")
            )
    if result.speedup is not None:
        goal = f" (target {row.speedup:g})" if row.speedup is not None else ""
        parts.append(f"speed-up {result.speedup:.3g}{goal}")
    if row.limit is not None:
        if row.kind == "memory" and row.steps > 1:
            parts.append(f"limit {row.limit:g} numbers")
        else:
            per = "/step" if row.steps > 1 else ""
            parts.append(f"limit {amount(row.limit, row.kind)}{per}")
    if row.limit_cached is not None:
        parts.append(f"limit cached {amount(row.limit_cached, row.kind)}")
    print(f"{row.key}: {verdict}; " + ", ".join(parts))
    shown = [p for p in (*peers, *(f"{p} cached" for p in peers)) if p in result.figures]
    for peer in shown:
        value = result.figures[peer]
        line = f"    {peer:16s} {amount(value, row.kind):>10s}"
        if row.kind == "time" and row.steps > 1:
            line += f" {value / row.steps * 1e9:10.4g} ns/step"
        if row.kind == "memory" and row.steps > 1:
            line += f" {value / row.steps:10.3g} numbers per unit, step and sample"
        if peer == "floor" and row.floor:
            line += f"   ({row.floor})"
        print(line)
    for peer, why in {**row.notes, **result.failed}.items():
        if peer in peers:
            print(f"    {peer:16s} -  {why[:140]}")


def print_summary(results: list[Result]) -> None:
    """Counts, and the rows that miss their targets."""
    met = [r for r in results if r.met is True]
    missed = [r for r in results if r.met is False]
    left = len(results) - len(met) - len(missed)
    print(
        f"\n{len(results)} rows: {len(met)} meet their targets, {len(missed)} do not, {left} open"
    )
    for r in missed:
        print(f"    {r.row.key}")
