"""Named passes, pipelines of them, and what running one tells: seconds, node counts, snapshots.

A pass is a pure function from Function to Function, registered with `register`. A pipeline is
text: names separated by commas, options in braces, ``repeat(a,b)`` for a group that is run until
nothing changes::

    repeat(canonicalize,fold_constants,cse),shapes,stabilize

``-`` and ``_`` in names are the same.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply

#: rounds of a group that still finds something to do
MOST_ROUNDS = 12

_PASSES: dict[str, Pass] = {}

#: of the pipeline that is running: a region (held: its address stays its own) and what a pass with
#: these options made of it. Most passes of a round find the bodies of loops as they left them, and
#: loops may share a body.
_done: ContextVar[dict[Any, tuple[Function, Function]] | None] = ContextVar("done", default=None)


@dataclass(frozen=True)
class Pass:
    """A named transformation.

    Attributes
    ----------
    name : str
    run : callable
        From Function to Function, and options by keyword. It must not change its argument and
        returns that very object if it has nothing to do.
    doc : str
        One sentence.
    regions : bool
        Whether the pass is run on loop bodies and branches as well, before it sees their holder.
    """

    name: str
    run: Callable[..., Function]
    doc: str
    regions: bool = True

    def __call__(self, function: Function, **options: Any) -> Function:
        """Run the pass, on regions too."""
        if self.regions:
            function = map_regions(function, lambda region: self._region(region, options))
        return self.run(function, **options)

    def _region(self, region: Function, options: dict[str, Any]) -> Function:
        """Run the pass on a region unless it is known what comes of it."""
        done = _done.get()
        if done is None:
            return self(region, **options)
        key = self.name, repr(options), id(region)
        found = done.get(key)
        if found is None:
            found = done[key] = region, self(region, **options)
        return found[1]


def register(run: Callable[..., Function], *, name: str = "", regions: bool = True) -> Any:
    """Register a pass under the name of its function (or ``name``); usable as a decorator."""
    label = name or run.__name__
    if label in _PASSES and _PASSES[label].run is not run:
        raise ValueError(f"two passes are called {label!r}")
    doc = (run.__doc__ or "").strip().split("\n\n")[0]
    _PASSES[label] = Pass(label, run, " ".join(doc.split()), regions)
    return run


def passes() -> dict[str, Pass]:
    """All passes by name."""
    import ltensor.passes.all  # noqa: F401 - registers them

    return _PASSES


def find(name: str) -> Pass:
    """The pass called ``name``.

    Raises
    ------
    ValueError
        If there is none.
    """
    found = _PASSES.get(name.replace("-", "_")) or passes().get(name.replace("-", "_"))
    if found is None:
        raise ValueError(f"there is no pass {name!r}; there are {', '.join(sorted(passes()))}")
    return found


def map_regions(function: Function, change: Callable[[Function], Function]) -> Function:
    """``function`` with ``change`` applied to the regions its ops hold."""
    holders = [node for node in function.nodes if node.op.regions]
    if not holders:
        return function
    replaced: dict[Any, Any] = {}
    for node in holders:
        before = node.op.regions
        after = tuple(change(region) for region in before)
        if all(a is b for a, b in zip(after, before, strict=True)):
            continue
        op: Any = node.op
        replaced[node] = op.with_regions(after)
    if not replaced:
        return function
    memo: dict[Any, Any] = {}
    for node in function.nodes:
        inputs = [memo.get(v, v) for v in node.inputs]
        if node not in replaced and all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
            continue
        fresh = Apply(replaced.get(node, node.op), inputs, [v.clone() for v in node.outputs])
        fresh.source = node.source
        memo.update(zip(node.outputs, fresh.outputs, strict=True))
    return Function(function.inputs, [memo.get(v, v) for v in function.outputs], function.name)


# --------------------------------------------------------------------------------- pipelines


@dataclass(frozen=True)
class Step:
    """A pass with its options."""

    what: Pass
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        if not self.options:
            return self.what.name
        return f"{self.what.name}{{{', '.join(f'{k}={v!r}' for k, v in self.options)}}}"


@dataclass(frozen=True)
class Group:
    """Steps run again and again until none of them changes anything."""

    steps: tuple[Step, ...]
    rounds: int = MOST_ROUNDS

    def __str__(self) -> str:
        return f"repeat({','.join(map(str, self.steps))})"


_TOKEN = re.compile(r"\s*(repeat\s*\(|[A-Za-z_][\w-]*|\{[^}]*\}|\)|,)")


def parse_pipeline(text: str) -> list[Step | Group]:
    """The steps of a pipeline given as text.

    Raises
    ------
    ValueError
        If the text is malformed or names an unknown pass.

    Examples
    --------
    >>> [str(step) for step in parse_pipeline("repeat(canonicalize, cse), shapes")]
    ['repeat(canonicalize,cse)', 'shapes']
    """
    result: list[Step | Group] = []
    inner: list[Step] | None = None
    position, text = 0, text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"cannot read the pipeline at {text[position:]!r}")
        position, token = match.end(), match.group(1)
        current: list[Any] = result if inner is None else inner
        if token.startswith("repeat") and token.endswith("("):
            if inner is not None:
                raise ValueError("repeat(...) cannot be nested")
            inner = []
        elif token == ")":
            if inner is None:
                raise ValueError("a closing parenthesis without repeat(")
            result.append(Group(tuple(inner)))
            inner = None
        elif token.startswith("{"):
            if not current or isinstance(current[-1], Group):
                raise ValueError(f"options {token} without a pass")
            current[-1] = Step(current[-1].what, _options(token[1:-1]))
        elif token != ",":
            current.append(Step(find(token)))
    if inner is not None:
        raise ValueError("repeat( is not closed")
    return result


def _options(text: str) -> tuple[tuple[str, Any], ...]:
    found = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = part.partition("=")
        key = name.strip().replace("-", "_")
        try:
            found.append((key, ast.literal_eval(value.strip()) if equals else True))
        except (ValueError, SyntaxError):
            found.append((key, value.strip()))
    return tuple(found)


# --------------------------------------------------------------------------------- running


@dataclass
class Record:
    """What one run of a pass did."""

    name: str
    seconds: float
    before: int
    after: int
    changed: bool


@dataclass
class Report:
    """The result of a pipeline.

    Attributes
    ----------
    function : Function
        The final form.
    records : list of Record
        One for every pass run.
    snapshots : list of (str, Function)
        The Function after every pass that changed it, if asked for.
    """

    function: Function
    records: list[Record] = field(default_factory=list)
    snapshots: list[tuple[str, Function]] = field(default_factory=list)
    #: for every step the Function on which it last had nothing to do
    idle: dict[str, Function] = field(default_factory=dict, repr=False)

    @property
    def seconds(self) -> float:
        """Time spent in passes."""
        return sum(r.seconds for r in self.records)

    def summary(self) -> str:
        """A table: pass, runs, seconds, nodes before and after."""
        rows: dict[str, list[Any]] = {}
        for r in self.records:
            row = rows.setdefault(r.name, [0, 0, 0.0, 0])
            row[0] += 1
            row[1] += r.changed
            row[2] += r.seconds
            row[3] += r.after - r.before
        lines = [f"{'pass':<20} {'runs':>5} {'changed':>8} {'ms':>9} {'nodes':>7}"]
        for name, (runs, changed, seconds, nodes) in rows.items():
            lines.append(f"{name:<20} {runs:>5} {changed:>8} {seconds * 1e3:>9.2f} {nodes:>+7}")
        return "\n".join(lines)


def run_pipeline(
    function: Function,
    pipeline: str | Sequence[Step | Group],
    *,
    verify: bool = False,
    snapshots: bool = False,
) -> Report:
    """Run a pipeline on ``function``.

    Parameters
    ----------
    function : Function
    pipeline : str or list
        Text (see `parse_pipeline`) or its parsed form.
    verify : bool
        Check the Function after every pass that changed it.
    snapshots : bool
        Keep the Function after every pass that changed it.

    Raises
    ------
    VerifyError
        If a pass breaks the Function and ``verify`` is on.
    """
    steps = parse_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    report = Report(function)
    if verify:
        _verify(function, "the input")
    before = _done.set({})
    try:
        _run_steps(steps, report, verify, snapshots)
    finally:
        _done.reset(before)
    return report


def _run_steps(
    steps: Sequence[Step | Group], report: Report, verify: bool, snapshots: bool
) -> None:
    for step in steps:
        if isinstance(step, Step):
            _run_step(step, report, verify, snapshots)
            continue
        quiet = 0
        for _ in range(step.rounds):
            for member in step.steps:
                quiet = 0 if _run_step(member, report, verify, snapshots) else quiet + 1
                if quiet >= len(step.steps):
                    break
            if quiet >= len(step.steps):
                break


def _run_step(step: Step, report: Report, verify: bool, snapshots: bool) -> bool:
    before = report.function
    if report.idle.get(str(step)) is before:
        return False
    start = time.perf_counter()
    after = step.what(before, **dict(step.options))
    seconds = time.perf_counter() - start
    changed = after is not before
    report.records.append(
        Record(step.what.name, seconds, len(before.nodes), len(after.nodes), changed)
    )
    report.function = after
    if not changed:
        report.idle[str(step)] = after
    else:
        if verify:
            _verify(after, f"pass {step.what.name}")
        if snapshots:
            report.snapshots.append((step.what.name, after))
    return changed


def _verify(function: Function, when: str) -> None:
    from ltensor.errors import VerifyError
    from ltensor.ir.verify import verify

    try:
        verify(function)
    except VerifyError as error:
        raise VerifyError(f"after {when}: {error}") from error
