"""The text of the module of matrix products of one dtype.

Lowering layer. Assembles tiles, packing, dot products and loop nests; `dispatch` adds BLAS.
"""

from __future__ import annotations

import functools
import re

from ltensor.lowering.gemm.dot import dot_text, dot_tile
from ltensor.lowering.gemm.driver import Driver, splits_text, tile_text, tiles_text
from ltensor.lowering.gemm.element import Element, Host, declarations
from ltensor.lowering.gemm.form import SELDOM, gemm_params
from ltensor.lowering.gemm.kept import KeptDriver
from ltensor.lowering.gemm.narrow import flipped_text, narrow_text
from ltensor.lowering.gemm.pack import pack_text, raw_vector, turn_text
from ltensor.lowering.gemm.plan import Plan
from ltensor.lowering.gemm.seek import seek_text
from ltensor.lowering.gemm.tables import (
    PARTS,
    has_dot,
    has_kept,
    has_narrow,
    has_turn,
    part_symbol,
    tables_types,
    tile_kinds,
)
from ltensor.lowering.gemm.tile import TileEmitter


def module_text(dtype: str, host: Host, plan: Plan | None = None) -> str:
    """Return LLVM IR that defines ``lt_gemm_<dtype>``, with all that it may call.

    The run time has the same functions in parts, see `base_text` and `part_text`.

    ``void @lt_gemm_f32(i64 M, i64 N, i64 K, ptr A, i64 ars, i64 acs, ptr B, i64 brs, i64 bcs,
    ptr C, i64 crs, float alpha, float beta)`` sets C = alpha * A @ B + beta * C. Strides count
    elements; C has adjacent columns and does not overlap A or B. C is not read if beta is zero.
    Complex types take ``alpha, alpha_im, beta, beta_im``. External symbols: malloc, free.

    For real floating types it also defines ``lt_keep_<dtype>`` and ``lt_kept_<dtype>``, see `kept`.

    Parameters
    ----------
    dtype : str
        ``float32`` or ``f32``, and so on.
    host : Host
        Gives `vector_bytes` and `has_fma`.
    plan : Plan, optional
        Other tile and block sizes, for measurements.

    Examples
    --------
    >>> from ltensor.lowering.gemm.element import SimpleHost
    >>> "define void @lt_gemm_f64(" in module_text("float64", SimpleHost(32, True))
    True
    """
    el = Element.make(dtype, host)
    plan = plan or Plan.make(el)
    parts = [
        tiles_text(el, plan),
        pack_text(el),
        turn_text(el) if has_turn(el) else "",
        dot_text(el) if has_dot(el) else "",
        narrow_text(el) + flipped_text(el) if has_narrow(el) else "",
        Driver(el, plan).text(),
        KeptDriver(el, plan).text() if has_kept(el) else "",
    ]
    return _module(el, "".join(parts))


def base_text(el: Element, plan: Plan, more: str = "") -> str:
    """Return the module that chooses the form of a product: ``lt_gemm`` without its parts.

    Parameters
    ----------
    more : str
        Functions that belong to it as well.

    Notes
    -----
    Its tables ``lt_tiles``, ``lt_scalar_tiles`` and ``lt_parts`` hold the addresses of parts, null
    at first. External symbol: ``void lt_load_<dtype>(ptr slot, ptr result)``, which fills a
    slot in and writes the same address to the result.
    """
    tiles, scalar_tiles = tables_types(el, plan)
    tables = (
        f"@lt_tiles_{el.name} = global {tiles} zeroinitializer\n"
        f"@lt_scalar_tiles_{el.name} = global {scalar_tiles} zeroinitializer\n"
        f"@lt_parts_{el.name} = global [{len(PARTS)} x ptr] zeroinitializer\n"
    )
    functions = Driver(el, plan, parted=True).base_text()
    functions = _public(functions, f"lt_strip_{el.name}")
    return _module(el, tables + splits_text(el, plan) + seek_text(el) + functions + more)


def part_text(el: Element, plan: Plan, name: str, more: str = "") -> str:
    """Return the module of a part.

    Parameters
    ----------
    name : str
        One of `PARTS`, ``pack``, ``packs``, ``batched``, or a tile: ``tile 2 4 1`` has 2 rows, 4
        vectors and is of kind 1, ``scalar 2 3`` has 2 rows and 3 columns.
    more : str
        Functions that belong to it as well.

    Notes
    -----
    All but tiles may need what `base_text` and ``pack`` define.
    """
    kind, *numbers = name.split()
    body = ""
    if kind == "tile":
        rows, vectors, number = map(int, numbers)
        body = tile_text(el, rows, vectors, tile_kinds(el)[number])
    elif kind == "scalar":
        rows, columns = map(int, numbers)
        body = TileEmitter(el, rows, columns, masked=False, scalar=True).emit()
    elif name == "packs":
        body = KeptDriver(el, plan).choice()
    elif name == "keep":
        body = KeptDriver(el, plan).keep()
    elif name == "kept":
        body = KeptDriver(el, plan).kept()
    elif name == "blocked":
        body = Driver(el, plan).blocked()
    elif name == "pack":
        body = pack_text(el, parted=True)
    elif name == "turn":
        body = turn_text(el)
    elif name == "narrow":
        body = narrow_text(el)
    elif name == "flipped":
        body = flipped_text(el)
    elif name == "dot":
        body = dot_text(el, parted=True)
    elif name != "batched":
        rows, columns = map(int, numbers)
        body = dot_tile(el, rows, columns)
    body += more
    for symbol in (part_symbol(el, name), f"lt_pack_b_{el.name}", f"lt_copy_rows_{el.name}"):
        body = _public(body, symbol)
    return _external(el, plan, body) + _module(el, body)


def _public(text: str, symbol: str) -> str:
    """Let other modules call a function."""
    return text.replace(f"define internal void @{symbol}(", f"define void @{symbol}(")


@functools.cache
def _signatures(el: Element) -> list[tuple[str, str, str]]:
    """Result, name and parameters of what parts may use of the other modules."""
    others = Driver(el, Plan.make(el)).strip() + pack_text(el, parted=True) + seek_text(el)
    others += f"define void @lt_matmul_{el.name}({gemm_params(el)}) {{\n"
    others += f"define void @lt_gemm_{el.name}({gemm_params(el)}) {{\n"
    return re.findall(r"^define (?:internal )?(\w+) @(\w+)\(([^)]*)\)", others, re.M)


def _external(el: Element, plan: Plan, body: str) -> str:
    """Declare what a part uses of the other modules."""
    tiles, scalar_tiles = tables_types(el, plan)
    tables = {
        "tiles": f"global {tiles}",
        "scalar_tiles": f"global {scalar_tiles}",
        "parts": f"global [{len(PARTS)} x ptr]",
        "splits": "constant i8",
    }
    lines = [
        f"@lt_{table}_{el.name} = external {kind}"
        for table, kind in tables.items()
        if f"@lt_{table}_{el.name}" in body
    ]
    defined = set(re.findall(r"^define [^@\n]*@(\w+)\(", body, re.M))
    for result, symbol, parameters in _signatures(el):
        if symbol not in defined and f"@{symbol}(" in body:
            types = ", ".join(p.split()[0] for p in parameters.split(", "))
            lines.append(f"declare {result} @{symbol}({types})")
    return "".join(f"{line}\n" for line in lines)


def _module(el: Element, body: str) -> str:
    """Add the attributes of the functions, and declarations of what they call elsewhere."""
    heap = "declare ptr @malloc(i64)\ndeclare void @free(ptr)\n" if "@malloc(" in body else ""
    attributes = "attributes #0 = { nounwind }\n"
    if f") {SELDOM} {{" in body:
        attributes += f"attributes {SELDOM} = {{ cold nounwind noinline optnone }}\n"
    return f"{body}{heap}{attributes}{_used_declarations(el, body)}"


def _used_declarations(el: Element, body: str) -> str:
    """Declare the intrinsics that the text calls."""
    types = [el.vec, el.ir, f"<{el.lanes} x i{8 * el.part_bytes}>"]
    if el.size <= 8:
        types.append(raw_vector(el))
    if el.is_complex:
        types.append(f"<2 x {el.ir}>")
    if has_dot(el):
        types += [f"<{lanes} x {el.ir}>" for lanes in (2, 4, 8) if lanes < el.lanes]
    lines = {line: None for ty in types for line in declarations(ty)}
    return "".join(line + "\n" for line in lines if line.split("@")[1].split("(")[0] + "(" in body)
