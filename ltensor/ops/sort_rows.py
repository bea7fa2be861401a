"""How the run time's ``lt_sort_<dtype>`` and ``lt_argsort_<dtype>`` are called.

What they do is in `ltensor.lowering.sorting`.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

#: dtypes of the rows; complex and half-precision ones are not among them
DTYPES = frozenset(
    (
        "bool",
        "float32",
        "float64",
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    )
)
#: places that fit the lower half of a key
PACKED_PLACES = (1 << 32) - 1
#: lanes of the widest vectors, for the size of the work space
MOST_LANES = 16


def is_wide(dtype: str) -> bool:
    """Whether an element takes a word, and leaves no room for its place."""
    return dtype.endswith("64")


def work_words(dtype: str, places: bool) -> tuple[int, int]:
    """Words of 8 bytes of the work space: for each element, and besides."""
    if not places and not is_wide(dtype):
        return 1, 4 * MOST_LANES
    columns = 2 if places and is_wide(dtype) else 1
    return 2 * columns, 8 * MOST_LANES * columns


def sort_rows(k: Any, x: Any, target: Any, axis: int, places: bool) -> None:
    """Write the elements of ``x`` along ``axis`` into ``target`` in ascending order.

    Parameters
    ----------
    k : KernelContext
    x, target : View
        Of one shape.
    places : bool
        Write where the elements are instead.
    """
    b, length = k.b, x.dims[axis]
    if places and not is_wide(x.dtype):
        few = b.le(length, PACKED_PLACES)
        k.check(few, "too_many_places", (length,), (k.node.op.ir_name, x.dtype))
    each, more = work_words(x.dtype, places)
    work = b.temporary("int64", (b.add(b.mul(length, each), more),))
    symbol = f"lt_{'argsort' if places else 'sort'}_{x.dtype}"
    with ExitStack() as stack:
        index: list[Any] = [b.const(0)] * x.ndim
        label = str(k.node.op)
        for other, extent in enumerate(x.dims):
            if other != axis:
                loop = stack.enter_context(b.loop(extent, parallel=True, label=label))
                index[other], label = loop.index, ""
        ends: list[Any] = []
        for view in (x, target):
            first = type(view)(view.dtype, view.pointer, (), (), b.address(view, index))
            ends += [b.shifted(first, 0), b.strides(view)[axis]]
        b.call(symbol, [*ends, length, work.pointer])
