"""Patches of images as rows of a matrix (``images2neibs``), and back (``neibs2images``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops.conv_loops import GraphSizes, NativeSizes, PlainSizes, zero_fill
from ltensor.ops.elementwise import zero_gradient
from ltensor.ops.linear import LinearInFirst
from ltensor.ops.opdef import Declaration, IndexedOp, Sample, declare, new_tensor
from ltensor.ops.pool_base import as_scalars
from ltensor.ops.samples import draw
from ltensor.ops.shape import dims_of, set_flags

MODES = ("valid", "ignore_borders", "wrap_centered", "half", "full")


class _Patches:
    """Where the patches of a mode lie; ``calc`` computes with sizes.

    Attributes
    ----------
    mode : str
        One of `MODES`.
    """

    __props__: ClassVar[tuple[str, ...]] = ("mode",)

    def __init__(self, mode: str = "valid") -> None:
        if mode not in MODES:
            raise NotImplementedError(f"Only the modes {', '.join(MODES)} have been implemented")
        self.mode = mode

    def __str__(self) -> str:
        return f"{type(self).__name__}{{mode={self.mode}}}"

    def before(self, calc: Any, patch: Any) -> Any:
        """Pixels of the first patch that lie before the image."""
        if self.mode == "full":
            return calc.sub(patch, 1)
        return calc.half(patch) if self.mode in ("half", "wrap_centered") else 0

    def room(self, calc: Any, size: Any, patch: Any) -> Any:
        """By how many pixels a patch can move."""
        around = calc.mul(self.before(calc, patch), 2)
        return calc.sub(calc.add(size, around), patch)

    def grid(self, calc: Any, size: Any, patch: Any, step: Any) -> Any:
        """How many patches there are along a dimension."""
        if self.mode == "wrap_centered":
            return calc.floor_div(calc.sub(calc.add(size, step), 1), step)
        return calc.add(calc.floor_div(self.room(calc, size, patch), step), 1)

    @property
    def exact(self) -> bool:
        """Whether the steps must end at the border."""
        return self.mode in ("valid", "half", "full")

    def check_numbers(
        self, sizes: Sequence[int], patch: Sequence[int], step: Sequence[int]
    ) -> None:
        """The run-time checks for ints."""
        for axis, (n, p, s) in enumerate(zip(sizes, patch, step, strict=True)):
            if self.mode == "wrap_centered" and p % 2 == 0:
                raise TypeError("Images2Neibs: in mode wrap_centered need patch with odd shapes")
            fits = n >= p if self.mode != "full" else n > 0
            if not fits or (self.exact and self.room(PlainSizes, n, p) % s):
                raise TypeError(
                    f"neib_shape[{axis}]={p}, neib_step[{axis}]={s} and "
                    f"ten4.shape[{axis + 2}]={n} not consistent"
                )

    def check_sizes(self, b: Any, node: Apply, sizes: Any, patch: Any, step: Any) -> None:
        """The run-time checks."""
        calc = NativeSizes(b)
        for axis, (n, p, s) in enumerate(zip(sizes, patch, step, strict=True)):
            b.check(b.and_(b.gt(p, 0), b.gt(s, 0)), "neib_parameters", node, (p, s), (axis,))
            if self.mode == "wrap_centered":
                odd = b.eq(b.remainder(p, 2), 1)
                b.check(odd, "neib_odd", node, (p,), (axis,))
            fits = b.gt(n, 0) if self.mode == "full" else b.ge(n, p)
            if self.exact:
                rest = b.remainder(self.room(calc, n, p), b.max(s, 1))
                fits = b.and_(fits, b.eq(rest, 0))
            b.check(fits, "neib_sizes", node, (p, s, n), (axis,))

    def patches(self, shape: Sequence[int], patch: Sequence[int], step: Sequence[int]) -> Any:
        """For every row of the matrix the pixels of its patch; -1 outside of the image."""
        _, _, *sizes = shape
        self.check_numbers(sizes, patch, step)
        lines = []
        for n, p, s in zip(sizes, patch, step, strict=True):
            starts = np.arange(self.grid(PlainSizes, n, p, s)) * s - self.before(PlainSizes, p)
            index = starts[:, None] + np.arange(p)
            if self.mode == "wrap_centered":
                index %= n
            lines.append(np.where((index >= 0) & (index < n), index, -1))
        return lines

    def pixel(self, b: Any, place: Any, offset: Any, size: Any, patch: Any, step: Any) -> Any:
        """A pixel's index along a dimension and whether it is inside."""
        calc = NativeSizes(b)
        x = b.sub(b.add(b.mul(place, step), offset), calc.sub(self.before(calc, patch), 0))
        if self.mode == "wrap_centered":
            last = b.sub(size, 1)
            x = b.select(b.lt(x, 0), b.add(x, size), x)
            return b.select(b.gt(x, last), b.sub(x, size), x), b.const(True, "bool")
        if self.mode in ("half", "full"):
            inside = b.and_(b.ge(x, 0), b.lt(x, size))
            return b.select(inside, x, 0), inside
        return x, b.const(True, "bool")


def _shape_and_step(neib_shape: Any, neib_step: Any) -> list[Variable]:
    shape = as_scalars(neib_shape, 2, "neib_shape")
    step = shape if neib_step is None else as_scalars(neib_step, 2, "neib_step")
    for v in (*shape, *step):
        known = constant_value(v)
        if known is not None and int(known) < 1:
            raise ValueError("neib_shape and neib_step must be positive")
    return [*shape, *step]


class Images2Neibs(_Patches, LinearInFirst, IndexedOp):
    """Every patch of every channel of every image as a row of a matrix."""

    ir_name = "images2neibs"
    repeats = True

    def make_node(self, ten4: Any, neib_shape: Any, neib_step: Any = None, *rest: Any) -> Apply:
        x = as_tensor(ten4)
        if x.type.ndim != 4:
            raise TypeError(f"images2neibs takes a 4-d tensor, not {x.type}")
        if rest:
            neib_shape, neib_step = [neib_shape, neib_step], list(rest)
        scalars = _shape_and_step(neib_shape, neib_step)
        return Apply(self, [x, *scalars], [new_tensor(x.type.dtype, (None, None))])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        n, c, *sizes = shapes[0]
        p1, p2, s1, s2 = node.inputs[1:]
        first = self.grid(GraphSizes, sizes[0], p1, s1)
        second = self.grid(GraphSizes, sizes[1], p2, s2)
        rows = GraphSizes.mul(GraphSizes.mul(n, c), GraphSizes.mul(first, second))
        return [(rows, GraphSizes.mul(p1, p2))]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        x, *scalars = inputs
        p1, p2, s1, s2 = (int(v) for v in scalars)
        first, second = self.patches(x.shape, (p1, p2), (s1, s2))
        rows = x[:, :, first[:, None, :, None], second[None, :, None, :]]
        outside = (first < 0)[:, None, :, None] | (second < 0)[None, :, None, :]
        rows = np.where(outside, x.dtype.type(0), rows)
        output_storage[0][0] = rows.reshape(int(np.prod(rows.shape[:4])), p1 * p2)

    def check(self, b: Any, node: Apply, operands: Any) -> None:
        """Patches fit the images."""
        p1, p2, s1, s2 = (o.value for o in operands[1:])
        self.check_sizes(b, node, operands[0].dims[2:], (p1, p2), (s1, s2))

    def element(self, e: Any, node: Apply, operands: Any, index: Any) -> Any:
        x = operands[0]
        patch, step = ([o.value for o in operands[k : k + 2]] for k in (1, 3))
        calc = NativeSizes(e)
        row, column = index
        places: list[Any] = []
        # the row's number is ((image * channels + channel) * grid + place) * grid + place
        for axis in (1, 0):
            count = self.grid(calc, x.dims[2 + axis], patch[axis], step[axis])
            count = e.max(count, 1)
            rest = e.int_divide(row, count)
            places.insert(0, e.sub(row, e.mul(rest, count)))
            row = rest
        channels = e.max(x.dims[1], 1)
        image = e.int_divide(row, channels)
        width = e.max(patch[1], 1)
        line = e.int_divide(column, width)
        offsets = [line, e.sub(column, e.mul(line, width))]
        pixels, inside = [], e.const(True, "bool")
        for axis in (0, 1):
            sizes = (x.dims[2 + axis], patch[axis], step[axis])
            pixel, good = self.pixel(e, places[axis], offsets[axis], *sizes)
            pixels.append(pixel)
            inside = e.and_(inside, good)
        value = x.at([image, e.sub(row, e.mul(image, channels)), *pixels])
        return e.select(inside, value, e.const(0, x.dtype))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        x, *scalars = inputs
        cut = [disconnected_type.make_variable() for _ in scalars]
        if dt.is_discrete(x.type.dtype):
            return [zero_gradient(x), *cut]
        back = JoinNeibs(self.mode)(output_grads[0], dims_of(x), scalars[:2], scalars[2:])
        return [set_flags(back, x.type.broadcastable), *cut]


class JoinNeibs(_Patches, LinearInFirst):
    """Images as the sums of patches: the transpose of `Images2Neibs`."""

    kind = "kernel"
    ir_name = "join_neibs"

    def make_node(
        self, neibs: Any, shape: Any, neib_shape: Any, neib_step: Any = None, *rest: Any
    ) -> Apply:
        if rest:
            scalars = [shape, neib_shape, neib_step, *rest]
            shape, neib_shape, neib_step = scalars[:4], scalars[4:6], scalars[6:]
        neibs = as_tensor(neibs)
        if neibs.type.ndim != 2:
            raise TypeError(f"neibs2images takes a matrix, not {neibs.type}")
        scalars = [*as_scalars(shape, 4, "shape"), *_shape_and_step(neib_shape, neib_step)]
        known = [constant_value(s) for s in scalars[:4]]
        static = [None if s is None else int(s) for s in known]
        return Apply(self, [neibs, *scalars], [new_tensor(neibs.type.dtype, static)])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [tuple(node.inputs[1:5])]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        neibs, *scalars = inputs
        n, c, h, w, p1, p2, s1, s2 = (int(v) for v in scalars)
        first, second = self.patches((n, c, h, w), (p1, p2), (s1, s2))
        rows = neibs.reshape(n, c, len(first), len(second), p1, p2)
        # one pixel more at both ends takes what lies outside
        wide = np.zeros((n, c, h + 1, w + 1), neibs.dtype)
        where: Any = (..., first[:, None, :, None], second[None, :, None, :])
        np.add.at(wide, where, rows)
        output_storage[0][0] = wide[:, :, :h, :w].copy()

    def lower(self, k: Any) -> None:
        b, neibs = k.b, k.operand(0)
        n, c, h, w, p1, p2, s1, s2 = (k.operand(p) for p in range(1, 9))
        patch, step, sizes = (p1, p2), (s1, s2), (h, w)
        self.check_sizes(b, k.node, sizes, patch, step)
        calc = NativeSizes(b)
        grid = [self.grid(calc, sizes[a], patch[a], b.max(step[a], 1)) for a in (0, 1)]
        rows = b.mul(b.mul(n, c), b.mul(*grid))
        k.check(b.eq(neibs.dims[0], rows), "neib_matrix", (neibs.dims[0], rows), (0,))
        width = b.mul(p1, p2)
        k.check(b.eq(neibs.dims[1], width), "neib_matrix", (neibs.dims[1], width), (1,))
        out = k.output(0)
        zero_fill(b, out)
        with ExitStack() as stack:

            def loop(extent: Any) -> Any:
                return stack.enter_context(b.loop(extent)).index

            image, channel = loop(n), loop(c)
            places = [loop(g) for g in grid]
            offsets = [loop(p) for p in patch]
            row = b.add(b.mul(image, c), channel)
            column = b.add(b.mul(offsets[0], p2), offsets[1])
            pixels, inside = [], b.const(True, "bool")
            for a in (0, 1):
                row = b.add(b.mul(row, grid[a]), places[a])
                pixel, good = self.pixel(b, places[a], offsets[a], sizes[a], patch[a], step[a])
                pixels.append(pixel)
                inside = b.and_(inside, good)
            index = [image, channel, *pixels]
            value = b.load(neibs, [row, column])
            value = b.select(inside, value, b.const(0, out.dtype))
            b.store(out, index, b.add(b.load(out, index), value))

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        neibs, *scalars = inputs
        cut = [disconnected_type.make_variable() for _ in scalars]
        if dt.is_discrete(neibs.type.dtype):
            return [zero_gradient(neibs), *cut]
        back = Images2Neibs(self.mode)(output_grads[0], *scalars[4:])
        return [set_flags(back, neibs.type.broadcastable), *cut]


def images2neibs(
    ten4: Any, neib_shape: Any, neib_step: Any = None, mode: str = "valid"
) -> Variable:
    """Patches of the last two dimensions of a 4-d tensor as rows.

    Parameters
    ----------
    neib_shape, neib_step : pair of int
        Size and step of the patches (by default they lie side by side); may be symbolic.
    mode : str
        ``'valid'`` (the steps must end at the border), ``'ignore_borders'``, ``'wrap_centered'``
        (around every step-th pixel, wrapping round), ``'half'`` and ``'full'`` (zeros around).
    """
    result: Variable = Images2Neibs(mode)(ten4, neib_shape, neib_step)
    return result


def neibs2images(neibs: Any, neib_shape: Any, original_shape: Any, mode: str = "valid") -> Variable:
    """The images of which ``images2neibs`` made ``neibs``, with zeros where no patch lay.

    Raises
    ------
    NotImplementedError
        For modes other than ``'valid'`` and ``'ignore_borders'``.
    """
    if mode not in ("valid", "ignore_borders"):
        raise NotImplementedError(f"neibs2images do not support mode={mode}")
    result: Variable = JoinNeibs(mode)(neibs, original_shape, neib_shape)
    return result


# --------------------------------------------------------------------------------- registry

_CASES: tuple[tuple[str, tuple[int, ...], tuple[int, int], tuple[int, int] | None], ...] = (
    ("valid", (2, 3, 4, 6), (2, 3), None),
    ("valid", (1, 2, 5, 7), (3, 3), (2, 1)),
    ("ignore_borders", (2, 1, 5, 7), (2, 3), None),
    ("wrap_centered", (1, 2, 4, 5), (3, 3), (2, 2)),
    ("half", (1, 2, 5, 5), (3, 3), (1, 2)),
    ("full", (1, 2, 3, 4), (2, 2), (1, 1)),
    ("valid", (0, 2, 4, 4), (2, 2), None),
)


def _split_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for mode, shape, patch, step in _CASES:
        yield Sample(
            lambda x, m=mode, p=patch, s=step: images2neibs(x, p, s, m),
            [draw(rng, dtype, shape)],
            f"{mode} {'x'.join(map(str, shape))}",
        )


def _join_samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
    for mode, shape, patch, step in _CASES:
        lines = Images2Neibs(mode).patches(shape, patch, step or patch)
        rows = shape[0] * shape[1] * len(lines[0]) * len(lines[1])
        yield Sample(
            lambda v, m=mode, d=shape, p=patch, s=step: JoinNeibs(m)(v, d, p, s),
            [draw(rng, dtype, (rows, patch[0] * patch[1]))],
            f"{mode} {'x'.join(map(str, shape))}",
        )


_DTYPES = (*dt.FLOATS, "int32")
declare(
    Declaration(
        "images2neibs", Images2Neibs.__doc__ or "", Images2Neibs, _split_samples, 0, _DTYPES
    )
)
declare(Declaration("join_neibs", JoinNeibs.__doc__ or "", JoinNeibs, _join_samples, 8, _DTYPES))
