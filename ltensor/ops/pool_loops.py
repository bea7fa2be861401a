"""Sizes, NumPy references and loops of pooling over the last dimensions of an array."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ltensor.ops.conv_loops import zero_fill

#: windows at least this wide are reduced in lanes; narrower ones lie side by side in lanes
WIDE = 7
#: windows of so many pixels are written out, whatever their width
SMALL = 25


def output_size(size: int, window: int, stride: int, pad: int, ignore_border: bool) -> int:
    """How many windows there are along a dimension."""
    total = size + 2 * pad
    if ignore_border:
        return max((total - window) // stride + 1, 0)
    if stride >= window:
        places = (total - 1) // stride + 1
    else:
        places = max((total - 1 - window) // stride + 1, 0) + 1
    return min(places, total)


def symbolic_size(size: Any, window: Any, stride: Any, pad: Any, ignore_border: bool) -> Any:
    """`output_size` as an int64 scalar variable."""
    from ltensor.ir.build import constant, constant_value
    from ltensor.ops.arithmetic import maximum, minimum, switch
    from ltensor.ops.compare import ge
    from ltensor.ops.conv_loops import GraphSizes as Sizes

    zero, one = (constant(v, dtype="int64") for v in (0, 1))
    total = Sizes.add(size, Sizes.mul(pad, constant(2, dtype="int64")))

    def places(room: Any) -> Any:
        return Sizes.add(Sizes.floor_div(room, stride), one)

    if ignore_border:
        return maximum(places(Sizes.sub(total, window)), zero)
    apart = places(Sizes.sub(total, one))
    overlapping = Sizes.add(maximum(places(Sizes.sub(Sizes.sub(total, one), window)), zero), one)
    w, s = constant_value(window), constant_value(stride)
    if w is not None and s is not None:
        result = apart if int(s) >= int(w) else overlapping
    else:
        result = switch(ge(stride, window), apart, overlapping)
    return minimum(result, total)


# ---------------------------------------------------------------------------- NumPy reference


def windows(
    sizes: Sequence[int], out: Sequence[int], window: Any, stride: Any, pad: Any
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], int]]:
    """Every place of the result, the pixels its window covers, and its size with padding."""
    rank = len(sizes)
    for place in product(*map(range, out)):
        cut, padded = [], 1
        for axis in range(rank):
            start = place[axis] * stride[axis]
            stop = min(start + window[axis], sizes[axis] + 2 * pad[axis])
            padded *= stop - start
            start, stop = start - pad[axis], stop - pad[axis]
            cut.append(slice(max(start, 0), min(stop, sizes[axis])))
        yield place, tuple(cut), padded


# -------------------------------------------------------------------------------- lowering


class Frame:
    """The loops of one pooling operation.

    Parameters
    ----------
    k : KernelContext
    image : View
        Array whose last dimensions are pooled.
    out : sequence of Value
        All sizes of the result.
    window, stride, pad : sequence of Value
        Per pooled dimension.
    """

    def __init__(
        self, k: Any, image: Any, out: Sequence[Any], window: Any, stride: Any, pad: Any
    ) -> None:
        self.k, self.b = k, k.b
        self.rank = len(window)
        self.image = image
        self.out = list(out)
        self.window, self.stride, self.pad = list(window), list(stride), list(pad)
        self.sizes = list(image.dims[-self.rank :])

    @staticmethod
    def known(value: Any) -> int | None:
        """The number if it is a constant."""
        return value.attr if value.op == "const" else None

    def wide(self) -> bool:
        """Whether windows are so wide that lanes lie inside them."""
        size = self.known(self.window[-1])
        return size is not None and not self.small() and size >= WIDE

    def small(self) -> bool:
        """Whether windows are known and so small that their pixels are written out."""
        sizes = [self.known(w) for w in self.window]
        return all(s is not None for s in sizes) and prod(s or 0 for s in sizes) <= SMALL

    def apart(self, axis: int) -> bool:
        """Whether windows are known not to overlap along a dimension."""
        size, step = self.known(self.window[axis]), self.known(self.stride[axis])
        return size is not None and step is not None and step >= size

    def complete(self) -> bool:
        """Whether every window is known to lie inside the image."""
        return all(self.known(p) == 0 for p in self.pad) and self.k.node.op.ignore_border

    def _rows(self, stack: ExitStack) -> list[Any]:
        """Open loops over all dimensions of the result but the last."""
        index = []
        for axis, extent in enumerate(self.out[:-1]):
            loop = self.b.loop(
                extent,
                # windows of neighbouring places may overlap: only leading dimensions are apart
                parallel=axis == 0 and len(self.out) > self.rank,
                label=str(self.k.node.op) if axis == 0 else "",
            )
            index.append(stack.enter_context(loop).index)
        return index

    def each_place(self, action: Callable[[list[Any], bool], None]) -> None:
        """``action(place, inner)`` in loops over all places of the result, last one in lanes."""
        with ExitStack() as stack:
            self._along(self._rows(stack), action)

    def _along(self, row: list[Any], action: Callable[[list[Any], bool], None]) -> None:
        """Loops over the last dimension of the result.

        ``inner`` says that the windows do not reach over the image's ends there, so that lanes
        lie a constant distance apart.
        """
        b = self.b
        if self.wide() or self.complete():
            kind = "serial" if self.wide() else "vector"
            with b.loop(self.out[-1], kind=kind) as loop:
                action([*row, loop.index], self.complete())
            return
        low, high = self._inner()
        for start, stop, inner in (
            (b.const(0), low, False),
            (low, high, True),
            (high, self.out[-1], False),
        ):
            kind = "vector" if inner else "serial"
            with b.loop(b.sub(stop, start), kind=kind) as loop:
                action([*row, b.add(start, loop.index)], inner)

    def _inner(self) -> tuple[Any, Any]:
        """The places of the last dimension whose windows lie inside the image."""
        b, window, step, pad = self.b, self.window[-1], self.stride[-1], self.pad[-1]
        low = b.int_divide(b.sub(b.add(pad, step), 1), step)
        room = b.sub(b.add(self.sizes[-1], pad), window)
        high = b.int_divide(b.max(b.add(room, step), 0), step)
        low = b.min(low, self.out[-1])
        return low, b.max(b.min(high, self.out[-1]), low)

    def starts(self, place: Sequence[Any]) -> list[Any]:
        """The first pixel of a place's window, maybe in the padding."""
        b = self.b
        return [
            b.sub(b.mul(p, s), q)
            for p, s, q in zip(place[-self.rank :], self.stride, self.pad, strict=True)
        ]

    def pixel(
        self, lead: Sequence[Any], start: Sequence[Any], step: Sequence[Any], inner: bool
    ) -> Any:
        """A pixel of a window: its index, moved into the image, and whether it lay inside."""
        b = self.b
        index, inside = list(lead), b.const(True, "bool")
        for axis in range(self.rank):
            x = b.add(start[axis], step[axis])
            if not (self.complete() or (inner and axis == self.rank - 1)):
                ok = b.and_(b.ge(x, 0), b.lt(x, self.sizes[axis]))
                inside = b.and_(inside, ok)
                # moved to a pixel of the same window
                x = b.max(b.min(x, b.sub(self.sizes[axis], 1)), 0)
            index.append(x)
        return index, inside

    def reduce(
        self,
        place: Sequence[Any],
        inner: bool,
        initial: Any,
        combine: str,
        element: Callable[[list[Any], Any], Any],
    ) -> Any:
        """Join ``element(index, inside)`` over the pixels of a place's window."""
        b = self.b
        lead, start = place[: -self.rank], self.starts(place)
        join = {"add": b.add, "max": b.max}[combine]
        if inner and self.small():
            total: Any = None
            for step in product(*(range(w.attr) for w in self.window)):
                value = element(*self.pixel(lead, start, step, inner))
                total = value if total is None else join(total, value)
            return total

        def level(axis: int, carried: Any, step: list[Any]) -> Any:
            last = axis == self.rank - 1
            lanes = last and self.wide()
            options: dict[str, Any] = {"carries": [carried]}
            if lanes:
                options |= {"kind": "vector", "combine": [combine]}
            with b.loop(self.window[axis], **options) as loop:
                here = [*step, loop.index]
                if last:
                    value = element(*self.pixel(lead, start, here, inner))
                    loop.next(value if lanes else join(loop.carry[0], value))
                else:
                    loop.next(level(axis + 1, loop.carry[0], here))
            return loop.results[0]

        return level(0, initial, [])

    def spread(self, out: Any, share: Callable[[list[Any], list[Any], bool], Any]) -> None:
        """Add ``share(place, pixel, inner)`` to the pixels of all places' windows, in this order.

        Lanes are neighbouring places. Where windows do not overlap every pixel is written once.
        """
        b, rank = self.b, self.rank
        once = all(self.apart(axis) for axis in range(rank))
        if once:
            with b.if_(b.not_(self._covered())):
                zero_fill(b, out)
        else:
            zero_fill(b, out)

        def give(place: list[Any], pixel: list[Any], inner: bool) -> None:
            value = share(place, pixel, inner)
            b.store(out, pixel, value if once else b.add(b.load(out, pixel), value))

        with ExitStack() as stack:
            row = self._rows(stack)
            rest = [*row, b.const(0)][-rank:-1]
            pixels = [*row, b.const(0)][:-rank]
            for axis, place in enumerate(rest):
                low, high = self._clipped(axis, place)
                loop = stack.enter_context(b.loop(b.sub(high, low)))
                pixels.append(b.add(low, loop.index))
            width = self.known(self.window[-1])
            if self.apart(rank - 1) and width is not None and width <= SMALL:

                def columns(place: list[Any], inner: bool) -> None:
                    if inner:
                        start = self.starts(place)[-1]
                        for step in range(width):
                            give(place, [*pixels, b.add(start, step)], True)
                        return
                    low, high = self._clipped(rank - 1, place[-1])
                    with b.loop(b.sub(high, low)) as loop:
                        give(place, [*pixels, b.add(low, loop.index)], False)

                self._along(row, columns)
                return
            # a pixel's last column in a window comes first: its windows from left to right
            with b.loop(self.window[-1]) as back:
                column = b.sub(b.sub(self.window[-1], 1), back.index)
                low, high = self._meeting(column)
                with b.loop(b.sub(high, low), kind="vector") as loop:
                    place = b.add(low, loop.index)
                    x = b.add(b.sub(b.mul(place, self.stride[-1]), self.pad[-1]), column)
                    give([*row, place], [*pixels, x], False)

    def _covered(self) -> Any:
        """Whether every pixel lies in a window, of windows that do not overlap."""
        b = self.b
        result = b.const(True, "bool")
        for axis, size in enumerate(self.sizes):
            if self.known(self.window[axis]) != self.known(self.stride[axis]):
                return b.const(False, "bool")
            reach = b.sub(b.mul(self.out[axis - self.rank], self.stride[axis]), self.pad[axis])
            result = b.and_(result, b.ge(reach, size))
        return result

    def _clipped(self, axis: int, place: Any) -> tuple[Any, Any]:
        """The pixels along a dimension that a place's window has inside the image."""
        b = self.b
        low = b.sub(b.mul(place, self.stride[axis]), self.pad[axis])
        high = b.add(low, self.window[axis])
        if self.complete():
            return low, high
        return b.max(low, 0), b.min(high, self.sizes[axis])

    def _meeting(self, column: Any) -> tuple[Any, Any]:
        """The places of the last dimension that have a window's ``column`` inside the image."""
        b, step, pad = self.b, self.stride[-1], self.pad[-1]
        if self.complete():
            return b.const(0), self.out[-1]
        low = b.int_divide(b.sub(b.add(b.max(b.sub(pad, column), 0), step), 1), step)
        room = b.sub(b.add(self.sizes[-1], pad), column)
        high = b.int_divide(b.max(b.sub(b.add(room, step), 1), 0), step)
        low = b.min(low, self.out[-1])
        return low, b.max(b.min(high, self.out[-1]), low)

    def count(self, place: Sequence[Any], inner: bool, padded: bool) -> Any:
        """How many pixels a place's window has, padding included or not."""
        b = self.b
        total = b.const(1)
        for axis, start in enumerate(self.starts(place)):
            stop = b.add(start, self.window[axis])
            if not (self.complete() or (inner and axis == self.rank - 1)):
                limit = self.sizes[axis]
                if padded:
                    stop = b.min(stop, b.add(limit, self.pad[axis]))
                else:
                    stop, start = b.min(stop, limit), b.max(start, 0)
            total = b.mul(total, b.sub(stop, start))
        return total


def smallest(dtype: str) -> Any:
    """A value no maximum is below."""
    if dtype.startswith("float"):
        return -np.inf
    return False if dtype == "bool" else np.iinfo(dtype).min
