"""One function on its way from the graph to native code, stage by stage; what is kept is not made.

The native code and what a call needs of it may come from the disk (`ltensor.runtime.plans`). The
optimized graph and the kernel program, which error messages and `f.explain()` speak of, are then
made when somebody asks for them, by the passes and the lowering that made the code. These give
the same result in every process; should they not, the function is compiled anew before anything
is said about it (`Build.is_faithful`).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ltensor.config import change_flags, flag_values
from ltensor.ir.function import Function
from ltensor.lowering.cpu import jit
from ltensor.runtime import plans
from ltensor.runtime.cell import Cell
from ltensor.runtime.entry import Returns
from ltensor.runtime.link import Linked, load, lower_text

if TYPE_CHECKING:
    from ltensor.lowering.whole import Lowered
    from ltensor.passes.manager import Report
    from ltensor.passes.remarks import Remark

__all__ = ["Build"]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Leave Python's cyclic garbage alone for the time of a ``with`` block.

    Stages make many objects that live on, for which the collector would look through all objects
    of the process several times: a tenth of a compile.
    """
    active = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if active:
            gc.enable()


class Build:
    """The stages of one function.

    Parameters
    ----------
    graph : Function
        As built: arguments then shared variables; results, new values of shared variables, then
        values that are returned as well.
    mode : object
        As `ltensor.passes.pipeline.optimize` takes it.
    n_arguments, n_results : int
        How many inputs are arguments; how many outputs precede the new values.
    updated : sequence of int
        For every new value the number of the shared variable that takes it.
    returns : {'value', 'list', 'none'}
    keeps_memory : bool
        Whether the function keeps the memory of its buffers between calls.
    lent : sequence of int
        Results that may be values of shared variables themselves, not copies.

    Attributes
    ----------
    seconds : dict
        How long each stage took that was gone through.
    """

    def __init__(
        self,
        graph: Function,
        mode: Any,
        n_arguments: int,
        n_results: int,
        updated: Sequence[int],
        returns: Returns,
        keeps_memory: bool = False,
        lent: Sequence[int] = (),
    ) -> None:
        self.graph = graph
        self.mode = mode
        self.n_arguments = n_arguments
        self.n_results = n_results
        self.updated = list(updated)
        self.returns = returns
        self.keeps_memory = keeps_memory
        self.lent = tuple(lent)
        self.seconds: dict[str, float] = {}
        self.remarks_made: list[Remark] = []
        self.flags = flag_values()
        self._plan: plans.Plan | None = None

    # ------------------------------------------------------------- stages

    @cached_property
    def report(self) -> Report:
        """What the passes did."""
        return self.run_passes()

    def run_passes(self, snapshots: bool = False) -> Report:
        """Run the passes; ``snapshots``: keep the Function after each of them."""
        from ltensor.passes.pipeline import report
        from ltensor.passes.remarks import recording

        began = time.perf_counter()
        with self._flags_of_then(), recording() as remarks:
            result = report(self.graph, self.mode, snapshots)
        self.remarks_made += remarks
        self.seconds["passes"] = time.perf_counter() - began
        self.__dict__["report"] = result
        return result

    @property
    def optimized(self) -> Function:
        """The graph after all passes."""
        return self.report.function

    @cached_property
    def final(self) -> Function:
        """The optimized graph with what is returned before the new values."""
        outputs = list(self.optimized.outputs)
        first, last = self.n_results, self.n_results + len(self.updated)
        ordered = [*outputs[:first], *outputs[last:], *outputs[first:last]]
        return Function(self.optimized.inputs, ordered, self.graph.name)

    @cached_property
    def lowered(self) -> tuple[Lowered, str]:
        """The kernel program and the text of the module."""
        from ltensor.lowering.whole import Signature
        from ltensor.passes.remarks import recording

        final = self.final
        signature = Signature(
            self.n_arguments,
            len(final.outputs) - len(self.updated),
            self.updated,
            self.keeps_memory,
            self.lent,
        )
        began = time.perf_counter()
        with self._flags_of_then(), recording() as remarks:
            made = lower_text(final, signature, self.returns)
        self.remarks_made += remarks
        self.seconds["lowering"] = time.perf_counter() - began
        return made

    @property
    def remarks(self) -> list[Remark]:
        """What passes and lowering said."""
        assert self.lowered
        return self.remarks_made

    def _flags_of_then(self) -> change_flags:
        """The flags as they were when the function was asked for.

        But no test values: what stages build is not the user's and has none.
        """
        now, then = flag_values(), {**self.flags, "compute_test_value": "off"}
        return change_flags({k: v for k, v in then.items() if now.get(k, v) != v})

    def timing(self) -> str:
        """The seconds of the stages gone through, and of each pass, as a table."""
        lines = [f"{self.graph.name}: " + ", ".join(
            f"{name} {1e3 * seconds:.2f} ms" for name, seconds in self.seconds.items()
        )]  # fmt: skip
        if "passes" in self.seconds:
            lines.append(self.report.summary())
        return "\n  ".join("\n".join(lines).splitlines())

    # ------------------------------------------------------------- code

    def link(self, shared: Sequence[Cell], use_plans: bool = True) -> Linked:
        """The code in memory, from the disk if it is there.

        Parameters
        ----------
        shared : sequence of Cell
            The cells of the shared variables.
        use_plans : bool
            Whether code on the disk will do without going through the stages.
        """
        with _no_collection():
            return self._link(shared, use_plans)

    def _link(self, shared: Sequence[Cell], use_plans: bool) -> Linked:
        began = time.perf_counter()
        key = plans.key(self) if use_plans else None
        linked = None
        if key is not None:
            self._plan = plans.find(key)
        if self._plan is not None:
            linked = plans.load(self._plan, shared, lambda: self.lowered)
            self.seconds["plan"] = time.perf_counter() - began
            return linked
        lowered, text = self.lowered
        began = time.perf_counter()
        code = jit.object_code(text)
        self.seconds["code"] = time.perf_counter() - began
        linked = load(code, lowered.table, lowered.program.calls, shared, lambda: self.lowered)
        self.seconds["linking"] = time.perf_counter() - began - self.seconds["code"]
        if key is not None:
            plans.keep(key, lowered, text)
        return linked

    @property
    def is_faithful(self) -> bool:
        """Whether the program at hand is the one that the code was made of."""
        return self._plan is None or self._plan.is_of(self.lowered[1])

    def link_anew(self, shared: Sequence[Cell]) -> Linked:
        """The code of the program at hand, whatever is on the disk."""
        self._plan = None
        return self.link(shared, use_plans=False)
