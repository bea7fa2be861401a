"""The Cholesky factor of a positive definite matrix; native code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.ir.graph import Apply, Variable
from ltensor.ops.arithmetic import add, mul, sub
from ltensor.ops.cast import cast
from ltensor.ops.linalg import dot
from ltensor.ops.matrix import Solve, as_matrix, half, identity_like, square_size, transpose
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.shape import dimshuffle


class Cholesky(DeclaredOp):
    """The triangular factor of a positive definite matrix, of which one half is read.

    Parameters
    ----------
    lower : bool
        Whether ``L`` with ``L L.T = x`` is wanted, or ``U`` with ``U.T U = x``.
    on_error : {'raise', 'nan'}
        What a matrix that is not positive definite gives.
    """

    __props__ = ("lower_", "on_error")
    kind = "kernel"
    ir_name = "cholesky"

    def __init__(
        self, lower: bool = True, destructive: bool = False, on_error: str = "raise"
    ) -> None:
        if on_error not in ("raise", "nan"):
            raise ValueError("on_error must be one of 'raise' or 'nan'")
        self.lower_ = bool(lower)
        self.on_error = on_error

    def __str__(self) -> str:
        return f"Cholesky{{lower={self.lower_}}}"

    def attributes(self) -> dict[str, Any]:
        return {"lower": self.lower_, "on_error": self.on_error}

    def make_node(self, x: Any) -> Apply:
        x = as_matrix("cholesky", x)
        return Apply(self, [x], [new_tensor(x.type.dtype, x.type.shape)])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x = inputs[0]
        try:
            factor = np.linalg.cholesky(x if self.lower_ else x.T)
        except np.linalg.LinAlgError:
            if self.on_error == "raise":
                raise
            factor = np.full_like(x, np.nan)
        output_storage[0][0] = factor if self.lower_ else factor.T

    def may_fail(self, node: Apply, known: Any = None) -> bool:
        return True

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]

    def lower(self, k: Any) -> None:
        b = k.b
        x = k.operand(0)
        n = square_size(k, x.dims)
        out = k.output(0)
        zero = b.const(0, x.dtype)
        failed = b.local("int64")
        b.store(failed, (), b.const(0))
        # the upper factor is worked on by rows of its transpose
        factor = out if self.lower_ else b.temporary(x.dtype, (n, n))

        def source(i: Any, j: Any) -> Any:
            return b.load(x, [i, j] if self.lower_ else [j, i])

        with b.loop(n, label=str(self)) as rows:
            i = rows.index
            with b.loop(i) as columns:
                j = columns.index
                product = _row_product(b, factor, i, j, j)
                entry = b.div(b.sub(source(i, j), product), b.load(factor, [j, j]))
                b.store(factor, [i, j], entry)
            square = b.sub(source(i, i), _row_product(b, factor, i, i, i))
            positive = b.gt(square, zero)
            if self.on_error == "raise":
                k.check(positive, "not_definite")
            else:
                bad = b.select(positive, b.load(failed, ()), b.const(1))
                b.store(failed, (), bad)
            b.store(factor, [i, i], b.sqrt(square))
            with b.loop(b.sub(b.sub(n, i), 1), kind="vector") as rest:
                b.store(factor, [i, b.add(rest.index, b.add(i, 1))], zero)
        if self.on_error == "nan":
            lost = b.ne(b.load(failed, ()), 0)
            with b.loop(n) as rows, b.loop(n, kind="vector") as columns:
                place = [rows.index, columns.index]
                nan = b.const(float("nan"), x.dtype)
                b.store(factor, place, b.select(lost, nan, b.load(factor, place)))
        if factor is not out:
            turned = type(out)(x.dtype, factor.pointer, (n, n), (b.const(1), n), factor.offset)
            k.block.copy(out, turned)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        """Murray (2016), "Differentiation of the Cholesky decomposition", in matrix form."""
        from ltensor.ops.arithmetic import switch
        from ltensor.ops.compare import eq

        factor, g = outputs[0], output_grads[0]
        if not self.lower_:
            factor, g = transpose(factor), transpose(g)
        if self.on_error == "nan":
            # without a factor there is no gradient either
            bad = dimshuffle(_is_nan(factor), "x", "x")
            factor = switch(bad, identity_like(factor), factor)
        lower = half(dot(transpose(factor), g), upper=False)
        weights = switch(eq(identity_like(factor), 1), 0.5, 1.0)
        lower = mul(lower, cast(weights, lower.type.dtype))
        upper = Solve("upper_triangular")
        inner = upper(transpose(factor), lower)
        inner = transpose(upper(transpose(factor), transpose(inner)))
        both = half(add(inner, transpose(inner)), upper=False)
        gradient = sub(both, mul(identity_like(factor), inner))
        if self.on_error == "nan":
            gradient = switch(bad, float("nan"), gradient)
        return [cast(gradient if self.lower_ else transpose(gradient), g.type.dtype)]


def _row_product(b: Any, a: Any, i: Any, j: Any, count: Any) -> Any:
    """The product of the first ``count`` entries of two rows."""
    with b.reduce(count, "add", b.const(0, a.dtype)) as loop:
        loop.next(b.mul(b.load(a, [i, loop.index]), b.load(a, [j, loop.index])))
    return loop.results[0]


def _is_nan(x: Variable) -> Variable:
    from ltensor.ops.compare import isnan
    from ltensor.ops.reduce import any as any_of

    return any_of(isnan(x))


cholesky = Cholesky()


# --------------------------------------------------------------------------------- registry


def _definite(rng: np.random.Generator, dtype: str, n: int) -> np.ndarray:
    x = rng.normal(size=(n, n))
    return (x @ x.T + n * np.eye(n)).astype(dtype)


def _cholesky_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for n in (1, 3, 18, 0):
        for lower in (True, False):
            yield Sample(Cholesky(lower), [_definite(rng, dtype, n)], f"{n} {lower}", ulp=4096)
    bad = np.array([[1, 2], [2, 1]], dtype)
    yield Sample(Cholesky(on_error="nan"), [bad], "not definite", differentiable=False)


declare(
    Declaration(
        "cholesky",
        "Cholesky factor.",
        Cholesky,
        _cholesky_samples,
        4096,
        dtypes=("float32", "float64"),
    )
)
