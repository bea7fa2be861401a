"""Makes a compiled function of a request: optimizes, lowers, compiles, tells who listens."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ltensor import hooks
from ltensor.compile_modes import Mode, keeps_memory
from ltensor.compiled import CompiledFunction
from ltensor.function_request import Request
from ltensor.io import In, Out
from ltensor.ir.function import Function as Graph
from ltensor.profiling import ProfileStats
from ltensor.runtime.entry import Returns
from ltensor.shared import Container, cell_of

if TYPE_CHECKING:
    from ltensor.passes.remarks import Remark

# The passes and the lowering are imported when the first function is compiled: half of the time
# of ``import ltensor`` otherwise.


class FunctionMaker:
    """Optimizes and compiles one request; kept by the function it made.

    Attributes
    ----------
    fgraph : Function
        The optimized graph.
    inputs : list of In
    mode : Mode
    build : Build
        The function's stages.
    """

    def __init__(
        self,
        specs: Sequence[In],
        request: Request,
        keys: list[str] | None,
        returns: Returns,
        mode: Mode,
        name: str,
        caller: str,
        wants_profile: Any,
        started: float,
    ) -> None:
        self.specs = list(specs)
        self.inputs = self.specs
        self.request = request
        self.keys = keys
        self.returns = returns
        self.mode = mode
        self.name = name
        self.caller = caller
        self.wants_profile = bool(wants_profile) or isinstance(wants_profile, ProfileStats)
        self.profile: ProfileStats | None = None
        if isinstance(wants_profile, ProfileStats):
            self.profile = wants_profile
        elif wants_profile:
            self.profile = ProfileStats(name)
        self.input_updates = [k for k, s in enumerate(self.specs) if s.update is not None]
        self.started = started

    @property
    def outputs(self) -> list[Out]:
        """The requested outputs."""
        lent = self.request.lent
        return [Out(v, borrow=k in lent) for k, v in enumerate(self.request.outputs)]

    @property
    def unoptimized(self) -> Graph:
        """The graph before the passes."""
        return self.build.graph

    @property
    def fgraph(self) -> Graph:
        """The optimized graph; made now if the code came from the disk."""
        return self.build.optimized

    @property
    def remarks(self) -> list[Remark]:
        """What the passes and the lowering said."""
        return self.build.remarks

    def made_again(self, request: Request, name: str, wants_profile: bool) -> CompiledFunction:
        """Another function, of ``request`` (`copy` of a function)."""
        parts = (self.keys, self.returns, self.mode, name, self.caller)
        return FunctionMaker(
            self.specs, request, *parts, wants_profile, time.perf_counter()
        ).create()

    def pickled(self, defaults: list[Any]) -> tuple[Any, ...]:
        """What makes this maker's function again in another process, for ``__reduce__``."""
        recipe = (
            self.specs,
            self.request,
            self.keys,
            self.returns,
            self.mode,
            self.name,
            self.caller,
            self.wants_profile,
        )
        # the graph first: deep ones are pickled node by node
        return _remake, (self.build.graph, recipe, defaults)

    def create(self) -> CompiledFunction:
        """Compile."""
        from ltensor.runtime.build import Build

        shared = list(self.request.shared)
        self.build = build = Build(
            self.request.graph(self.name),
            self.mode,
            len(self.specs),
            len(self.request.outputs),
            [shared.index(v) for v in self.request.updated],
            # values that replace defaults are returned as well, after the outputs proper
            "list" if self.input_updates else self.returns,
            keeps_memory(self.mode),
            self.request.lent,
        )
        report = build.run_passes(snapshots=True) if hooks.wants_snapshots() else None
        watched = self.profile is not None or bool(hooks.listeners)
        linked = build.link([cell_of(v) for v in shared], use_plans=not watched)
        function = CompiledFunction(self, linked, list(map(_default, self.specs)))
        total = time.perf_counter() - self.started
        if self.profile is not None:
            self.profile.compiled(build.optimized, total, build.seconds, build.report.summary())
        if os.environ.get("LTENSOR_DEBUG", "0") not in ("", "0"):
            print(build.timing(), file=sys.stderr)
        if hooks.listeners:
            hooks.compiled(
                hooks.CompileRecord(
                    name=self.name,
                    graph=build.graph,
                    snapshots=[] if report is None else report.snapshots,
                    optimized=build.final,
                    program=linked.lowered.program,
                    llvm=linked.text,
                    module=linked.module,
                    function=function,
                )
            )
        return function


def _remake(_: Graph, recipe: tuple[Any, ...], defaults: list[Any]) -> CompiledFunction:
    """Undo `FunctionMaker.pickled`."""
    parts = (*recipe, time.perf_counter())
    maker = FunctionMaker(*parts)
    function = maker.create()
    for container, value in zip(function.defaults, defaults, strict=True):
        if container is not None:
            container.set(value)
    return function


def _default(spec: In) -> Container | None:
    value = spec.value
    if value is None or isinstance(value, Container):
        return value
    return Container(spec.variable.type, value, spec.strict, spec.allow_downcast, spec.name)
