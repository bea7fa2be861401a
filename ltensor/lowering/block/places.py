"""Where values are stored: in an output's own buffer, in a part of another one, in a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.lowering.block.copies import copy_elements
from ltensor.lowering.block.evaluation import Binding, Evaluation
from ltensor.lowering.fusion import is_scalar, kind_of
from ltensor.lowering.joined import join_window
from ltensor.lowering.placed import PlacedParts, placed_window
from ltensor.lowering.program import Value, View, root_of


@dataclass(frozen=True, eq=False)
class Destination:
    """Where an output belongs: ``place`` gives its buffer, once its sizes are known.

    Attributes
    ----------
    place : callable
        From the sizes to the buffer.
    is_apart : bool
        Whether the buffer may be written before all that the output is computed of is read.
    adopt : callable or None
        Makes the output of a dense buffer that nobody else needs, and of its block's number.
    """

    place: Callable[[Sequence[Value]], View]
    is_apart: bool = False
    adopt: Callable[[View, Any], View] | None = None


class Places(Evaluation):
    """Destinations of values, and the outputs brought to theirs; see `Block`."""

    def __init__(
        self,
        context: Any,
        function: Function,
        bound: dict[Variable, Binding],
        destinations: dict[Variable, Destination] | None = None,
    ) -> None:
        super().__init__(context, function, bound)
        self.destinations = dict(destinations or {})
        #: values with a buffer that is theirs alone
        self._own: set[Variable] = set()
        #: joins whose buffer exists already, with the operands that have been written into it
        self.joined: dict[Apply, tuple[View, set[int]]] = {}
        #: operations that put parts into zeros, and the chains that they belong to
        self.placed: dict[Apply, PlacedParts | None] = {}
        #: buffers that have become results
        self._given: set[Value] = set()

    def destination(
        self,
        variable: Variable,
        dims: Sequence[Value],
        reason: tuple[Any, ...] | None = None,
        by_element: bool = False,
    ) -> View:
        """Where to write ``variable``: the output's own buffer if it is one.

        ``reason`` is that of a temporary: see `ltensor.lowering.program.Buffer`. What is not
        written ``by_element`` gets dense memory.
        """
        provider = self.destinations.pop(variable, None)
        if provider is not None:
            return provider.place(dims)
        window = join_window(self, variable, dims, reason)
        window = window or placed_window(self, variable, dims, by_element)
        if window is not None:
            return window
        self._own.add(variable)
        return self.b.temporary(variable.type.dtype, dims, reason or ("value", variable))

    def own_inputs(self, variables: Iterable[Variable]) -> None:
        """Let the buffers of bound values be overwritten after their last use."""
        self._own.update(variables)

    def take_over(self, node: Apply, position: int) -> View | None:
        """The buffer of an operand that nobody reads after ``node``, for its result."""
        variable, output = node.inputs[position], node.outputs[0]
        view = self.bound.get(variable)
        if variable not in self._own or not isinstance(view, View) or not view.dense:
            return None
        if view.offset is not None or output in self.destinations:
            return None
        readers = [r for r in self.plan.readers.get(variable, ()) if kind_of(r) != "shape"]
        if len(readers) != 1 or variable in self.function.outputs:
            return None
        if sum(v is variable for v in node.inputs) != 1 or view.dtype != output.type.dtype:
            return None
        self._own.add(output)
        return view

    def copy(self, target: View, source: View) -> None:
        """Copy elements between buffers of equal dims."""
        copy_elements(self.b, target, source)

    # --------------------------------------------------------------------- outputs

    def finish(self) -> None:
        """Write the outputs that no nest has written in their place."""
        for variable in dict.fromkeys(self.function.outputs):
            provider = self.destinations.pop(variable, None)
            if provider is None:
                continue
            self.write(variable, provider)

    def write(self, variable: Variable, provider: Destination) -> None:
        """Copy a computed value to a place of its own."""
        if is_scalar(variable):
            value = self.scalar(variable)
            self.b.store(provider.place(()), (), value)
            return
        source = self.view(variable)
        adopt = provider.adopt
        if adopt is not None and self.b.threads and self._is_only(variable, source):
            # the block is the output's now: a new value of a shared variable must not take it, too
            self.bound[variable] = adopt(source, source.pointer.attr)
            self._given.add(source.pointer)
            # one buffer, not two
            buffers = self.b.program.buffers
            old = [k for k, buffer in enumerate(buffers) if buffer.pointer is source.pointer]
            if old:
                buffers[old[0]] = buffers.pop()
            return
        self.copy(provider.place(source.dims), source)

    def _is_only(self, variable: Variable, view: View) -> bool:
        """Whether a value has memory of the call that no other result lies in."""
        pointer = view.pointer
        if pointer.op != "ensure" or pointer.scope is not self.b.root or pointer in self._given:
            return False
        if not view.dense or view.offset is not None:
            return False
        others = (self.bound.get(v) for v in self.function.outputs if v is not variable)
        return all(not isinstance(o, View) or root_of(o.pointer) is not pointer for o in others)
