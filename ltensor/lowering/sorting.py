"""Sorting rows of numbers by vectors: merge sort whose merges are networks of min and max.

Lowering layer. ``lt_sort_<dtype>`` writes a row in ascending order, ``lt_argsort_<dtype>`` the
places of its elements; equal elements stay in order, NaNs come last. Elements become integers of
the same order first (of a float those of its bits that are wanted), so that a comparison is one
instruction and NaN is no special case. Places travel in the lower half of a 64-bit key, or, if
that is taken, in a column of their own.

Two sorted vectors are merged by Batcher's bitonic network as Stone arranged it ("Parallel
processing with the perfect shuffle", 1971): five times min, max and an interleaving for 16 lanes.
Runs are merged vector by vector, from both ends at once, because one chain of networks waits for
its own results. Merges work in pieces that stay in the second cache as long as that is possible.
"""

from __future__ import annotations

from collections.abc import Callable

from ltensor.lowering.rng.builder import Function, Module, Value, Var, vector
from ltensor.ops.sort_rows import PACKED_PLACES, is_wide

#: parameters of both functions; steps in elements
PARAMS = {
    "source": "ptr",
    "source_step": "i64",
    "target": "ptr",
    "target_step": "i64",
    "n": "i64",
    "work": "ptr",
}
#: dtypes -> LLVM's type of an element, and how its bits are read
_ELEMENTS = {
    "bool": ("i8", "unsigned"),
    "float32": ("i32", "float"),
    "float64": ("i64", "float"),
    **{f"int{bits}": (f"i{bits}", "signed") for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (f"i{bits}", "unsigned") for bits in (8, 16, 32, 64)},
}
#: elements that are merged among themselves before they meet others
_PIECE = 1 << 15
#: A vector of keys, or one of keys and one of places.
Row = list[Value]


def module_text(dtype: str, places: bool, vector_bytes: int) -> str:
    """LLVM IR of ``lt_sort_<dtype>`` or ``lt_argsort_<dtype>``.

    Parameters
    ----------
    dtype : str
    places : bool
        ``argsort``.
    vector_bytes : int
        Of the machine's registers.

    Examples
    --------
    >>> "define void @lt_argsort_float32(" in module_text("float32", True, 32)
    True
    """
    module = Module()
    name = f"lt_{'argsort' if places else 'sort'}_{dtype}"
    merge = dict.fromkeys(("source", "target"), "ptr")
    merge |= dict.fromkeys(("padded", "a", "middle", "end"), "i64")
    with module.function("merge", "void", merge, local="noinline") as f:
        _Sort(f, dtype, places, vector_bytes).write_merge()
    with module.function(name, "void", PARAMS) as f:
        _Sort(f, dtype, places, vector_bytes).write()
    return module.text()


class _Sort:
    """Writes one function."""

    def __init__(self, f: Function, dtype: str, places: bool, vector_bytes: int) -> None:
        self.f, self.places = f, places
        self.element, self.kind = _ELEMENTS[dtype]
        self.packed = places and not is_wide(dtype)
        self.key = "i64" if places or is_wide(dtype) else "i32"
        self.columns = 2 if places and not self.packed else 1
        self.lanes = max(2, vector_bytes // (8 if self.key == "i64" else 4))
        self.row_type = vector(self.key, self.lanes)

    def write(self) -> None:
        """The whole function."""
        f, lanes = self.f, self.lanes
        (n,) = f.args("n")
        with f.when(n < 1):
            f.ret()
        self.padded = (n + (lanes - 1)) & -lanes
        self._in(n)
        with f.count(self.padded, step=lanes) as i:
            self._put(self._buffer(0), i, self._sorted(self._get(self._buffer(0), i)))
        side, width = f.var("i64", 0), f.var("i64", lanes)
        # pieces by themselves, then what is wider than they are
        piece = f.const("i64", _PIECE)
        done = f.label("done")
        f.goto_if(self.padded <= lanes, done)
        with f.count(self.padded, step=_PIECE) as begin:
            side.value = 0
            width.value = lanes
            rest = self.padded - begin
            end = begin + (rest < piece).pick(rest, piece)
            self._levels(begin, end, side, width, (self.padded < piece).pick(self.padded, piece))
        self._levels(f.const("i64", 0), self.padded, side, width, self.padded)
        f.place(done)
        self._out(n, self._buffer(side.value))

    # -- memory ---------------------------------------------------------------------------

    def _buffer(self, side: Value | int) -> Value:
        """Where the rows of one of the two buffers begin: a vector is free before and after."""
        f, (work,) = self.f, self.f.args("work")
        return f.at(self.key, work, (self.padded + 2 * self.lanes) * side + self.lanes)

    def _column(self, base: Value, number: int) -> Value:
        """The same place in a further column."""
        if number == 0:
            return base
        return self.f.at(self.key, base, (self.padded + 2 * self.lanes) * (2 * number))

    def _get(self, base: Value, where: Value) -> Row:
        f = self.f
        return [f.load(self.row_type, self._column(base, c), where) for c in range(self.columns)]

    def _put(self, base: Value, where: Value, row: Row) -> None:
        for c, value in enumerate(row):
            self.f.store(value, self._column(base, c), where)

    # -- in and out -----------------------------------------------------------------------

    def _in(self, n: Value) -> None:
        """Fill the first buffer with keys."""
        f, base = self.f, self._buffer(0)
        source, step = f.args("source", "source_step")

        def copy(where: Value, lanes: int) -> None:
            element = f.load(vector(self.element, lanes), source, where * step)
            place = where if lanes == 1 else self._counted(where, lanes)
            for c, value in enumerate(self._keys(element, place, lanes)):
                f.store(value, self._column(base, c), where)

        self._each(n, step, copy)
        last = (1 << (63 if self.key == "i64" else 31)) - 1
        with f.count(self.padded, start=n) as i:
            for c in range(self.columns):
                f.store(f.const(self.key, last), self._column(base, c), i)

    def _out(self, n: Value, base: Value) -> None:
        """Write what was asked for from the sorted buffer."""
        f = self.f
        target, step = f.args("target", "target_step")

        def copy(where: Value, lanes: int) -> None:
            column = self._column(base, self.columns - 1)
            found = f.load(vector(self.key, lanes), column, where)
            if self.packed:
                found = found & PACKED_PLACES
            elif not self.places:
                found = self._element_of(found, lanes)
            f.store(found, target, where * step)

        self._each(n, step, copy)

    def _each(self, n: Value, step: Value, copy: Callable[[Value, int], None]) -> None:
        """Go through a row by vectors if its elements are neighbours, else one by one."""
        f = self.f
        whole = step.eq(1).pick(n & -self.lanes, 0)
        with f.count(whole, step=self.lanes) as i:
            copy(i, self.lanes)
        with f.count(n, start=whole) as i:
            copy(i, 1)

    def _counted(self, first: Value, lanes: int) -> Value:
        ty = vector("i64", lanes)
        numbers = ", ".join(f"i64 {k}" for k in range(lanes))
        return self.f.splat(first, lanes) + Value(self.f, ty, f"<{numbers}>")

    def _keys(self, x: Value, place: Value, lanes: int) -> Row:
        """Integers, signed, in the order of the elements."""
        f = self.f
        bits = int(self.element[1:])
        wide = vector(self.key, lanes)
        if self.kind == "float":
            x = self._float_key(x, bits)
        if self.kind == "unsigned" and bits == 64:
            x = x ^ -(1 << 63)
        elif self.element != self.key:
            x = x.convert("zext" if self.kind == "unsigned" else "sext", wide)
        elif self.kind == "unsigned":
            x = x ^ -(1 << 31)
        if not self.places:
            return [x]
        if not self.packed:
            return [x, place]
        if self.kind == "unsigned" and bits == 32:
            x = x ^ (1 << 31)
        return [f.bits("shl", x, 32) | place]

    def _float_key(self, x: Value, bits: int) -> Value:
        f, top = self.f, (1 << (bits - 1)) - 1
        infinity = 0x7F800000 if bits == 32 else 0x7FF0000000000000
        size = x & top
        nan = size > infinity
        if self.places:
            # all NaNs are alike, and both zeros
            x = size.eq(0).pick(0, x)
        else:
            x = nan.pick(size, x)
        key = x ^ (f.bits("ashr", x, bits - 1) & top)
        return nan.pick(top, key) if self.places else key

    def _element_of(self, key: Value, lanes: int) -> Value:
        bits = int(self.element[1:])
        if self.kind == "float":
            top = (1 << (bits - 1)) - 1
            return key ^ (self.f.bits("ashr", key, bits - 1) & top)
        if self.element != self.key:
            return key.convert("trunc", vector(self.element, lanes))
        return key ^ -(1 << (bits - 1)) if self.kind == "unsigned" else key

    # -- networks -------------------------------------------------------------------------

    def _less(self, a: Row, b: Row) -> Value:
        test = a[0] < b[0]
        if self.columns == 1:
            return test
        return test | (a[0].eq(b[0]) & (a[1] < b[1]))

    def _ordered(self, a: Row, b: Row) -> tuple[Row, Row]:
        """The lesser and the greater, lane by lane."""
        test = self._less(a, b)
        pairs = list(zip(a, b, strict=True))
        return [test.pick(x, y) for x, y in pairs], [test.pick(y, x) for x, y in pairs]

    def _shuffled(self, a: Row, b: Row, order: list[int]) -> Row:
        return [self.f.shuffle(x, y, order) for x, y in zip(a, b, strict=True)]

    def _sorted(self, row: Row) -> Row:
        """The lanes of one vector in ascending order."""
        lanes, size = self.lanes, 2
        while size <= lanes:
            flip = size - 1
            while flip:
                partner = [k ^ flip for k in range(lanes)]
                low, high = self._ordered(row, self._shuffled(row, row, partner))
                order = [k if k < p else lanes + k for k, p in enumerate(partner)]
                row = self._shuffled(low, high, order)
                flip = size // 4 if flip == size - 1 else flip // 2
            size *= 2
        return row

    def _merged(self, a: Row, b: Row) -> tuple[Row, Row]:
        """The lower and the upper half of two sorted vectors."""
        lanes = self.lanes
        b = self._shuffled(b, b, list(reversed(range(lanes))))
        halves = [
            [start + k // 2 + (lanes if k % 2 else 0) for k in range(lanes)]
            for start in (0, lanes // 2)
        ]
        steps = 1
        while steps <= lanes:
            low, high = self._ordered(a, b)
            a, b = (self._shuffled(low, high, order) for order in halves)
            steps *= 2
        return a, b

    # -- merges ---------------------------------------------------------------------------

    def _levels(self, begin: Value, end: Value, side: Var, width: Var, until: Value) -> None:
        """Merge runs of ``width`` between ``begin`` and ``end`` until they have ``until``."""
        f = self.f
        again, done = f.label("level"), f.label("merged")
        f.place(again)
        now = width.value
        f.goto_if(now >= until, done)
        source, target = self._buffer(side.value), self._buffer(1 - side.value)
        first = f.var("i64", begin)
        pair, last = f.label("pair"), f.label("last")
        f.place(pair)
        a = first.value
        f.goto_if(a >= end, last)
        middle, far = a + now, a + now + now
        middle = (middle < end).pick(middle, end)
        far = (far < end).pick(far, end)
        f.call("merge", source, target, self.padded, a, middle, far)
        first.value = far
        f.goto(pair)
        f.place(last)
        side.value = 1 - side.value
        width.value = now + now
        f.goto(again)
        f.place(done)

    def write_merge(self) -> None:
        """Merge the runs from ``a`` and from ``middle``, which is ``end`` if there is but one."""
        f, lanes = self.f, self.lanes
        source, target, a, middle, end = f.args("source", "target", "a", "middle", "end")
        (self.padded,) = f.args("padded")
        alone, finished = f.label("alone"), f.label("finished")
        f.goto_if(middle >= end, alone)
        rows = range(self.columns)
        low = [f.var(self.row_type, v) for v in self._get(source, a)]
        high = [f.var(self.row_type, v) for v in self._get(source, middle - lanes)]
        low_next = [f.var(self.row_type, v) for v in self._get(source, middle)]
        high_next = [f.var(self.row_type, v) for v in self._get(source, end - lanes)]
        # what is left of each run: from here on, up to there
        left, right = f.var("i64", a + lanes), f.var("i64", middle + lanes)
        left_end, right_end = f.var("i64", middle - lanes), f.var("i64", end - lanes)

        def up(where: Value) -> None:
            lower, upper = self._merged([v.value for v in low], [v.value for v in low_next])
            self._put(target, where, lower)
            i, j = left.value, right.value
            x, y = f.load(self.key, source, i), f.load(self.key, source, j)
            first = (i < middle) & ((j >= end) | (x <= y))
            following = self._get(source, first.pick(i, j))
            for c in rows:
                low[c].value, low_next[c].value = upper[c], following[c]
            left.value = first.pick(i + lanes, i)
            right.value = first.pick(j, j + lanes)

        def down(where: Value) -> None:
            lower, upper = self._merged([v.value for v in high], [v.value for v in high_next])
            self._put(target, where, upper)
            i, j = left_end.value, right_end.value
            x, y = f.load(self.key, source, i - 1), f.load(self.key, source, j - 1)
            first = (i > a) & ((j <= middle) | (x > y))
            following = self._get(source, first.pick(i, j) - lanes)
            for c in rows:
                high[c].value, high_next[c].value = lower[c], following[c]
            left_end.value = first.pick(i - lanes, i)
            right_end.value = first.pick(j, j - lanes)

        # of an odd number of vectors the one in the middle is written twice
        with f.count((end - a + lanes) >> 1 & -lanes, step=lanes) as i:
            up(a + i)
            down(end - lanes - i)
        f.goto(finished)
        f.place(alone)
        with f.count(end, start=a, step=lanes) as i:
            self._put(target, i, self._get(source, i))
        f.place(finished)
