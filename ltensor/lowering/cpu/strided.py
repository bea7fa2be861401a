"""Loads and stores of every second to fourth element, or backwards, by whole vectors and shuffles.

Some machines gather and scatter no faster than element by element; a few whole vectors and a
permutation of their lanes cost a fraction of that. The vectors cover the elements from the first
to the last one wanted and nothing beyond, so no memory is touched that lanes do not own; a store
leaves the elements between them alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: distances of neighbouring lanes that are read and written this way
STRIDES = (-1, 2, 3, 4)
#: more lanes than these make shuffles that the machine has no instruction for
MOST_LANES = 32
#: a lane number that no count of lanes left reaches
_NO_LANE = 1 << 30


def covered(stride: int | None, lanes: int) -> bool:
    """Whether lanes that far apart are read and written by whole vectors."""
    return stride in STRIDES and lanes <= MOST_LANES


@dataclass(frozen=True)
class Window:
    """A whole vector among those that cover the elements.

    Attributes
    ----------
    start : int
        Its first element, counted from the element of lane 0.
    lane : tuple of int or None
        The lane whose element is at each of its places.
    """

    start: int
    lane: tuple[int | None, ...]


def windows(stride: int, lanes: int) -> list[Window]:
    """The whole vectors that cover the elements of ``lanes`` lanes.

    Examples
    --------
    >>> for window in windows(2, 4):
    ...     print(window.start, window.lane)
    0 (0, None, 1, None)
    3 (None, 2, None, 3)
    """
    if stride == -1:
        return [Window(1 - lanes, tuple(reversed(range(lanes))))]
    last = (lanes - 1) * stride
    found = []
    for number in range(stride):
        start = min(number * lanes, last + 1 - lanes)
        place = range(start, start + lanes)
        found.append(Window(start, tuple(None if p % stride else p // stride for p in place)))
    return found


def _mask(renderer: Any, window: Window) -> str | None:
    """Which places of a window lanes own; None for a whole vector of a load."""
    lanes = renderer.lanes
    if renderer.mask is None:
        return None
    numbers = ", ".join(f"i64 {_NO_LANE if k is None else k}" for k in window.lane)
    assert renderer.left is not None
    left = renderer.splat("int64", renderer.left)
    return str(renderer.put(f"icmp slt <{lanes} x i64> <{numbers}>, {left}"))


def _order(numbers: list[int | None]) -> str:
    lanes = ", ".join("i32 poison" if k is None else f"i32 {k}" for k in numbers)
    return f"<{len(numbers)} x i32> <{lanes}>"


def load(renderer: Any, where: str, stride: int, element: str, name: str, align: int) -> str:
    """The elements at ``where`` and every ``stride`` on, one for each lane.

    Parameters
    ----------
    renderer : Renderer
        Its lanes, mask and instructions are used.
    where : str
        Register of the address of lane 0's element.
    stride : int
        One of `STRIDES`.
    element, name : str
        LLVM's type of an element in memory, and the suffix of intrinsics on all lanes.
    align : int
        Bytes.
    """
    lanes = renderer.lanes
    kind, mask_type = f"<{lanes} x {element}>", f"<{lanes} x i1>"
    result: str | None = None
    done: list[int | None] = [None] * lanes
    for window in windows(stride, lanes):
        place = renderer.put(f"getelementptr {element}, ptr {where}, i64 {window.start}")
        mask = _mask(renderer, window)
        if mask is None:
            vector = renderer.put(f"load {kind}, ptr {place}, align {align}")
        else:
            renderer.declares.add(
                f"declare {kind} @llvm.masked.load.{name}.p0(ptr, {mask_type}, {kind})"
            )
            vector = renderer.put(
                f"call {kind} @llvm.masked.load.{name}.p0(ptr align {align} {place}, "
                f"{mask_type} {mask}, {kind} zeroinitializer)"
            )
        for position, lane in enumerate(window.lane):
            if lane is not None and done[lane] is None:
                done[lane] = position if result is None else lanes + position
        first, second = (vector, "poison") if result is None else (result, vector)
        result = renderer.put(f"shufflevector {kind} {first}, {kind} {second}, {_order(done)}")
        done = [None if k is None else lane for lane, k in enumerate(done)]
    assert result is not None
    return result


def store(
    renderer: Any, where: str, stride: int, element: str, name: str, align: int, value: str
) -> None:
    """Write ``value``'s lanes to ``where`` and every ``stride`` on; parameters as in `load`."""
    lanes = renderer.lanes
    kind, mask_type = f"<{lanes} x {element}>", f"<{lanes} x i1>"
    for window in windows(stride, lanes):
        place = renderer.put(f"getelementptr {element}, ptr {where}, i64 {window.start}")
        order = _order(list(window.lane))
        spread = renderer.put(f"shufflevector {kind} {value}, {kind} poison, {order}")
        mask = _mask(renderer, window)
        if mask is None and None not in window.lane:
            renderer.line(f"store {kind} {spread}, ptr {place}, align {align}")
            continue
        if mask is None:
            owned = ", ".join(f"i1 {'false' if k is None else 'true'}" for k in window.lane)
            mask = f"<{owned}>"
        renderer.declares.add(
            f"declare void @llvm.masked.store.{name}.p0({kind}, ptr, {mask_type})"
        )
        renderer.line(
            f"call void @llvm.masked.store.{name}.p0({kind} {spread}, "
            f"ptr align {align} {place}, {mask_type} {mask})"
        )
