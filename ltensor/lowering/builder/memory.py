"""Buffers: their sizes in bytes, addresses of elements, loads and stores, words, native calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.lowering.builder.arithmetic import Arithmetic
from ltensor.lowering.builder.values import Scalar
from ltensor.lowering.cpu import block_pool
from ltensor.lowering.program import Buffer, Complex, Value, View

#: no buffer is larger (bytes), so that offsets never overflow
MOST_BYTES = 1 << 61
#: the size asked for in place of one that is larger
TOO_MANY_BYTES = (1 << 63) - 1


class Memory(Arithmetic):
    """Buffers, views, frames and calls; see `Builder`."""

    def __init__(self, name: str, threads: int) -> None:
        super().__init__(name, threads)
        #: sizes of arrays that are in memory when the function begins
        self._existing: dict[tuple[int, ...], tuple[Value, ...]] = {}

    def size(self, dims: Sequence[Value]) -> Value:
        """The product of ``dims``."""
        total: Any = self.const(1)
        for dim in dims:
            total = self.mul(total, dim)
        return total

    def note_existing(self, dims: Sequence[Value]) -> None:
        """An array of these sizes is in memory: those of another of them can be counted."""
        self._existing[self._open_sizes(dims)] = tuple(dims)  # held: an id is for life
        self._lengths.update(dims)

    def _open_sizes(self, dims: Sequence[Value]) -> tuple[int, ...]:
        # a size of the array that was left out might be 0, and the others anything
        return tuple(sorted(id(dim) for dim in dims if self.number(dim) != 1))

    def byte_size(self, dtype: str, dims: Sequence[Value]) -> Value:
        """The bytes of a dense buffer; a number that no allocator grants if they overflow.

        Compared in floating point, because the product of integers may wrap to anything.
        """
        if self._open_sizes(dims) in self._existing:
            return self.mul(self.size(dims), dt.item_size(dtype))
        known = dt.item_size(dtype)
        open_dims = []
        for dim in dims:
            number = self.number(dim)
            if number is None:
                open_dims.append(dim)
            else:
                known *= number
        if known >= MOST_BYTES:
            # an unknown size may still be zero, but then nothing is lost either
            return self.const(TOO_MANY_BYTES)
        if not open_dims:
            return self.const(known)
        size = self.mul(self.size(open_dims), known)
        rough: Any = self.cast(open_dims[0], "float64")
        for dim in open_dims[1:]:
            rough = self.mul(rough, self.cast(dim, "float64"))
        fits = self.lt(rough, self.const(MOST_BYTES / max(known, 1), "float64"))
        return self.select(fits, size, self.const(TOO_MANY_BYTES))

    def fits_memory(self, dtype: str, dims: Sequence[Value]) -> Value:
        """Whether the bytes of an array of ``dims`` can be counted at all."""
        if self._open_sizes(dims) in self._existing:
            return self.const(True, "bool")
        return self.le(self.byte_size(dtype, dims), MOST_BYTES)

    def address(self, view: View, index: Sequence[Any]) -> Value:
        """The element offset of ``view[index]`` from its pointer."""
        total: Any = view.offset if view.offset is not None else self.const(0)
        if len(index) != view.ndim:
            raise ValueError(f"{len(index)} indices for a view of {view.ndim} dimensions")
        if view.strides is None:
            terms: list[Any] = []
            for k, position in enumerate(index):
                terms.append(self.mul(position, self.size(view.dims[k + 1 :])))
        else:
            terms = [self.mul(i, s) for i, s in zip(index, view.strides, strict=True)]
        # outermost loops first, so that their part of the sum is hoisted
        for term in sorted(terms, key=lambda t: t.scope.depth):
            total = self.add(total, term)
        return total

    def strides(self, view: View) -> tuple[Value, ...]:
        """The strides of a view, of a dense one too."""
        if view.strides is not None:
            return view.strides
        return tuple(self.size(view.dims[k + 1 :]) for k in range(view.ndim))

    def load(self, view: View, index: Sequence[Any]) -> Any:
        """The element of ``view`` at ``index``."""
        index = [i if isinstance(i, Value) else self.const(i) for i in index]
        offset = self.address(view, index)
        if dt.is_complex(view.dtype):
            part = dt.real_part(view.dtype)
            twice = self.mul(offset, 2)
            return Complex(
                self._load(part, view.pointer, twice),
                self._load(part, view.pointer, self.add(twice, 1)),
                view.dtype,
            )
        return self._load(view.dtype, view.pointer, offset)

    def _load(self, dtype: str, pointer: Value, offset: Value) -> Value:
        key = ("load", dtype, self._epoch, id(pointer), id(offset))
        found = self.scope.table.get(key)
        if found is None:
            found = self.effect("load", dtype, (pointer, offset))
            self.scope.table[key] = found
        return found

    def store(self, view: View, index: Sequence[Any], value: Scalar) -> None:
        """Write an element."""
        index = [i if isinstance(i, Value) else self.const(i) for i in index]
        if not isinstance(value, (Value, Complex)):
            value = self.const(value, view.dtype)
        offset = self.address(view, index)
        self._epoch += 1
        if isinstance(value, Complex):
            part = dt.real_part(view.dtype)
            twice = self.mul(offset, 2)
            self.effect("store", "void", (view.pointer, twice, value.re), part)
            self.effect("store", "void", (view.pointer, self.add(twice, 1), value.im), part)
            return
        self.effect("store", "void", (view.pointer, offset, value), view.dtype)

    def shifted(self, view: View, offset: Any) -> Value:
        """A pointer ``offset`` elements into the buffer of ``view``."""
        offset = offset if isinstance(offset, Value) else self.const(offset)
        base = view.offset
        if base is not None:
            offset = self.add(base, offset)
        if self.number(offset) == 0:
            return view.pointer
        return self.pure("ptradd", "ptr", (view.pointer, offset), view.dtype)

    def row(self, view: View, index: Any) -> View:
        """``view[index]``: the window of one row."""
        index = index if isinstance(index, Value) else self.const(index)
        if view.strides is None:
            step = self.mul(index, self.size(view.dims[1:]))
            return View(view.dtype, self.shifted(view, step), view.dims[1:])
        step = self.mul(index, view.strides[0])
        rest = view.strides[1:]
        return View(view.dtype, self.shifted(view, step), view.dims[1:], rest if rest else None)

    #: the Apply that is being lowered: what a buffer without a reason is for
    lowered_node: Any = None

    def temporary(
        self, dtype: str, dims: Sequence[Value], reason: tuple[Any, ...] | None = None
    ) -> View:
        """A dense buffer of the call, allocated where its size is known.

        ``reason`` says why it exists (`Buffer`, in ``lowering.program``).
        """
        slot = self.program.slots
        self.program.slots += 1
        self.program.calls.update(block_pool.SYMBOLS)
        pointer = self.pure("ensure", "ptr", (self.byte_size(dtype, dims),), slot)
        dims = tuple(dims)
        why = ("scratch", self.lowered_node) if reason is None else reason
        self.program.buffers.append(Buffer(pointer, dtype, dims, why))
        return View(dtype, pointer, dims)

    def grow(self, slot: int, used: Value, size: Value) -> None:
        """Make a buffer of the call at least ``size`` bytes large; its first ``used`` ones stay."""
        self._epoch += 1
        self.effect("grow", "void", (used, size), slot)

    def remembered(self, number: int) -> Value:
        """The address of a word that keeps its value between calls, 0 at first; a hint only."""
        return self.pure("remembered", "ptr", (), number)

    def local(self, dtype: str) -> View:
        """A scalar in the native frame, for values that leave a branch."""
        return View(dtype, self.local_array(dtype, 1).pointer, ())

    def local_array(self, dtype: str, count: int) -> View:
        """A small array in the native frame."""
        number = len(self.program.locals)
        self.program.locals.append((dtype, count))
        pointer = self.pure("local", "ptr", (), number)
        return View(dtype, pointer, (self.const(count),))

    def frame(self, slot: int, dtype: str = "int64") -> Value:
        """A word of the call frame."""
        return self.pure("frame", dtype, (), slot)

    def table(self, entry: int, dtype: str = "ptr") -> Value:
        """A word of the function's table of addresses (constants, shared variables, callbacks)."""
        return self.pure("table", dtype, (), entry)

    def raw_load(self, pointer: Value, word: int, dtype: str = "int64") -> Value:
        """A word behind a pointer."""
        return self.effect("load", dtype, (pointer, self.const(word)))

    def raw_store(self, pointer: Value, word: int, value: Value) -> None:
        """Write a word behind a pointer."""
        self._epoch += 1
        dtype = value.dtype
        self.effect("store", "void", (pointer, self.const(word), value), dtype)

    def memcpy(self, target: Value, source: Value, size: Value) -> None:
        """Copy bytes between buffers that do not overlap."""
        self._epoch += 1
        self.effect("memcpy", "void", (target, source, size))

    def call(self, symbol: str, args: Sequence[Value], dtype: str = "void") -> Value:
        """Call a run-time function. Integers are passed as i64, floats as they are."""
        self._epoch += 1
        self.program.calls.add(symbol)
        return self.effect("call", dtype, tuple(args), symbol)

    def call_pointer(self, pointer: Value, args: Sequence[Value], dtype: str = "void") -> Value:
        """Call a function by its address."""
        self._epoch += 1
        return self.effect("call_pointer", dtype, (pointer, *args))
