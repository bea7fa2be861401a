"""The gradient of pooling with overlapping windows, by pixels: each is written once.

Along a dimension with windows of w pixels every s pixels, pixel ``s j + r - pad`` lies in the
windows of the places j, j - 1, ... as far as ``r + s q < w``. So all pixels of one remainder r read
places a constant distance away, lane beside lane. What is read at the places lies in buffers with
zeros around them, which takes the place of tests for the ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import product
from typing import Any

from ltensor.ops.conv_loops import zero_fill
from ltensor.ops.pool_loops import SMALL, Frame


def by_pixels(frame: Frame) -> bool:
    """Whether windows and strides are known and overlap, with few enough of them over a pixel."""
    steps = [frame.known(s) for s in frame.stride]
    if not frame.small() or any(s is None for s in steps):
        return False
    return not all(frame.apart(axis) for axis in range(frame.rank)) and _bodies(steps) <= SMALL


def _bodies(steps: Sequence[int | None]) -> int:
    count = 1
    for step in steps:
        count *= step or 1
    return count


class Around:
    """A value per place in a buffer with zeros around it.

    Parameters
    ----------
    frame : Frame
    dtype : str
    value : callable
        ``value(place, inner)`` as in `Frame.each_place`.
    """

    def __init__(self, frame: Frame, dtype: str, value: Callable[[list[Any], bool], Any]) -> None:
        self.frame, b, rank = frame, frame.b, frame.rank
        self.reach = [
            (w.attr - 1) // s.attr for w, s in zip(frame.window, frame.stride, strict=True)
        ]
        dims = list(frame.out)
        for axis, reach in enumerate(self.reach):
            # as far as the pixels reach, of which the last ones may lie in no window
            step, end = frame.stride[axis], b.add(frame.sizes[axis], frame.pad[axis])
            most = b.int_divide(b.add(end, b.sub(step, 1)), step)
            dims[axis - rank] = b.add(b.max(dims[axis - rank], most), reach)
        self.view = b.temporary(dtype, dims)
        zero_fill(b, self.view)
        frame.each_place(
            lambda place, inner: b.store(self.view, self._at(place), value(place, inner))
        )

    def _at(self, place: Sequence[Any]) -> list[Any]:
        b, rank = self.frame.b, self.frame.rank
        near = [b.add(p, r) for p, r in zip(place[-rank:], self.reach, strict=True)]
        return [*place[:-rank], *near]

    def load(self, place: Sequence[Any]) -> Any:
        """The value at a place, which may lie around the result."""
        return self.frame.b.load(self.view, self._at(place))


def gather(frame: Frame, out: Any, share: Callable[[list[Any], list[Any]], Any]) -> None:
    """Set every pixel of ``out`` to the sum of ``share(place, pixel)`` over its windows.

    A place may lie around the result, where the share is to be zero; windows come in their order.
    """
    b, rank = frame.b, frame.rank
    window, step = ([v.attr for v in values] for values in (frame.window, frame.stride))
    with ExitStack() as outer:
        lead = [
            outer.enter_context(
                b.loop(n, parallel=axis == 0, label=str(frame.k.node.op) if axis == 0 else "")
            ).index
            for axis, n in enumerate(frame.out[:-rank])
        ]
        for remainder in product(*map(range, step)):
            with ExitStack() as stack:
                last, pixel = [], list(lead)
                for axis, r in enumerate(remainder):
                    pad, size = frame.pad[axis], frame.sizes[axis]
                    # the first j with s j + r >= pad, and the first with s j + r >= size + pad
                    low, high = (
                        b.int_divide(b.max(b.add(b.sub(limit, r), step[axis] - 1), 0), step[axis])
                        for limit in (pad, b.add(size, pad))
                    )
                    kind = "vector" if axis == rank - 1 else "serial"
                    loop = stack.enter_context(b.loop(b.sub(high, low), kind=kind))
                    j = b.add(low, loop.index)
                    last.append(j)
                    pixel.append(b.sub(b.add(b.mul(j, step[axis]), r), pad))
                back = [
                    reversed(range((window[axis] - 1 - r) // step[axis] + 1))
                    for axis, r in enumerate(remainder)
                ]
                total: Any = None
                for distance in product(*map(list, back)):
                    place = [b.sub(j, q) for j, q in zip(last, distance, strict=True)]
                    value = share([*lead, *place], pixel)
                    total = value if total is None else b.add(total, value)
                if total is None:
                    # a pixel between windows
                    total = b.const(0, out.dtype)
                b.store(out, pixel, total)
