"""MRG31k3p draws, and the multinomial and choice that are made of uniform draws.

The generator's state is an ordinary int32 matrix, one row of six words per stream; element i of a
draw comes from row ``i % nstreams``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import NullType, TensorType, disconnected_type
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.uniform_draw import UniformDraw, as_sizes, checked_dims

M1 = 2147483647
M2 = 2147462579
SUFFIX = {"float16": "f16", "float32": "f32", "float64": "f64"}


class MRGUniform(UniformDraw):
    """Uniform draws in (0, 1): from (states, sizes...) the advanced states and the sample."""

    ir_name = "mrg_uniform"
    called = "an MRG draw"
    dense_operands = True

    def __init__(self, dtype: str, ndim: int) -> None:
        if dtype not in SUFFIX:
            raise TypeError(f"MRG draws float16, float32 and float64, not {dtype}")
        super().__init__(dtype, ndim)

    def __str__(self) -> str:
        kind = TensorType(self.dtype, (False,) * self.ndim)
        return f"mrg_uniform{{{kind},no_inplace}}"

    def make_node(self, rstate: Any, *sizes: Any) -> Apply:
        rstate = as_tensor(rstate)
        if rstate.type.dtype != "int32" or rstate.type.ndim != 2:
            raise TypeError(f"the state of an MRG draw is an int32 matrix, not {rstate.type}")
        return self.draw(rstate, sizes)

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        states = np.array(inputs[0], "int64")
        shape = tuple(int(s) for s in inputs[1:])
        count, streams = int(np.prod(shape)), len(states)
        raw = np.empty(count, "int64")
        for start in range(0, count, max(streams, 1)):
            rows = states[: min(streams, count - start)]
            raw[start : start + len(rows)] = _step(rows)
        output_storage[0][0] = states.astype("int32")
        output_storage[1][0] = _scaled(raw, self.dtype).reshape(shape)

    def lower(self, k: Any) -> None:
        b = k.b
        old = k.operand(0)
        rows, words = old.dims
        k.check(b.eq(words, 6), "random_state", (rows, words))
        dims = checked_dims(k)
        count = b.size(dims)
        k.check(b.or_(b.gt(rows, 0), b.eq(count, 0)), "random_state", (rows, words))
        new = k.output(0, (rows, words))
        b.memcpy(b.shifted(new, 0), b.shifted(old, 0), b.mul(rows, 24))
        direct = bool(dims)
        target = k.output(1, dims) if direct else b.temporary(self.dtype, (b.const(1),))
        drawn = target if target.dense else b.temporary(self.dtype, dims)
        symbol = f"lt_rng_mrg_uniform_{SUFFIX[self.dtype]}"
        status = b.call(symbol, [b.shifted(new, 0), rows, b.shifted(drawn, 0), count], "int32")
        k.check(b.eq(status, 0), "random_state", (rows, words))
        if not direct:
            k.result(b.load(target, (0,)), 1)
        elif drawn is not target:
            k.block.copy(target, drawn)


def _step(rows: np.ndarray) -> np.ndarray:
    """Advance the streams in ``rows`` by one; the new samples, in 1..M1."""
    y1 = (4194304 * rows[:, 1] + 129 * rows[:, 2]) % M1
    y2 = (32768 * rows[:, 3] + 32769 * rows[:, 5]) % M2
    rows[:, 1:3] = rows[:, 0:2].copy()
    rows[:, 4:6] = rows[:, 3:5].copy()
    rows[:, 0], rows[:, 3] = y1, y2
    return np.where(y1 <= y2, y1 - y2 + M1, y1 - y2)


def _scaled(raw: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "float64":
        return raw * 4.656612873077392578125e-10
    if dtype == "float32":
        return raw.astype("float32") * np.float32(4.6566126e-10)
    units = ((raw & 0x7FFF) + 1).astype("float64")
    return (units * np.float64(np.float16(3.0458e-05))).astype("float16")


def mrg_uniform(rstate: Any, sizes: Sequence[Any], dtype: str) -> list[Variable]:
    """The states after a draw, and the draw."""
    given = as_sizes(sizes)
    return MRGUniform(dtype, len(given))(rstate, *given)


# ------------------------------------------------------------------------- of uniform draws


class FromUniform(DeclaredOp):
    """What the multinomial and the choice of uniform draws have in common."""

    __props__ = ("dtype",)
    kind = "kernel"
    dense_operands = True

    def __init__(self, dtype: str = "int64") -> None:
        self.dtype = dtype

    def make_node(self, pvals: Any, unis: Any, n: Any = 1) -> Apply:
        pvals, unis, n = as_tensor(pvals), as_tensor(unis), as_tensor(n)
        if pvals.type.ndim != 2:
            raise NotImplementedError("pvals ndim should be 2", pvals.type.ndim)
        if unis.type.ndim != 1:
            raise NotImplementedError("unis ndim should be 1", unis.type.ndim)
        if not (dt.is_float(pvals.type.dtype) and dt.is_float(unis.type.dtype)):
            raise TypeError(f"{self}: pvals and unis must be floats", pvals.type, unis.type)
        if n.type.ndim or not dt.is_integer(n.type.dtype):
            raise TypeError(f"{self}: n must be an integer scalar", n)
        shape = self.output_sizes(pvals, constant_value(n))
        return Apply(self, [pvals, unis, n], [new_tensor(self.dtype, shape)])

    def output_sizes(self, pvals: Variable, n: Any) -> tuple[int | None, int | None]:
        """The static shape of the result."""
        raise NotImplementedError

    def start(self, k: Any) -> tuple[Any, Any, Any, Any, Any]:
        """The operands, with the number of uniforms checked."""
        b = k.b
        pvals, unis = k.operand(0), k.operand(1)
        n = b.cast(k.operand(2), "int64")
        rows = pvals.dims[0]
        k.check(b.ge(n, 0), "negative_size", (n,))
        enough = b.eq(b.mul(rows, n), unis.dims[0])
        k.check(enough, "random_uniforms", (rows, n, unis.dims[0]))
        return pvals, unis, n, rows, pvals.dims[1]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True], [True], [False]]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None]


class MultinomialFromUniform(FromUniform):
    """Counts of the categories that ``n`` uniform draws per row fall into."""

    ir_name = "multinomial_uniform"

    def output_sizes(self, pvals: Variable, n: Any) -> tuple[int | None, int | None]:
        return pvals.type.shape[0], pvals.type.shape[1]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        pvals, unis, n = inputs
        rows = len(pvals)
        if len(unis) != rows * int(n):
            raise ValueError("unis.shape[0] != pvals.shape[0] * n", len(unis), rows, int(n))
        out = np.zeros(pvals.shape, self.dtype)
        sums = np.cumsum(pvals, axis=1, dtype=pvals.dtype)
        for number, u in enumerate(unis):
            row = number % rows
            found = np.flatnonzero(sums[row] > u)
            if found.size:
                out[row, found[0]] += 1
        output_storage[0][0] = out

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]

    def lower(self, k: Any) -> None:
        b = k.b
        pvals, unis, n, rows, categories = self.start(k)
        target = k.output(0)
        zero = b.const(0, self.dtype)
        common = dt.upcast(pvals.dtype, unis.dtype)
        with b.loop(rows) as row:
            with b.loop(categories, kind="vector") as clear:
                b.store(target, (row.index, clear.index), zero)
            with b.loop(n) as sample:
                place = b.add(b.mul(sample.index, rows), row.index)
                u = b.cast(b.load(unis, (place,)), common)
                with b.loop(categories, carries=[b.const(0, pvals.dtype)]) as category:
                    at = (row.index, category.index)
                    total = b.add(category.carry[0], b.load(pvals, at))
                    hit = b.gt(b.cast(total, common), u)
                    count = b.load(target, at)
                    b.store(target, at, b.add(count, b.cast(hit, self.dtype)))
                    category.next(total)
                    category.stop = hit

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: Any) -> list[Any]:
        zeros = [zero_gradient(v) for v in inputs[:2]]
        return [*zeros, disconnected_type.make_variable()]


class ChoiceFromUniform(FromUniform):
    """``n`` different categories per row, by uniform draws: no category comes twice."""

    ir_name = "choice_uniform"

    def output_sizes(self, pvals: Variable, n: Any) -> tuple[int | None, int | None]:
        return pvals.type.shape[0], None if n is None else int(n)

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        pvals, unis, n = np.array(inputs[0]), inputs[1], int(inputs[2])
        rows, categories = pvals.shape
        if n > categories:
            raise ValueError(f"cannot choose {n} of {categories} categories")
        if len(unis) != rows * n:
            raise ValueError("unis.shape[0] != pvals.shape[0] * n", len(unis), rows, n)
        out = np.full((rows, n), -1, self.dtype)
        for sample in range(n):
            for row in range(rows):
                total = pvals.dtype.type(0)
                for category in range(categories):
                    total = total + pvals[row, category]
                    if total > unis[sample * rows + row]:
                        out[row, sample] = category
                        pvals[row, category] = 0
                        rest = pvals.dtype.type(0)
                        for p in pvals[row]:
                            rest = rest + p
                        with np.errstate(all="ignore"):
                            pvals[row] /= rest
                        break
        output_storage[0][0] = out

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        from ltensor.ops.cast import cast

        return [(shapes[0][0], cast(node.inputs[2], "int64"))]

    def lower(self, k: Any) -> None:
        b = k.b
        source, unis, n, rows, categories = self.start(k)
        k.check(b.le(n, categories), "random_too_many", (n, categories))
        target = k.output(0, (rows, n))
        common = dt.upcast(source.dtype, unis.dtype)
        left = b.temporary(source.dtype, (categories,))
        zero = b.const(0, source.dtype)
        chosen = b.local("int64")
        with b.loop(rows) as row:
            with b.loop(categories, kind="vector") as fill:
                b.store(left, (fill.index,), b.load(source, (row.index, fill.index)))
            with b.loop(n) as sample:
                place = b.add(b.mul(sample.index, rows), row.index)
                u = b.cast(b.load(unis, (place,)), common)
                b.store(chosen, (), b.const(-1))
                with b.loop(categories, carries=[zero]) as category:
                    total = b.add(category.carry[0], b.load(left, (category.index,)))
                    hit = b.gt(b.cast(total, common), u)
                    b.store(chosen, (), b.select(hit, category.index, b.const(-1)))
                    category.next(total)
                    category.stop = hit
                found = b.load(chosen, ())
                b.store(target, (row.index, sample.index), b.cast(found, self.dtype))
                with b.if_(b.ge(found, 0)):
                    b.store(left, (found,), zero)
                    with b.loop(categories, carries=[zero]) as category:
                        rest = b.load(left, (category.index,))
                        category.next(b.add(category.carry[0], rest))
                    with b.loop(categories, kind="vector") as scale:
                        part = b.div(b.load(left, (scale.index,)), category.results[0])
                        b.store(left, (scale.index,), part)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: Any) -> list[Any]:
        text = (
            f"This variable is Null because the grad method for input 0 ({inputs[0]}) of the "
            f"{self} op is mathematically undefined. A choice has no gradient"
        )
        nulls = [NullType(text).make_variable() for _ in inputs[:2]]
        return [*nulls, disconnected_type.make_variable()]


# ------------------------------------------------------------------------- registry


def _states(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(1, M2, (count, 6)).astype("int32")


def _uniform_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for streams, sizes in (
        (1, (3,)),
        (4, (3, 5)),
        (13, (40,)),
        (20, (2, 1, 4)),
        (3, (0, 2)),
        (5, ()),
    ):
        yield Sample(
            lambda s, sizes=sizes, dtype=dtype: mrg_uniform(s, sizes, dtype),
            [_states(rng, streams)],
            f"{streams}:{sizes}",
            differentiable=False,
            ulp=0,
        )


def _rows(rng: np.random.Generator, dtype: str, rows: int, categories: int) -> np.ndarray:
    raw = rng.uniform(0.05, 1, (rows, categories))
    return (raw / raw.sum(axis=1, keepdims=True)).astype(dtype)


def _multinomial_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for rows, categories, n in ((4, 3, 1), (2, 7, 5), (0, 3, 2), (1, 1, 1), (3, 4, 0)):
        arrays = [_rows(rng, dtype, rows, categories), rng.uniform(0, 1, rows * n).astype(dtype)]
        yield Sample(
            lambda p, u, n=n: MultinomialFromUniform()(p, u, n),
            arrays,
            f"{rows}x{categories}:{n}",
            differentiable=False,
        )


def _choice_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for rows, categories, n in ((4, 3, 1), (2, 7, 5), (0, 3, 2), (3, 4, 4)):
        arrays = [_rows(rng, dtype, rows, categories), rng.uniform(0, 1, rows * n).astype(dtype)]
        yield Sample(
            lambda p, u, n=n: ChoiceFromUniform()(p, u, n),
            arrays,
            f"{rows}x{categories}:{n}",
            differentiable=False,
        )


_FLOATS = ("float16", "float32", "float64")
declare(
    Declaration(
        "mrg_uniform", "Uniform MRG31k3p draws.", MRGUniform, _uniform_samples, 0, _FLOATS, False
    )
)
declare(
    Declaration(
        "multinomial_uniform",
        "Categories that uniform draws fall into.",
        MultinomialFromUniform,
        _multinomial_samples,
        0,
        ("float32", "float64"),
        False,
    )
)
declare(
    Declaration(
        "choice_uniform",
        "Different categories by uniform draws.",
        ChoiceFromUniform,
        _choice_samples,
        0,
        ("float32", "float64"),
        False,
    )
)
