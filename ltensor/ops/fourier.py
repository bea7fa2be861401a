"""Fourier transforms of real arrays, which NumPy computes (kind ``python``).

The first axis counts transforms, all others are transformed. Of the last axis of a spectrum that
half is kept that determines the rest, and complex numbers are pairs of reals along a new last axis,
as in ``theano.tensor.fft``. The operations do not scale, the functions do as they are told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops.alloc import arange
from ltensor.ops.arithmetic import mul, switch, true_div
from ltensor.ops.bits import and_
from ltensor.ops.cast import cast
from ltensor.ops.compare import gt, lt
from ltensor.ops.conv_loops import GraphSizes
from ltensor.ops.opdef import Declaration, DeclaredOp, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import dimshuffle, restore_flags, shape_i
from ltensor.ops.transcendental import sqrt


def _real(name: str, value: Any, least: int, axes: str) -> Variable:
    x = as_tensor(value)
    if x.type.ndim < least:
        raise TypeError(
            f"{name} takes a tensor of at least {least} dimensions ({axes}), not {x.type}"
        )
    if dt.is_complex(x.type.dtype):
        raise TypeError(f"{name} takes real numbers, not {x.type}")
    return cast(x, "float64") if dt.is_discrete(x.type.dtype) else x


def _times_counted(spectrum: Variable, size: Variable, inverse: bool) -> Variable:
    """Multiply (or divide) each frequency by how often it stands in the whole spectrum: 1 or 2."""
    place, dtype = arange(shape_i(spectrum, spectrum.type.ndim - 2)), spectrum.type.dtype
    twice = and_(gt(place, 0), lt(mul(place, 2), size))
    one = constant(1, dtype=dtype)
    count = switch(twice, constant(0.5 if inverse else 2, dtype=dtype), one)
    before = ["x"] * (spectrum.type.ndim - 2)
    return mul(spectrum, dimshuffle(count, *before, 0, "x"))


class RealFourier(DeclaredOp):
    """The half of a real array's spectrum, as pairs of reals."""

    __props__ = ()
    kind = "python"
    ir_name = "rfft"

    def __str__(self) -> str:
        return "RealFourier"

    def make_node(self, x: Any) -> Apply:
        x = _real("rfft", x, 2, "the first counts transforms")
        return Apply(self, [x], [new_tensor(x.type.dtype, (None,) * (x.type.ndim + 1))])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x = inputs[0]
        found = np.fft.rfftn(x.astype(np.float64), axes=range(1, x.ndim))
        output_storage[0][0] = np.stack([found.real, found.imag], axis=-1).astype(x.dtype)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        *first, last = shapes[0]
        kept = GraphSizes.add(GraphSizes.floor_div(last, 2), 1)
        return [(*first, kept, constant(2, dtype="int64"))]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        (x,), (g,) = inputs, output_grads
        size = shape_i(x, x.type.ndim - 1)
        back = InverseRealFourier()(_times_counted(g, size, inverse=True), size)
        return [restore_flags(back, x)]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None if eval_points[0] is None else self(eval_points[0])]


class InverseRealFourier(DeclaredOp):
    """A real array of the half of its spectrum, and of the size of its last axis."""

    __props__ = ()
    kind = "python"
    ir_name = "irfft"

    def __str__(self) -> str:
        return "InverseRealFourier"

    def make_node(self, spectrum: Any, size: Any) -> Apply:
        spectrum = _real("irfft", spectrum, 3, "counter, frequencies, real and imaginary part")
        size = cast(as_tensor(size), "int64")
        output = new_tensor(spectrum.type.dtype, (None,) * (spectrum.type.ndim - 1))
        return Apply(self, [spectrum, size], [output])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        pairs, size = inputs[0].astype(np.float64), int(inputs[1])
        sizes = (*pairs.shape[1:-2], size)
        axes = range(1, pairs.ndim - 1)
        found = np.fft.irfftn(pairs[..., 0] + 1j * pairs[..., 1], sizes, axes)
        output_storage[0][0] = (found * np.prod(sizes)).astype(inputs[0].dtype)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [(*shapes[0][:-2], node.inputs[1])]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True], [False]]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        spectrum, size = inputs
        back = _times_counted(RealFourier()(output_grads[0]), size, inverse=False)
        return [restore_flags(back, spectrum), disconnected_type.make_variable()]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None if eval_points[0] is None else self(eval_points[0], inputs[1])]


# --------------------------------------------------------------------------------- functions


def _divided(x: Variable, sizes: list[Variable], norm: Any, by_default: bool) -> Variable:
    if norm not in (None, "ortho", "no_norm"):
        raise ValueError(f"Invalid value {norm} for norm, must be None, 'ortho' or 'no_norm'")
    if norm == "no_norm" or (norm is None and not by_default):
        return x
    count = cast(mul(*sizes) if len(sizes) > 1 else sizes[0], x.type.dtype)
    return true_div(x, sqrt(count) if norm == "ortho" else count)


def rfft(inp: Any, norm: str | None = None) -> Variable:
    """The Fourier transforms of real arrays, one for each place of the first axis.

    Parameters
    ----------
    inp : tensor of sizes (m, ..., n)
    norm : {None, 'ortho', 'no_norm'}
        ``'ortho'`` divides by the root of the number of elements of one transform.

    Returns
    -------
    Variable
        Of sizes (m, ..., n // 2 + 1, 2): real and imaginary parts along the last axis.

    Raises
    ------
    TypeError
        If ``inp`` has less than two dimensions, or is complex.
    ValueError
        If ``norm`` is unknown.
    """
    found = RealFourier()(inp)
    x = found.owner.inputs[0]
    sizes = [shape_i(x, axis) for axis in range(1, x.type.ndim)]
    return _divided(found, sizes, norm, by_default=False)


def irfft(inp: Any, norm: str | None = None, is_odd: bool = False) -> Variable:
    """Real arrays of their Fourier transforms, the inverse of `rfft`.

    Parameters
    ----------
    inp : tensor of sizes (m, ..., n, 2)
    norm : {None, 'ortho', 'no_norm'}
        By default the result is divided by the number of elements of one transform.
    is_odd : bool
        Whether the last axis of the result has 2 n - 1 elements, and not 2 n - 2.

    Returns
    -------
    Variable
        Of sizes (m, ..., 2 n - 2).

    Raises
    ------
    TypeError
        If ``inp`` has less than three dimensions, or is complex.
    ValueError
        If ``norm`` or ``is_odd`` is unknown.
    """
    if is_odd not in (True, False):
        raise ValueError(f"Invalid value {is_odd} for is_odd, must be True or False")
    spectrum = _real("irfft", inp, 3, "counter, frequencies, real and imaginary part")
    *middle, half = [shape_i(spectrum, axis) for axis in range(1, spectrum.type.ndim - 1)]
    size = GraphSizes.sub(GraphSizes.mul(half, 2), 1 if is_odd else 2)
    found = InverseRealFourier()(spectrum, size)
    return _divided(found, [*middle, size], norm, by_default=True)


# --------------------------------------------------------------------------------- registry


def _forward_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape in ((1, 1), (2, 6), (3, 5), (2, 3, 4), (1, 2, 2, 3)):
        yield Sample(RealFourier(), [draw(rng, dtype, shape)], "x".join(map(str, shape)))


def _inverse_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for shape, size in (((2, 3, 2), 4), ((1, 3, 2), 5), ((2, 3, 3, 2), 4), ((1, 1, 2), 1)):
        x = draw(rng, dtype, shape)
        label = "x".join(map(str, shape))
        yield Sample(lambda a, n=size: InverseRealFourier()(a, n), [x], f"{label} to {size}")


_REAL = ("float32", "float64")
declare(Declaration("rfft", "Real Fourier transforms.", RealFourier, _forward_samples, 64, _REAL))
declare(
    Declaration(
        "irfft", "Inverse Fourier transforms.", InverseRealFourier, _inverse_samples, 64, _REAL
    )
)
