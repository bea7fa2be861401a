"""Every row of the table, all peers side by side: ``python -m benchmarks [--rows W05,W07]``.

Each peer runs in a process of its own. For each row all peers get the same inputs, their results
are compared first, then they are timed in turns, round by round; the table shows medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.peer import ENVIRONMENTS, Peer, PeerError, interpreter
from benchmarks.row import MAKERS, PEERS, Row, all_rows
from benchmarks.table import Result, judge, print_row, print_summary

#: Between batches of peers with threads: seconds.
PAUSE = 0.15
#: A batch of calls takes about so many seconds.
BATCH = 0.03


def compare(found: list[np.ndarray], wanted: list[np.ndarray], row: Row) -> None:
    """Raise ValueError where results differ by more than the row allows."""
    if row.check is not None:
        row.check(found, wanted)
        return
    if len(found) != len(wanted):
        raise ValueError(f"{len(found)} results, not {len(wanted)}")
    for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
        if a.shape != b.shape:
            raise ValueError(f"result {i} has shape {a.shape}, not {b.shape}")
        scale = float(np.abs(b).max(initial=0.0)) or 1.0
        error = float(np.abs(a.astype("float64") - b.astype("float64")).max(initial=0.0))
        if not error <= row.rtol * scale + row.atol:
            raise ValueError(f"result {i} differs by {error:.3g} of {scale:.3g}")


class Driver:
    """Runs rows with the workers that it keeps."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        free = options.core < 0 or not hasattr(os, "sched_setaffinity")
        self.cores = None if free else set(range(options.core, options.core + options.threads))
        self.absent = {p: "absent" for p in options.peers if interpreter(p) is None}
        self.workers = {p: self.peer(p) for p in options.peers if p not in self.absent}

    def peer(self, name: str, settings: dict[str, str] | None = None) -> Peer:
        """A worker with its cores and threads."""
        threads = 1 if name == "lt_one" else self.options.threads
        return Peer(name, self.cores, settings, threads)

    def peers_of(self, row: Row) -> list[str]:
        """The peers that run the row."""
        return [p for p in self.workers if MAKERS.get(p, p) in row.peers]

    def run(self, row: Row) -> Result:
        """One row: check, then measure."""
        result = Result(row)
        for peer, why in self.absent.items():
            if peer in row.peers:
                result.failed[peer] = why
        data = row.inputs(np.random.default_rng(self.options.seed))
        wanted: list[np.ndarray] | None = None
        order = sorted(
            self.peers_of(row),
            key=lambda p: ("numpy", "c", "c_fast").index(p) if p in ("numpy", "c", "c_fast") else 3,
        )
        for peer in order:
            try:
                for label, answer in self.first(row, peer, data):
                    if peer != "floor":
                        if wanted is None:
                            wanted = answer["results"]
                        compare(answer["results"], wanted, row)
                    result.first[label] = answer
            except (PeerError, ValueError) as failure:
                result.failed[peer] = str(failure)
                if self.options.verbose and hasattr(failure, "trace"):
                    print(failure.trace, file=sys.stderr)
        if row.kind == "time":
            self.rounds(result)
        else:
            result.figures = {p: a["figure"] for p, a in result.first.items()}
        judge(result)
        return result

    def first(self, row: Row, peer: str, data: Any) -> Iterable[tuple[str, dict[str, Any]]]:
        """Results of a peer, with the label under which its figure is shown."""
        if row.kind == "time":
            yield (
                peer,
                self.workers[peer].ask("prepare", row.key, data, timeout=self.options.timeout),
            )
            return
        if row.kind != "compile":
            yield peer, self.fresh(row, peer, data, {})
            return
        runs: dict[str, list[dict[str, Any]]] = {peer: [], f"{peer} cached": []}
        for _ in range(1 if self.options.quick else 3):
            with tempfile.TemporaryDirectory() as folder:
                settings = {
                    "LTENSOR_CACHE_DIR": folder,
                    "JAX_COMPILATION_CACHE_DIR": folder,
                    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
                    "PYTENSOR_FLAGS": f"base_compiledir={folder}",
                }
                for answers in runs.values():
                    answers.append(self.fresh(row, peer, data, settings))
            if runs[peer][0]["figure"] > 5:
                break  # slow is slow
        for label, answers in runs.items():
            middle = statistics.median(a[self.options.clock] for a in answers)
            yield label, {**answers[0], "figure": middle}

    def fresh(self, row: Row, peer: str, data: Any, settings: dict[str, str]) -> dict[str, Any]:
        """The answer of a process that does nothing else."""
        worker = self.peer(peer, settings)
        try:
            worker.ask("hello", timeout=self.options.timeout)
            return worker.ask("prepare", row.key, data, timeout=self.options.timeout)
        finally:
            worker.stop()

    def rounds(self, result: Result) -> None:
        """Interleaved rounds of batches."""
        counts = {}
        for peer, answer in result.first.items():
            # a second processor that has been idle takes its time to come to speed
            seconds = BATCH if self.options.threads == 1 else 10 * BATCH
            counts[peer] = max(1, min(20000, int(seconds / max(answer["call"], 1e-8))))
        samples: dict[str, list[float]] = {p: [] for p in counts}
        clock = self.options.clock
        for turn in range(self.options.rounds):
            for peer, calls in counts.items():
                if result.first[peer]["call"] > 0.5 and turn >= 3:
                    continue
                if self.options.threads > 1:
                    # threads of the peer before still look for work: OpenBLAS's for long
                    time.sleep(PAUSE)
                try:
                    answer = self.workers[peer].ask("measure", calls, timeout=self.options.timeout)
                    samples[peer].append(answer[clock])
                except PeerError as failure:
                    result.failed[peer] = str(failure)
        for peer, kept in samples.items():
            if kept:
                result.figures[peer] = statistics.median(kept)
                result.spread[peer] = (min(kept), max(kept))

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers.values():
            worker.stop()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    name = platform.processor()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def parse() -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", help="comma-separated parts of row names, as W05,W07")
    parser.add_argument("--peers", help=f"comma-separated, of {', '.join(PEERS)}; lt always runs")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--clock", choices=["cpu", "wall"], help="wall with several threads")
    parser.add_argument("--core", type=int, default=0, help="first core to pin to; -1 for none")
    parser.add_argument("--threads", type=int, default=1, help="of every peer, and cores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ltensor", type=Path, help="measure the ltensor of this source tree")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one answer")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--verbose", action="store_true", help="tracebacks of peers that fail")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 3
    options.clock = options.clock or ("cpu" if options.threads == 1 else "wall")
    if options.ltensor:
        os.environ["LTENSOR_BENCHMARKS_TREE"] = str(options.ltensor.resolve())
    chosen = options.peers.split(",") if options.peers else list(PEERS)
    if "c" in chosen and "c_fast" not in chosen:
        chosen.append("c_fast")
    options.peers = [p for p in PEERS if p in chosen or p in ("lt", "floor")]
    if options.threads == 1 and "lt_one" in options.peers:
        options.peers.remove("lt_one")
    elif options.threads > 1 and "lt_one" not in options.peers:
        options.peers.insert(1, "lt_one")
    return options


def main() -> None:
    """Run, print, write."""
    options = parse()
    rows = list(all_rows().values())
    if options.rows:
        parts = options.rows.lower().split(",")
        rows = [r for r in rows if any(p in r.key.lower() for p in parts)]
    if options.list:
        for row in rows:
            print(row.key)
        return
    driver = Driver(options)
    for environment in dict.fromkeys(ENVIRONMENTS[peer] for peer in driver.absent):
        print(f"{environment} is absent: python benchmarks/setup_peers.py {environment}")
    results = []
    try:
        for row in rows:
            try:
                result = driver.run(row)
            except Exception:
                traceback.print_exc()
                continue
            results.append(result)
            print_row(result, options.peers)
            sys.stdout.flush()
    finally:
        driver.close()
    print_summary(results)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        report = {
            "machine": machine(),
            "clock": options.clock,
            "threads": options.threads,
            "rounds": options.rounds,
            "rows": [r.as_json() for r in results],
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
