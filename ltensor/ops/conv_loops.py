"""Convolutions of any number of spatial dimensions: sizes, and the results by NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ltensor.ir.build import constant
from ltensor.ir.graph import Variable

Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Geometry:
    """How images, filters and results lie over each other.

    Attributes
    ----------
    border : str or tuple of pairs
        ``'valid'``, ``'full'``, ``'half'``, or the zeros before and after every dimension.
    stride, dilation : tuple of int
    flip : bool
        Whether filters are turned round (convolution) or not (correlation).
    groups : int
        Number of groups of channels that do not mix.
    """

    border: Any
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    flip: bool
    groups: int

    @property
    def rank(self) -> int:
        """Number of spatial dimensions."""
        return len(self.stride)

    def padded(self) -> bool:
        """Whether there may be zeros around the images."""
        return self.border != "valid" and self.border != ((0, 0),) * self.rank

    def pad(self, calc: Any, axis: int, kernel: Any) -> tuple[Any, Any]:
        """Zeros before and after along a dimension; ``calc`` computes with sizes."""
        if self.border == "valid":
            return 0, 0
        if self.border == "full":
            size = calc.mul(calc.sub(kernel, 1), self.dilation[axis])
            return size, size
        if self.border == "half":
            size = calc.half(calc.add(calc.mul(calc.sub(kernel, 1), self.dilation[axis]), 1))
            return size, size
        before, after = self.border[axis]
        return before, after

    def output_size(self, calc: Any, axis: int, image: Any, kernel: Any) -> Any:
        """Size of the result along a dimension."""
        before, after = self.pad(calc, axis, kernel)
        total = calc.add(calc.add(image, before), after)
        room = calc.sub(total, calc.mul(calc.sub(kernel, 1), self.dilation[axis]))
        # room - 1 places beside the first, of which every stride-th counts
        return calc.add(calc.floor_div(calc.sub(room, 1), self.stride[axis]), 1)

    def input_size(self, calc: Any, axis: int, out: Any, kernel: Any) -> Any:
        """The smallest image size that gives ``out`` places."""
        before, after = self.pad(calc, axis, kernel)
        span = calc.add(
            calc.mul(calc.sub(out, 1), self.stride[axis]),
            calc.add(calc.mul(calc.sub(kernel, 1), self.dilation[axis]), 1),
        )
        return calc.sub(calc.sub(span, before), after)


class PlainSizes:
    """Arithmetic of sizes on Python ints."""

    add = staticmethod(lambda a, b: a + b)
    sub = staticmethod(lambda a, b: a - b)
    mul = staticmethod(lambda a, b: a * b)
    floor_div = staticmethod(lambda a, b: a // b)
    half = staticmethod(lambda a: a // 2)


class GraphSizes:
    """Arithmetic of sizes as int64 scalar variables."""

    @staticmethod
    def _lift(a: Any) -> Variable:
        return a if isinstance(a, Variable) else constant(int(a), dtype="int64")

    @classmethod
    def _known(cls, a: Any) -> int | None:
        from ltensor.ir.build import constant_value

        if isinstance(a, (int, np.integer)):
            return int(a)
        value = constant_value(a)
        return None if value is None else int(value)

    @classmethod
    def add(cls, a: Any, b: Any) -> Any:
        """a + b."""
        from ltensor.ops.arithmetic import add

        x, y = cls._known(a), cls._known(b)
        if x is not None and y is not None:
            return cls._lift(x + y)
        if x == 0 or y == 0:
            return b if x == 0 else a
        return add(cls._lift(a), cls._lift(b))

    @classmethod
    def sub(cls, a: Any, b: Any) -> Any:
        """a - b."""
        from ltensor.ops.arithmetic import sub

        x, y = cls._known(a), cls._known(b)
        if x is not None and y is not None:
            return cls._lift(x - y)
        return a if y == 0 else sub(cls._lift(a), cls._lift(b))

    @classmethod
    def mul(cls, a: Any, b: Any) -> Any:
        """a * b."""
        from ltensor.ops.arithmetic import mul

        x, y = cls._known(a), cls._known(b)
        if x is not None and y is not None:
            return cls._lift(x * y)
        if x == 1 or y == 1:
            return b if x == 1 else a
        return mul(cls._lift(a), cls._lift(b))

    @classmethod
    def floor_div(cls, a: Any, b: Any) -> Any:
        """a // b."""
        from ltensor.ops.arithmetic import int_div

        x, y = cls._known(a), cls._known(b)
        if x is not None and y is not None:
            return cls._lift(x // y)
        return a if y == 1 else int_div(cls._lift(a), cls._lift(b))

    @classmethod
    def half(cls, a: Any) -> Any:
        """a // 2."""
        return cls.floor_div(a, 2)


class NativeSizes:
    """Arithmetic of sizes in a kernel program."""

    def __init__(self, b: Any) -> None:
        self.b = b

    def _lift(self, a: Any) -> Any:
        return self.b.const(a) if isinstance(a, int) else a

    def add(self, a: Any, b: Any) -> Any:
        """a + b."""
        return self.b.add(self._lift(a), self._lift(b))

    def sub(self, a: Any, b: Any) -> Any:
        """a - b."""
        return self.b.sub(self._lift(a), self._lift(b))

    def mul(self, a: Any, b: Any) -> Any:
        """a * b."""
        return self.b.mul(self._lift(a), self._lift(b))

    def floor_div(self, a: Any, b: Any) -> Any:
        """a // b."""
        return a if b == 1 else self.b.floor_div(self._lift(a), b)

    def half(self, a: Any) -> Any:
        """a // 2."""
        return self.b.floor_div(self._lift(a), 2)


# ---------------------------------------------------------------------------- NumPy reference


def _meetings(geometry: Geometry, kernel: Sequence[int], out: Sequence[int]) -> Any:
    """For every kernel position the slices of the padded image it meets."""
    for position in product(*map(range, kernel)):
        window = []
        for axis, i in enumerate(position):
            i = kernel[axis] - 1 - i if geometry.flip else i
            start, step = i * geometry.dilation[axis], geometry.stride[axis]
            window.append(slice(start, start + (out[axis] - 1) * step + 1, step))
        yield position, tuple(window)


def _inside(last: Sequence[Any]) -> tuple[Any, ...]:
    """An index of the last axes of what has two axes before them."""
    return (slice(None), slice(None), *last)


def _frame(geometry: Geometry, kernel: Sequence[int]) -> list[tuple[int, int]]:
    return [geometry.pad(PlainSizes, axis, k) for axis, k in enumerate(kernel)]


def _groups(geometry: Geometry, *arrays: np.ndarray) -> Any:
    """The arrays (with channels on axis 1) cut by groups."""
    return zip(*(np.split(a, geometry.groups, axis=1) for a in arrays), strict=True)


def forward_reference(geometry: Geometry, img: np.ndarray, kern: np.ndarray) -> np.ndarray:
    """The results by NumPy."""
    kernel = kern.shape[2:]
    pads = _frame(geometry, kernel)
    padded = np.pad(img, [(0, 0), (0, 0), *pads])
    out = [
        geometry.output_size(PlainSizes, axis, n, k)
        for axis, (n, k) in enumerate(zip(img.shape[2:], kernel, strict=True))
    ]
    parts = []
    filters = np.split(kern, geometry.groups, axis=0)
    for images, weights in zip(np.split(padded, geometry.groups, axis=1), filters, strict=True):
        total = np.zeros((img.shape[0], weights.shape[0], *out), img.dtype)
        for position, window in _meetings(geometry, kernel, out):
            patch, w = images[_inside(window)], weights[_inside(position)]
            total += np.einsum("nc...,oc->no...", patch, w)
        parts.append(total)
    return np.concatenate(parts, axis=1)


def weights_reference(
    geometry: Geometry, img: np.ndarray, top: np.ndarray, kernel: Sequence[int]
) -> np.ndarray:
    """The gradient of the filters by NumPy."""
    padded = np.pad(img, [(0, 0), (0, 0), *_frame(geometry, kernel)])
    parts = []
    for images, tops in _groups(geometry, padded, top):
        total = np.zeros((tops.shape[1], images.shape[1], *kernel), img.dtype)
        for position, window in _meetings(geometry, kernel, top.shape[2:]):
            patch = images[_inside(window)]
            rows = [a.reshape(*a.shape[:2], int(np.prod(a.shape[2:]))) for a in (patch, tops)]
            total[_inside(position)] = np.einsum("ncp,nop->oc", *rows)
        parts.append(total)
    return np.concatenate(parts, axis=0)


def inputs_reference(
    geometry: Geometry, kern: np.ndarray, top: np.ndarray, image: Sequence[int]
) -> np.ndarray:
    """The gradient of the images by NumPy."""
    kernel = kern.shape[2:]
    pads = _frame(geometry, kernel)
    sizes = [n + sum(p) for n, p in zip(image, pads, strict=True)]
    parts = []
    filters = np.split(kern, geometry.groups, axis=0)
    for weights, tops in zip(filters, np.split(top, geometry.groups, axis=1), strict=True):
        total = np.zeros((top.shape[0], weights.shape[1], *sizes), top.dtype)
        for position, window in _meetings(geometry, kernel, top.shape[2:]):
            w = weights[_inside(position)]
            total[_inside(window)] += np.einsum("no...,oc->nc...", tops, w)
        parts.append(total)
    inner = tuple(slice(p[0], p[0] + n) for n, p in zip(image, pads, strict=True))
    return np.concatenate(parts, axis=1)[_inside(inner)]


# -------------------------------------------------------------------------------- lowering


def zero_fill(b: Any, view: Any) -> None:
    """Set a buffer to zero."""
    zero = b.const(0, view.dtype)
    if view.dense:
        flat = type(view)(view.dtype, view.pointer, (b.size(view.dims),), None, view.offset)
        with b.loop(flat.dims[0], kind="vector") as loop:
            b.store(flat, [loop.index], zero)
        return
    with ExitStack() as stack:
        index = []
        for axis, extent in enumerate(view.dims):
            kind = "vector" if axis == view.ndim - 1 else "serial"
            index.append(stack.enter_context(b.loop(extent, kind=kind)).index)
        b.store(view, index, zero)
