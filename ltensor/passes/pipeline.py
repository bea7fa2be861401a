"""Which passes run, by level of optimization."""

from __future__ import annotations

from typing import Any

from ltensor.config import change_flags, config
from ltensor.ir.function import Function
from ltensor.passes.manager import Group, Report, Step, parse_pipeline, run_pipeline

SIMPLIFY = "repeat(canonicalize,fold_constants)"
STABLE = f"{SIMPLIFY},repeat(stabilize,canonicalize,fold_constants)"
START = "inline_graphs,share_regions,scan_merge,scan_checkpoint"
LOOPS = (
    "scan_constant_slots,scan_equal_slots,scan_prune,scan_hoist,scan_concat_products,scan_hoist,"
    "scan_accumulate,scan_prune,scan_history,scan_vectorize,scan_prune,"
    "scan_siblings,scan_prune,scan_share_taps,"
    "scan_outer_products,scan_sequence_products"
)

#: pipelines by level
LEVELS: dict[str, str] = {
    "none": "inline_graphs,scan_merge,shapes,sink_branches",
    "fast_compile": f"{START},{STABLE},fills,shapes,{LOOPS},sink_branches",
    "fast_run": (
        f"{START},{STABLE},fills,shapes,{LOOPS},{SIMPLIFY},cse,share_powers,"
        "scan_order,sink_branches"
    ),
}

_parsed: dict[str, list[Step | Group]] = {}


def level_of(mode: Any) -> str:
    """The level of a mode: an object with ``level``, one of the levels, or None (``none``).

    Raises
    ------
    ValueError
        If there is no such level.
    """
    level = getattr(mode, "level", mode)
    key = "none" if level is None else str(level).lower()
    if key not in LEVELS:
        raise ValueError(f"there is no optimization level {mode!r}; there are {list(LEVELS)}")
    return key


def stages(mode: Any = "fast_run") -> str:
    """The pipeline of a mode, as text."""
    return LEVELS[level_of(mode)]


def run(
    function: Function, mode: Any = "fast_run", *, verify: bool = False, snapshots: bool = False
) -> Report:
    """Run the pipeline of ``mode``; see `ltensor.passes.manager.run_pipeline`."""
    text = stages(mode)
    pipeline = _parsed.get(text)
    if pipeline is None:
        pipeline = _parsed[text] = parse_pipeline(text)
    if config.compute_test_value == "off":
        return run_pipeline(function, pipeline, verify=verify, snapshots=snapshots)
    # what rules build is not the user's and has no test values
    with change_flags(compute_test_value="off"):
        return run_pipeline(function, pipeline, verify=verify, snapshots=snapshots)


def optimize(
    function: Function,
    mode: Any = "fast_run",
    snapshots: list[tuple[str, Function]] | None = None,
) -> Function:
    """``function`` after the passes of ``mode``.

    Parameters
    ----------
    function : Function
    mode : str or object
        ``'none'``, ``'fast_compile'``, ``'fast_run'``, or an object with such a ``level``.
    snapshots : list, optional
        Takes (pass, Function) for every pass that changed something.
    """
    result = report(function, mode, snapshots is not None)
    if snapshots is not None:
        snapshots.extend(result.snapshots)
    return result.function


def report(function: Function, mode: Any = "fast_run", snapshots: bool = False) -> Report:
    """As `optimize`, with what the passes did."""
    result = run(function, mode, snapshots=snapshots)
    checks = getattr(mode, "checks", None)
    if checks is not None:
        from ltensor.passes.nan_guard import insert_checks

        result.function = insert_checks(result.function, checks)
        if snapshots:
            result.snapshots.append(("insert_checks", result.function))
    return result
