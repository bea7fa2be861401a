"""Products shared by threads: a large one is cut by columns or rows, a batch by its matrices.

Each thread runs the product of `dispatch` on its part. A part has fewer rows or columns than the
whole, for which another kernel may be chosen, so that the last bits can depend on the number of
threads; they do not depend on who runs which part.
"""

from __future__ import annotations

import functools

from ltensor.lowering.cpu import jit, thread_pool
from ltensor.lowering.cpu.once import Once
from ltensor.lowering.gemm import dispatch
from ltensor.lowering.gemm.element import Element, SimpleHost
from ltensor.lowering.gemm.form import batched_params, gemm_params
from ltensor.lowering.gemm.writer import Writer

#: multiplications of a product from which on it is shared if the workers are awake
WORTH_SHARING = 1 << 18
#: picoseconds that a multiplication is taken for: a product worth waking workers has 1.5 million
COST = 27
#: columns and rows of a part are multiples of these: whole lines of a cache, whole tiles
COLUMNS, ROWS = 16, 8
#: cut by columns where there are so many: each thread packs its part of B, all read A
MANY_COLUMNS = 256

_EXTRA = {"matmul": "", "matmul_kept": ", i64 %rows"}


def is_threaded(symbol: str) -> bool:
    """Whether threads can share the product called ``symbol``."""
    return symbol.startswith("lt_matmul") and symbol.rsplit("_", 1)[1] in ("f32", "f64")


def address(symbol: str, serial: int, threads: int) -> int:
    """The address of the product that ``threads`` share, given that of the one for a thread."""
    return _module(symbol, serial, threads).address(_name(symbol))


def _name(symbol: str) -> str:
    return symbol.replace("lt_", "lt_threaded_", 1)


@Once
def _module(symbol: str, serial: int, threads: int) -> jit.CompiledModule:
    short = symbol.rsplit("_", 1)[1]
    complete = f"lt_complete_{short}"
    external = {
        symbol: serial,
        complete: dispatch.address(complete, "float32" if short == "f32" else "float64"),
        **thread_pool.words(),
    }
    text = functools.partial(module_text, symbol, threads)
    return jit.compile_library(f"{symbol} by {threads} threads", text, external)


def module_text(symbol: str, threads: int) -> str:
    """The LLVM text for one symbol of `dispatch`, cut into ``threads`` parts."""
    form, short = symbol.removeprefix("lt_").rsplit("_", 1)
    el = Element.make("float32" if short == "f32" else "float64", SimpleHost())
    if form == "matmul_batched":
        params = batched_params(el)
        whole, part = _batch(el, symbol, params, threads)
    else:
        params = gemm_params(el) + _EXTRA[form]
        whole, part = _plain(el, symbol, params, threads, form == "matmul_kept")
    types = ", ".join(p.split()[0] for p in params.split(", "))
    return (
        f"declare void @{symbol}({types})\n"
        f"declare void @lt_complete_{short}()\n"
        f"@lt_parallel_for_word = external global ptr\n{part}{whole}"
    )


def _arguments(params: str) -> list[tuple[str, str]]:
    return [tuple(p.split()) for p in params.split(", ")]  # type: ignore[misc]


def _record(w: Writer, values: list[tuple[str, str]]) -> str:
    """Write values into a record on the stack; returns its address."""
    place = w.let(f"alloca [{len(values)} x i64], align 16")
    for number, (kind, name) in enumerate(values):
        w.do(f"store {kind} {name}, ptr {w.at(place, 8 * number)}")
    return place


def _read(w: Writer, values: list[tuple[str, str]]) -> dict[str, str]:
    """Read the values of a record back."""
    return {
        name: w.let(f"load {kind}, ptr {w.at('%data', 8 * number)}")
        for number, (kind, name) in enumerate(values)
    }


def _call(w: Writer, symbol: str, params: str, values: dict[str, str]) -> None:
    given = ", ".join(f"{kind} {values.get(name, name)}" for kind, name in _arguments(params))
    w.do(f"call void @{symbol}({given})")


def _share(
    w: Writer, part: str, record: str, extent: str, work: str, threads: int, grain: int
) -> None:
    """Hand ``extent`` over to the threads in as many chunks as there are threads."""
    cost = w.mul(work, COST)
    chunk = w.mul(w.ceil_div(w.ceil_div(extent, threads), grain), grain)
    pool = w.let("load ptr, ptr @lt_parallel_for_word")
    w.let(f"call i32 {pool}(ptr @{part}, ptr {record}, i64 {extent}, i64 {chunk}, i64 {cost})")


def _plain(el: Element, symbol: str, params: str, threads: int, kept: bool) -> tuple[str, str]:
    arguments = _arguments(params)
    part = f"{_name(symbol)}_part"
    w = Writer(f"define void @{_name(symbol)}({params})")
    work = w.mul(w.mul("%M", "%N"), "%K")
    small = w.test("slt", work, WORTH_SHARING)
    narrow = w.both(w.test("slt", "%M", 2 * ROWS), w.test("slt", "%N", MANY_COLUMNS))
    with w.when_return(w.either(small, narrow)):
        _call(w, symbol, params, {})
    by_columns = w.both(
        w.test("sge", "%N", MANY_COLUMNS),
        w.either(w.test("sge", "%N", "%M"), w.test("slt", "%M", 2 * ROWS)),
    )
    if kept:  # a packed B is cut nowhere
        by_columns = w.both(by_columns, w.test("eq", "%rows", 0))
        alone = w.both(w.test("ne", "%rows", 0), w.test("slt", "%M", 2 * ROWS))
        with w.when_return(alone):
            _call(w, symbol, params, {})
    flag = w.let(f"zext i1 {by_columns} to i64")
    record = _record(w, [*arguments, ("i64", flag)])
    w.do(f"call void @lt_complete_{el.name}()")  # threads cannot have parts of it compiled
    with w.when_return(by_columns):
        _share(w, part, record, "%N", work, threads, COLUMNS)
    _share(w, part, record, "%M", work, threads, ROWS)
    w.do("ret void")

    p = Writer(f"define internal i32 @{part}(ptr %data, i64 %begin, i64 %end)")
    values = _read(p, [*arguments, ("i64", "columns")])
    count = p.sub("%end", "%begin")
    columns = p.test("ne", values["columns"], 0)
    a_step = p.pick(columns, 0, values["%ars"])
    b_step = p.pick(columns, values["%bcs"], 0)
    c_step = p.pick(columns, 1, values["%crs"])
    for name, step in (("%A", a_step), ("%B", b_step), ("%C", c_step)):
        values[name] = p.at(values[name], p.mul(p.mul("%begin", step), el.size))
    values["%M"] = p.pick(columns, values["%M"], count)
    values["%N"] = p.pick(columns, count, values["%N"])
    _call(p, symbol, params, values)
    p.do("ret i32 0")
    return w.text(), p.text()


def _batch(el: Element, symbol: str, params: str, threads: int) -> tuple[str, str]:
    arguments = _arguments(params)
    part = f"{_name(symbol)}_part"
    w = Writer(f"define void @{_name(symbol)}({params})")
    work = w.mul(w.mul(w.mul("%M", "%N"), "%K"), "%batch")
    with w.when_return(w.test("slt", work, WORTH_SHARING)):
        _call(w, symbol, params, {})
    record = _record(w, arguments)
    w.do(f"call void @lt_complete_{el.name}()")
    _share(w, part, record, "%batch", work, threads, 1)
    w.do("ret void")

    p = Writer(f"define internal i32 @{part}(ptr %data, i64 %begin, i64 %end)")
    values = _read(p, arguments)
    for base, stride in (("%A", "%abs"), ("%B", "%bbs"), ("%C", "%cbs")):
        values[base] = p.at(values[base], p.mul(p.mul("%begin", values[stride]), el.size))
    values["%batch"] = p.sub("%end", "%begin")
    _call(p, symbol, params, values)
    p.do("ret i32 0")
    return w.text(), p.text()
