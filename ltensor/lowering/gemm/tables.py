"""The parts of a product: which exist, what they are called, and the tables of their addresses.

Lowering layer, private to the gemm package. Names and numbers only: a process that finds the parts
on the disk needs no more than these.
"""

from __future__ import annotations

from ltensor.lowering.gemm.element import Element
from ltensor.lowering.gemm.plan import Plan

#: Rows of A and of B' in a tile of dot products; of one row or column: the tails.
DOT_TILES = ((4, 4), (4, 1), (2, 8), (2, 4), (2, 1), (1, 8), (1, 4), (1, 1))
#: The parts besides the tiles, in the order of the table ``lt_parts``.
PARTS = (
    "dot",
    "blocked",
    "turn",
    "narrow",
    "flipped",
    "keep",
    "kept",
    *(f"dot {rows} {columns}" for rows, columns in DOT_TILES),
)
#: Columns of the scalar tiles that finish a row on hosts without masks.
SCALAR_COLUMNS = (1, 2, 3)
#: Entries of a row of the tables of tiles.
TILE_PITCH, SCALAR_PITCH = 17, 4
#: The text is compiled as it stands: LLVM's passes make it slower to compile and no faster to run.
RUNTIME_PASSES = False


def has_dot(el: Element) -> bool:
    """True if products of the type have the form ``dot``."""
    return el.kind == "float"


def has_turn(el: Element) -> bool:
    """True if elements of this size are transposed in registers, by ``turn``."""
    return el.size in (4, 8)


def has_narrow(el: Element) -> bool:
    """True if products of the type have the forms ``narrow`` and ``flipped``."""
    return el.kind == "float" and el.has_masks


def has_kept(el: Element) -> bool:
    """True if the type has products with a packed B, ``keep`` and ``kept``."""
    return el.kind == "float"


def has_two_kinds(el: Element) -> bool:
    """True if tiles exist with and without a mask.

    With AVX-512 a masked access costs no more than a plain one, so there is one kind only; AVX's
    masked stores are slow, so they are kept to the tail.
    """
    return el.has_masks and el.vector_bytes != 64


def tile_kinds(el: Element) -> tuple[bool, ...]:
    """Whether the tiles have a mask, for each table of them."""
    return (False, True) if has_two_kinds(el) else (el.has_masks,)


def tile_name(el: Element, rows: int, vectors: int, scalar: bool = False) -> str:
    """Return the symbol of a tile function."""
    return f"@lt_tile_{el.name}_{rows}x{vectors}{'s' if scalar else ''}"


def tile_symbol(el: Element, rows: int, vectors: int, masked: bool) -> str:
    """Return the name of a tile function among those of both kinds."""
    return tile_name(el, rows, vectors) + ("m" if masked and has_two_kinds(el) else "")


def tables_types(el: Element, plan: Plan) -> tuple[str, str]:
    """Return the types of the tables of tiles, by kind, rows and vectors or columns."""
    rows = plan.max_rows + 1
    kinds = len(tile_kinds(el))
    return f"[{kinds} x [{rows} x [{TILE_PITCH} x ptr]]]", f"[{rows} x [{SCALAR_PITCH} x ptr]]"


def part_symbol(el: Element, name: str) -> str:
    """Return the function of a part whose address belongs in its slot; see `kernels.part_text`."""
    kind, *numbers = name.split()
    if kind == "tile":
        rows, vectors, number = map(int, numbers)
        return tile_symbol(el, rows, vectors, tile_kinds(el)[number]).lstrip("@")
    if kind == "scalar":
        rows, columns = map(int, numbers)
        return tile_name(el, rows, columns, scalar=True).lstrip("@")
    if numbers:
        return f"lt_{kind}_{el.name}_{'x'.join(numbers)}"
    return f"lt_{name}_{el.name}"
