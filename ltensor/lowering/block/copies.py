"""Copies between buffers: of bytes where elements lie next to each other, else by a loop."""

from __future__ import annotations

from contextlib import ExitStack

from ltensor.ir import dtypes as dt
from ltensor.lowering.builder import Builder
from ltensor.lowering.program import View


def copy_elements(b: Builder, target: View, source: View) -> None:
    """Copy elements between buffers of equal dims."""
    if target.dense and source.dense:
        if target.pointer is source.pointer and target.offset is source.offset:
            # a state that is updated in place
            return
        size = b.mul(b.size(target.dims), dt.item_size(target.dtype))
        b.memcpy(b.shifted(target, 0), b.shifted(source, 0), size)
        return
    if len(target.dims) == 2 and _dense_rows(target) and _dense_rows(source):
        # row by row: a call is less code than a loop over lanes, and compiled in no time
        size = b.mul(target.dims[1], dt.item_size(target.dtype))
        with b.loop(target.dims[0], parallel=True) as loop:
            rows = (b.row(target, loop.index), b.row(source, loop.index))
            b.memcpy(b.shifted(rows[0], 0), b.shifted(rows[1], 0), size)
        return
    with ExitStack() as stack:
        index = []
        for k, dim in enumerate(target.dims):
            kind = "vector" if k == len(target.dims) - 1 else "serial"
            step = stack.enter_context(b.loop(dim, kind=kind, parallel=True))
            index.append(step.index)
        b.store(target, index, b.load(source, index))


def _dense_rows(view: View) -> bool:
    """Whether the elements of a row are next to each other."""
    step = None if view.strides is None else view.strides[-1]
    return step is None or (step.op == "const" and step.attr == 1)
