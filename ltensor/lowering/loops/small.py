"""Loops over small arrays of known sizes: states in registers, the step written out.

A loop qualifies if every array of its body has a few elements and sizes that are known when
compiling. Sizes that are not known but must equal known ones, else a product or a sum of the step
fails, are assumed: the written-out loop runs if they are as assumed, else the general one, which
then tells what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.lowering.builder import Builder
from ltensor.lowering.fusion import kind_of
from ltensor.lowering.loops.elements import Body, NotSmall, folded, indices
from ltensor.lowering.program import Loop, Value, View, walk
from ltensor.ops.add_product import AddProduct
from ltensor.ops.linalg import Dot
from ltensor.ops.shape_map import ShapeMap
from ltensor.passes.remarks import remark

if TYPE_CHECKING:
    from ltensor.lowering.loops.scan import ScanLowering
    from ltensor.lowering.loops.states import State

#: bodies of more instructions are not written out, nor loops that carry more scalars
MOST_INSTRUCTIONS = 3000
MOST_CARRIED = 72


class Small:
    """A loop whose body can be written out.

    Attributes
    ----------
    sizes : dict
        Sizes of the body's inputs.
    condition : Value or None
        Whether sizes are as assumed; None if all are known.
    """

    def __init__(self, sizes: dict[Variable, tuple[int, ...]], condition: Value | None) -> None:
        self.sizes = sizes
        self.condition = condition


def find(lowering: ScanLowering) -> Small | None:
    """The analysis of a loop; None if it keeps its arrays in memory."""
    try:
        found = _Finder(lowering).find()
    except NotSmall as reason:
        remark("small_arrays", lowering.node, "arrays stay in memory: {}", str(reason))
        return None
    if found is not None:
        text = "small arrays stay in registers, the step is written out"
        if found.condition is not None:
            text += ", if the operands' sizes are those of the states"
        remark("small_arrays", lowering.node, text)
    return found


class _Finder:
    def __init__(self, lowering: ScanLowering) -> None:
        self.lowering = lowering
        self.b = lowering.b
        self.op: Any = lowering.op
        self.shapes = ShapeMap.of(self.op.body)
        #: union of sizes that must be equal: Values of sizes outside, ints, and ids of expressions
        self.parent: dict[Any, Any] = {}
        self.expressions: dict[Any, Variable] = {}
        self.outer = self._outer_dims()
        #: where expressions of constants are folded
        self.scratch = Builder("sizes")

    def find(self) -> Small | None:
        op = self.op
        arrays = [v for v in op.body.inputs if isinstance(v.type, TensorType) and v.type.ndim > 0]
        if not any(isinstance(d, int) for v in arrays for d in self.outer.get(v, ())):
            if not any(not isinstance(d, int) for v in arrays for d in self.outer.get(v, ())):
                return None
            raise NotSmall("no size is known")
        if sum(s.depth * max(1, _product(s.dims)) for s in self.lowering.states) > MOST_CARRIED:
            raise NotSmall(f"its states have more than {MOST_CARRIED} elements")
        if not all(isinstance(out, View) for out in self.lowering.outs):
            raise NotSmall("the size of a result is only known in the loop")
        self._tie()
        sizes: dict[Variable, tuple[int, ...]] = {}
        assumed: dict[Value, int] = {}
        for variable in arrays:
            dims = self.outer.get(variable, (None,))
            numbers = [self._root(d) for d in dims]
            if all(isinstance(n, int) for n in numbers):
                sizes[variable] = tuple(numbers)
        self._try(sizes)
        for variable, numbers_ in sizes.items():
            for dim, number in zip(self.outer[variable], numbers_, strict=True):
                if not isinstance(dim, int):
                    assumed[dim] = number
        condition: Any = None
        for dim, number in assumed.items():
            equal = self.b.eq(dim, number)
            condition = equal if condition is None else self.b.and_(condition, equal)
        return Small(sizes, condition)

    # ------------------------------------------------------------- sizes

    def _outer_dims(self) -> dict[Variable, tuple[Any, ...]]:
        """Sizes of the body's inputs as the loop's surroundings know them: ints or Values."""
        op, lowering = self.op, self.lowering
        found: dict[Variable, tuple[Any, ...]] = {}
        for variable, view in zip(op.inner_seqs(), lowering.seq_views, strict=True):
            found[variable] = view.dims[1:]
        slots = [*op.inner_taps(), *([v] for v in op.inner_carries())]
        for state, variables in zip(lowering.states, slots, strict=True):
            for variable in variables:
                found[variable] = state.dims
        for variable, value in zip(op.inner_refs(), lowering.ref_values, strict=True):
            if isinstance(value, View):
                found[variable] = value.dims
        return {v: tuple(map(_known, dims)) for v, dims in found.items()}

    def _root(self, key: Any) -> Any:
        while key in self.parent:
            key = self.parent[key]
        return key

    def _equal(self, a: Any, b: Any) -> None:
        a, b = self._root(a), self._root(b)
        if a == b:
            return
        if isinstance(a, int) and isinstance(b, int):
            raise NotSmall("sizes differ")
        if isinstance(a, int):
            a, b = b, a
        self.parent[a] = b

    def _term(self, size: Variable) -> Any:
        """What a size of the body is called in the union."""
        if isinstance(size, Constant):
            return int(size.data)
        owner = size.owner
        if owner is not None and kind_of(owner) == "shape":
            dims = self.outer.get(owner.inputs[0])
            if dims is not None:
                return dims[owner.op.axis]
        key = ("expression", id(size))
        self.expressions[key] = size
        return key

    def _evaluate(self, size: Variable, numbers: dict[Variable, int | None]) -> int | None:
        """The number that an expression of sizes has, if what it is made of is known.

        ``numbers`` holds what was found for parts of expressions: they share most of them.
        """
        stack = [size]
        while stack:
            part = stack[-1]
            owner = part.owner
            if part in numbers:
                stack.pop()
                continue
            root = self._root(self._term(part))
            if isinstance(root, int) or owner is None or kind_of(owner) != "pointwise":
                numbers[part] = root if isinstance(root, int) else None
                continue
            waiting = [v for v in owner.inputs if v not in numbers]
            stack += waiting
            if not waiting:
                numbers[part] = self._computed(owner, [numbers[v] for v in owner.inputs])
        return numbers[size]

    def _computed(self, node: Apply, numbers: Sequence[int | None]) -> int | None:
        b = self.scratch
        args = []
        for number, dtype in zip(numbers, node.op.operand_dtypes(node), strict=True):
            if number is None:
                return None
            args.append(b.const(number, dtype))
        result = folded(b, node, args)
        return int(result.attr) if result.op == "const" else None

    def _terms(self, variable: Variable) -> list[Any]:
        return [self._term(d) for d in self.shapes.shape(variable) or ()]

    def _tie(self) -> None:
        """Note which sizes must be equal, else the step fails."""
        op = self.op
        for variable, dims in self.outer.items():
            for a, b in zip(self._terms(variable), dims, strict=True):
                self._equal(a, b)
        for node in op.body.nodes:
            if kind_of(node) == "pointwise":
                for axis in range(node.outputs[0].type.ndim):
                    met = [
                        self._terms(v)[axis] for v in node.inputs if not v.type.broadcastable[axis]
                    ]
                    for other in met[1:]:
                        self._equal(met[0], other)
            elif isinstance(node.op, Dot):
                x, y = node.inputs
                self._equal(self._terms(x)[-1], self._terms(y)[0])
            elif isinstance(node.op, AddProduct):
                g, x, y = map(self._terms, node.inputs)
                for a, b in ((x[0], y[0]), (g[0], x[1]), (g[1], y[1])):
                    self._equal(a, b)
        news = [*op.inner_rows(), *op.inner_news()]
        for state, variable in zip(self.lowering.states, news, strict=True):
            for a, b in zip(self._terms(variable), state.dims, strict=True):
                self._equal(a, _known(b))
        changed = True
        while changed:
            changed = False
            numbers: dict[Variable, int | None] = {}
            for key, size in list(self.expressions.items()):
                known = isinstance(self._root(key), int)
                number = None if known else self._evaluate(size, numbers)
                if number is not None:
                    self._equal(key, number)
                    changed = True

    # ------------------------------------------------------------- trial

    def _try(self, sizes: dict[Variable, tuple[int, ...]]) -> None:
        """Write the body into a program of its own, to see whether that works and how long it is.

        Raises
        ------
        NotSmall
            If not.
        """
        b = Builder("trial")
        words = 0

        def read(variable: Variable, dims: tuple[int, ...]) -> list[Any]:
            nonlocal words
            values = []
            for _ in indices(dims):
                words += 1
                values.append(b.frame(words, variable.type.dtype))
            return values

        with b.loop(b.frame(0)) as loop:
            body = Body(b, self.op.body, sizes, read)
            body.run()
        written = [v for v in walk(b.root) if isinstance(v, Value) and v.op != "frame"]
        if len(written) > MOST_INSTRUCTIONS:
            raise NotSmall(f"its step has more than {MOST_INSTRUCTIONS} instructions")
        if any(v.op in ("check", "load", "call", "ensure") for v in written):
            raise NotSmall("its step has checks")
        assert loop.stop is None
        for state, variable in zip(
            self.lowering.states, [*self.op.inner_rows(), *self.op.inner_news()], strict=True
        ):
            if body.known[variable].dims != tuple(map(self._root, map(_known, state.dims))):
                raise NotSmall("a state changes its size")


def _known(size: Value) -> Any:
    return int(size.attr) if size.op == "const" else size


def _product(dims: Any) -> int:
    total = 1
    for dim in map(_known, dims):
        total *= dim if isinstance(dim, int) else 1
    return total


class SmallLoop:
    """Emits the loop. Results go where `ScanLowering` placed them."""

    def __init__(self, lowering: ScanLowering, small: Small) -> None:
        self.lowering = lowering
        self.small = small
        self.b = lowering.b
        self.op: Any = lowering.op

    def run(self) -> Loop:
        """Emit it; the last rows are in places of their own then."""
        b, states = self.b, self.lowering.states
        self.invariant: dict[Variable, list[Any]] = {}
        for variable, value in zip(self.op.inner_refs(), self.lowering.ref_values, strict=True):
            self._read_invariant(variable, value)
        inits = [self._inits(state) for state in states]
        carried = [v for rows in inits for row in rows for v in row]
        with b.loop(self.lowering.steps, carries=carried, label=str(self.op)) as loop:
            values = iter(loop.carry)
            current = [[[next(values) for _ in row] for row in rows] for rows in inits]
            self._step(current, loop)
        self._finals(inits, loop)
        return loop

    def _dims(self, variable: Variable) -> tuple[int, ...]:
        return self.small.sizes.get(variable, ())

    def _read_invariant(self, variable: Variable, value: Any) -> None:
        if not isinstance(value, View):
            self.invariant[variable] = [value]
        elif not value.dims or variable in self.small.sizes:
            dims = self._dims(variable)
            view = self._sized(value, dims)
            self.invariant[variable] = [self.b.load(view, index) for index in indices(dims)]

    def _sized(self, view: View, dims: tuple[int, ...]) -> View:
        """``view`` of sizes that are known."""
        b = self.b
        sizes = tuple(b.const(n) for n in dims)
        return View(view.dtype, view.pointer, sizes, view.strides, view.offset)

    def _inits(self, state: State) -> list[list[Any]]:
        """Elements of the initial rows, newest first."""
        if state.kind == "scalar":
            return [[v] for v in state.inits]
        dims = self._state_dims(state)
        rows = [self._sized(row, dims) for row in state.rows]
        return [[self.b.load(row, index) for index in indices(dims)] for row in rows]

    def _state_dims(self, state: State) -> tuple[int, ...]:
        number = self.lowering.states.index(state)
        slots = [*self.op.inner_taps(), *([v] for v in self.op.inner_carries())]
        return self._dims(slots[number][0])

    def _step(self, current: list[list[list[Any]]], loop: Loop) -> None:
        b, op, lowering = self.b, self.op, self.lowering
        lowering.growing.step(loop.index)
        inputs = dict(self.invariant)
        slots = [*op.inner_taps(), *([v] for v in op.inner_carries())]
        for state, rows, variables in zip(lowering.states, current, slots, strict=True):
            for lag, variable in zip(state.lags, variables, strict=True):
                inputs[variable] = rows[lag - 1]
        sequences = dict(zip(op.inner_seqs(), lowering.seq_views, strict=True))

        def read(variable: Variable, dims: tuple[int, ...]) -> list[Any]:
            if variable not in sequences:
                return inputs[variable]
            row = self._sized(b.row(self._rows_of(sequences[variable], dims), loop.index), dims)
            return [b.load(row, index) for index in indices(dims)]

        body = Body(b, op.body, self.small.sizes, read)
        body.run()
        results = [body.known[v] for v in (*op.inner_rows(), *op.inner_news(), *op.inner_outs())]
        news: list[Any] = []
        for state, rows, new in zip(lowering.states, current, results, strict=False):
            if state.trace is not None:
                self._store(state.trace, new.dims, new.values, loop.index)
            for row in [new.values, *rows[:-1]]:
                news += row
        for number, trace in enumerate(lowering.outs):
            assert isinstance(trace, View)
            new = results[len(lowering.states) + number]
            last_only = op.keep[op.n_taps + number] is not None
            self._store(trace, new.dims, new.values, b.const(0) if last_only else loop.index)
        stop = op.inner_stop()
        loop.next(*news)
        if stop is not None:
            loop.stop = b.cast(body.known[stop].at(()), "bool")

    def _rows_of(self, view: View, dims: tuple[int, ...]) -> View:
        """``view`` whose rows are of sizes that are known."""
        sizes = (view.dims[0], *(self.b.const(n) for n in dims))
        return View(view.dtype, view.pointer, sizes, view.strides, view.offset)

    def _store(self, trace: View, dims: tuple[int, ...], values: list[Any], step: Value) -> None:
        row = self.b.row(self._rows_of(trace, dims), step)
        for index, value in zip(indices(dims), values, strict=True):
            self.b.store(row, index, value)

    def _finals(self, inits: list[list[list[Any]]], loop: Loop) -> None:
        """The last rows, to where the loop's surroundings find them."""
        results = iter(loop.results)
        for state, rows in zip(self.lowering.states, inits, strict=True):
            final = [[next(results) for _ in row] for row in rows]
            if state.last is None:
                continue
            keep = state.last.dims[0].attr
            for k in range(keep):
                self._store(
                    state.last, self._state_dims(state), final[k], self.b.const(keep - 1 - k)
                )
