"""Products in parts: what a program calls is compiled when it is first called, and kept on disk.

Lowering layer. All tiles of a type, packing and dot products take longer to compile than most
programs, of which one calls a few. So generated code looks their addresses up in tables, and asks
Python for what is not there yet (`seek`). Python's lock is held then, as in all generated code;
threads that do not hold it do without (see `complete`).
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
from collections.abc import Callable, Iterator

from ltensor.lowering.cpu import jit
from ltensor.lowering.cpu.interrupts import no_interrupt
from ltensor.lowering.gemm import kernels
from ltensor.lowering.gemm.driver import SCALAR_COLUMNS, SCALAR_PITCH, TILE_PITCH, tile_kinds
from ltensor.lowering.gemm.element import Element
from ltensor.lowering.gemm.plan import Plan
from ltensor.lowering.gemm.seek import PARTS

_LOADER = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class Products:
    """The products of one dtype in this process.

    Parameters
    ----------
    el : Element
    base : callable
        Gives the text of functions that go with ``lt_gemm``.
    kept, batched : callable
        Give the text of the product with a packed matrix, and of the batched product.
    label : str
        What these texts depend on besides the type.
    symbols : dict
        What they call.
    """

    def __init__(
        self,
        el: Element,
        base: Callable[[], str],
        kept: Callable[[], str],
        batched: Callable[[], str],
        label: str,
        symbols: dict[str, int],
    ) -> None:
        self.el, self.plan, self._label = el, Plan.make(el), label
        #: what else is in parts that programs name
        self._more = {"packs": kept, "batched": batched}
        #: parts that are in memory, by name
        self.loaded: dict[str, jit.CompiledModule] = {}
        self._loader = _LOADER(self._load)
        address = ctypes.cast(self._loader, ctypes.c_void_p).value
        assert address
        self.symbols = {f"lt_load_{el.name}": address, **symbols}
        self.base = jit.compile_library(
            f"products of {el.name}, {label}",
            lambda: kernels.base_text(el, self.plan, base()),
            self.symbols,
            optimize=kernels.RUNTIME_PASSES,
            quick=True,
        )
        self.symbols |= self.base.addresses
        self._slots = dict(self._all_slots())
        self._completed = self.base.address(f"lt_is_complete_{el.name}")

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
            "dot": kernels.has_dot(el),
            "turn": kernels.has_turn(el),
            "narrow": kernels.has_narrow(el),
            "flipped": kernels.has_narrow(el),
            "keep": kernels.has_kept(el),
            "kept": kernels.has_kept(el),
        }
        for number, name in enumerate(PARTS):
            if exists.get(name.split()[0], True):
                yield parts + 8 * number, name
        rows = range(1, plan.max_rows + 1)
        for kind, r in itertools.product(range(len(tile_kinds(el))), rows):
            row = tiles + 8 * TILE_PITCH * (kind * (plan.max_rows + 1) + r)
            yield from ((row + 8 * v, f"tile {r} {v} {kind}") for v in plan.shapes[r])
        if not el.has_masks:
            for r, columns in itertools.product(rows, SCALAR_COLUMNS):
                yield scalar_tiles + 8 * (SCALAR_PITCH * r + columns), f"scalar {r} {columns}"

    def _part(self, name: str) -> jit.CompiledModule:
        found = self.loaded.get(name)
        if found is None:
            if name in ("blocked", "keep"):
                self.symbols |= self._part("pack").addresses
            more = self._more.get(name, str)
            found = jit.compile_library(
                f"{name} of {self.el.name}, {self._label if name in self._more else ''}",
                lambda: kernels.part_text(self.el, self.plan, name, more()),
                self.symbols,
                optimize=kernels.RUNTIME_PASSES,
                # strength reduction pays in dot products
                quick=not name.startswith("dot "),
            )
            self.loaded[name] = found
        return found

    def _fill(self, slot: int, name: str) -> int:
        """Put a part where code looks for it."""
        module = self._part(name)
        address = module.address(kernels.part_symbol(self.el, name))
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
