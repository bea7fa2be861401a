"""``theano.tensor.fourier``: the discrete Fourier transform of complex arrays along one axis.

Real arrays are better served by `ltensor.tensor.fft`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Constant, Op, Variable
from ltensor.ir.types import disconnected_type, tensor_type
from ltensor.ops.arithmetic import minimum
from ltensor.ops.cast import cast
from ltensor.ops.complexes import real
from ltensor.ops.shape import shape_i
from ltensor.tensor import set_subtensor, zeros

__all__ = ["Fourier", "fft"]


class Fourier(Op):
    """``fft(a, n, axis)``: the transform of length ``n`` along an axis, as complex128.

    Longer arrays are cut, shorter ones padded with zeros. None stands for the length of ``a`` and
    for its last axis. The gradient takes the transform for a function of complex numbers.
    """

    __props__ = ()

    def make_node(self, a: Any, n: Any, axis: Any) -> Apply:
        a = as_tensor(a)
        if a.type.ndim < 1:
            raise TypeError("Fourier: input must be an array, not a scalar")
        place = as_tensor(a.type.ndim - 1 if axis is None else axis)
        if place.type.ndim or place.type.dtype[0] not in "iu" or not isinstance(place, Constant):
            raise TypeError("Fourier: the axis must be a number of type int")
        if not 0 <= int(place.data) < a.type.ndim:
            raise TypeError(f"Fourier: there is no axis {place.data} of {a.type}")
        length = shape_i(a, int(place.data)) if n is None else as_tensor(n)
        if length.type.ndim or length.type.dtype[0] not in "iu":
            raise TypeError("Fourier: the length of the axis must be an int")
        if isinstance(length, Constant) and length.data < 1:
            raise TypeError("Fourier: the length of the axis must be positive")
        sizes = list(a.type.shape)
        sizes[int(place.data)] = int(length.data) if isinstance(length, Constant) else None
        out = tensor_type("complex128", tuple(sizes)).make_variable()
        return Apply(self, [a, length, place], [out])

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        a, n, axis = inputs
        found = np.fft.fft(a, n=int(n), axis=int(axis))
        output_storage[0][0] = np.asarray(found, dtype="complex128")

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        sizes = list(shapes[0])
        sizes[_number(node.inputs[2])] = node.inputs[1]
        return [tuple(sizes)]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True], [False], [False]]

    def grad(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        a, n, place = inputs
        axis = _number(place)
        # element t adds exp(-2 pi i f t / n) to frequency f: the sum is a transform again
        whole = self(output_grads[0], n, axis)
        before = (slice(None),) * axis
        used = minimum(cast(n, "int64"), shape_i(a, axis))
        empty = zeros([shape_i(a, k) for k in range(a.type.ndim)], "complex128")
        part = (*before, slice(None, used))
        back = set_subtensor(empty[part], whole[part])
        is_complex = a.type.dtype.startswith("complex")
        return [
            cast(back if is_complex else real(back), a.type.dtype),
            disconnected_type.make_variable(),
            disconnected_type.make_variable(),
        ]


def _number(place: Variable) -> int:
    assert isinstance(place, Constant)
    return int(place.data)


fft = Fourier()
