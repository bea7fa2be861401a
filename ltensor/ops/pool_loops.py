"""Sizes, NumPy references and loops of pooling over the last dimensions of an array."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import product
from typing import Any

import numpy as np

#: windows at least this wide are reduced in lanes; narrower ones lie side by side in lanes
WIDE = 16


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
        return size is not None and size >= WIDE

    def apart(self) -> bool:
        """Whether windows are known not to overlap along the last dimension."""
        size, step = self.known(self.window[-1]), self.known(self.stride[-1])
        return size is not None and step is not None and step >= size

    def complete(self) -> bool:
        """Whether every window is known to lie inside the image."""
        return all(self.known(p) == 0 for p in self.pad) and self.k.node.op.ignore_border

    def places(self, stack: ExitStack, lanes: bool) -> list[Any]:
        """Open loops over all places of the result; ``lanes`` puts the last in lanes."""
        index = []
        for axis, extent in enumerate(self.out):
            last = axis == len(self.out) - 1
            loop = self.b.loop(
                extent,
                kind="vector" if last and lanes else "serial",
                # windows of neighbouring places may overlap: only leading dimensions are apart
                parallel=axis == 0 and len(self.out) > self.rank,
                label=str(self.k.node.op) if axis == 0 else "",
            )
            index.append(stack.enter_context(loop).index)
        return index

    def starts(self, place: Sequence[Any]) -> list[Any]:
        """The first pixel of a place's window, maybe in the padding."""
        b = self.b
        return [
            b.sub(b.mul(p, s), q)
            for p, s, q in zip(place[-self.rank :], self.stride, self.pad, strict=True)
        ]

    def pixel(self, lead: Sequence[Any], start: Sequence[Any], step: Sequence[Any]) -> Any:
        """A pixel of a window: its index, moved into the image, and whether it lay inside."""
        b = self.b
        index, inside = list(lead), b.const(True, "bool")
        for axis in range(self.rank):
            x = b.add(start[axis], step[axis])
            if not self.complete():
                ok = b.and_(b.ge(x, 0), b.lt(x, self.sizes[axis]))
                inside = b.and_(inside, ok)
                # moved to a pixel of the same window
                x = b.max(b.min(x, b.sub(self.sizes[axis], 1)), 0)
            index.append(x)
        return index, inside

    def reduce(
        self,
        place: Sequence[Any],
        initial: Any,
        combine: str,
        element: Callable[[list[Any], Any], Any],
    ) -> Any:
        """Join ``element(index, inside)`` over the pixels of a place's window."""
        b = self.b
        lead, start = place[: -self.rank], self.starts(place)
        join = {"add": b.add, "max": b.max}[combine]

        def level(axis: int, carried: Any, step: list[Any]) -> Any:
            last = axis == self.rank - 1
            lanes = last and self.wide()
            options: dict[str, Any] = {"carries": [carried]}
            if lanes:
                options |= {"kind": "vector", "combine": [combine]}
            with b.loop(self.window[axis], **options) as loop:
                here = [*step, loop.index]
                if last:
                    value = element(*self.pixel(lead, start, here))
                    loop.next(value if lanes else join(loop.carry[0], value))
                else:
                    loop.next(level(axis + 1, loop.carry[0], here))
            return loop.results[0]

        return level(0, initial, [])

    def each(self, place: Sequence[Any], action: Callable[[list[Any], Any], None]) -> None:
        """``action(index, inside)`` for every pixel of a place's window, one after the other."""
        lead, start = place[: -self.rank], self.starts(place)
        with ExitStack() as stack:
            step = [
                stack.enter_context(self.b.loop(n, kind="vector" if self._last(n) else "serial"))
                for n in self.window
            ]
            action(*self.pixel(lead, start, [loop.index for loop in step]))

    def _last(self, extent: Any) -> bool:
        return extent is self.window[-1] and self.wide() and self.complete()

    def count(self, place: Sequence[Any], padded: bool) -> Any:
        """How many pixels a place's window has, padding included or not."""
        b = self.b
        total = b.const(1)
        for axis, start in enumerate(self.starts(place)):
            stop = b.add(start, self.window[axis])
            if not self.complete():
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
