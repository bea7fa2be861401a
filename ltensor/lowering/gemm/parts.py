"""Products in parts: what a program calls is compiled when it is first called, and kept on disk.

Lowering layer. All tiles of a type, packing and dot products take longer to compile than most
programs, of which one calls a few. So generated code looks their addresses up in tables, and asks
Python for what is not there yet (`seek`). Python's lock is held then, as in all generated code;
threads that do not hold it do without (see `complete`).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
from collections.abc import Iterator

from ltensor.lowering.cpu import jit
from ltensor.lowering.cpu.interrupts import no_interrupt
from ltensor.lowering.cpu.once import Once
from ltensor.lowering.gemm import tables
from ltensor.lowering.gemm.blas import BlasInfo
from ltensor.lowering.gemm.element import Element
from ltensor.lowering.gemm.plan import Plan

#: the parts that programs name
_PUBLIC = ("packs", "batched")
_LOADER = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class Products:
    """The products of one dtype in this process.

    Parameters
    ----------
    el : Element
    library : BlasInfo or None
        Whose product large ones may be left to.
    way : str
        What the text of that choice depends on besides the type.
    symbols : dict
        What it calls.
    """

    def __init__(
        self, el: Element, library: BlasInfo | None, way: str, symbols: dict[str, int]
    ) -> None:
        self.el, self.plan, self._library, self._way = el, Plan.make(el), library, way
        self._part = Once(self._make_part)
        self._loader = _LOADER(self._load)
        address = ctypes.cast(self._loader, ctypes.c_void_p).value
        assert address
        self.symbols = {f"lt_load_{el.name}": address, **symbols}
        self.base = jit.compile_library(
            f"products of {el.name}, {way}",
            self._base_text,
            self.symbols,
            optimize=tables.RUNTIME_PASSES,
            quick=True,
        )
        self.symbols |= self.base.addresses
        self._slots = dict(self._all_slots())
        self._completed = self.base.address(f"lt_is_complete_{el.name}")

    def _base_text(self) -> str:
        # here and not above, as below: only who finds nothing on the disk needs them
        from ltensor.lowering.gemm import choice, kernels

        return kernels.base_text(self.el, self.plan, choice.choice(self.el, self._library))

    def _part_text(self, name: str) -> str:
        from ltensor.lowering.gemm import choice, kernels

        more = {
            "packs": lambda: choice.kept(self.el, parted=True),
            "batched": lambda: choice.batched(self.el),
        }
        return kernels.part_text(self.el, self.plan, name, more.get(name, str)())

    def address(self, symbol: str) -> int:
        """Address of a function that programs call."""
        if symbol in self.base.addresses:
            return self.base.address(symbol)
        names = {"matmul_batched": "batched", "keep": "keep"}
        name = symbol.removeprefix("lt_").removesuffix(f"_{self.el.name}")
        return self._part(names.get(name, "packs")).address(symbol)

    def complete(self) -> None:
        """Load all parts, for calls by threads that do not hold Python's lock."""
        for slot, name in self._slots.items():
            self._fill(slot, name)
        ctypes.c_int64.from_address(self._completed).value = 1

    def _all_slots(self) -> Iterator[tuple[int, str]]:
        """Addresses of the tables' words and the names of the parts that belong there."""
        el, plan = self.el, self.plan
        parts, tiles, scalar_tiles = (
            self.base.address(f"lt_{table}_{el.name}")
            for table in ("parts", "tiles", "scalar_tiles")
        )
        exists = {
            "dot": tables.has_dot(el),
            "turn": tables.has_turn(el),
            "narrow": tables.has_narrow(el),
            "flipped": tables.has_narrow(el),
            "keep": tables.has_kept(el),
            "kept": tables.has_kept(el),
        }
        for number, name in enumerate(tables.PARTS):
            if exists.get(name.split()[0], True):
                yield parts + 8 * number, name
        rows = range(1, plan.max_rows + 1)
        for kind, r in itertools.product(range(len(tables.tile_kinds(el))), rows):
            row = tiles + 8 * tables.TILE_PITCH * (kind * (plan.max_rows + 1) + r)
            yield from ((row + 8 * v, f"tile {r} {v} {kind}") for v in plan.shapes[r])
        if not el.has_masks:
            for r, columns in itertools.product(rows, tables.SCALAR_COLUMNS):
                yield (
                    scalar_tiles + 8 * (tables.SCALAR_PITCH * r + columns),
                    f"scalar {r} {columns}",
                )

    @property
    def loaded(self) -> dict[str, jit.CompiledModule]:
        """Parts that are in memory, by name."""
        return {str(name): module for (name,), module in self._part.made.items()}

    def _make_part(self, name: str) -> jit.CompiledModule:
        if name in ("blocked", "keep"):
            self.symbols |= self._part("pack").addresses
        way = self._way if name in _PUBLIC else ""
        return jit.compile_library(
            f"{name} of {self.el.name}, {way}",
            functools.partial(self._part_text, name),
            self.symbols,
            optimize=tables.RUNTIME_PASSES,
            # strength reduction pays in dot products
            quick=not name.startswith("dot "),
        )

    def _fill(self, slot: int, name: str) -> int:
        """Put a part where code looks for it."""
        module = self._part(name)
        address = module.address(tables.part_symbol(self.el, name))
        ctypes.c_void_p.from_address(slot).value = address
        return address

    def _load(self, slot: int, result: int) -> None:
        """What generated code calls: writes the address of a part, nothing if it cannot be had."""
        # nothing can be raised through generated code, which does without
        with no_interrupt(), contextlib.suppress(MemoryError, RecursionError, OSError):
            if slot == self._completed:
                self.complete()
            else:
                address = self._fill(slot, self._slots[slot])
                ctypes.c_void_p.from_address(result).value = address
