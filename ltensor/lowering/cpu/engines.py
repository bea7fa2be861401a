"""Object code into memory by LLVM's MCJIT, where `loader` cannot (layer 4).

Note [Engines by generation]. One MCJIT engine serves many modules: an engine of its own per
function costs 0.9 MB, a module in a shared engine 0.01 MB. MCJIT gives memory back only when a
whole engine goes, so engines are used in generations of `_MODULES_PER_ENGINE` modules: a
generation dies with its last live module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ltensor.lowering.cpu import memory_guard
from ltensor.lowering.cpu.machine import fresh_machine, host, llvm, lock

__all__ = ["load"]

_MODULES_PER_ENGINE = 32


class _Generation:
    """One engine and the names that its modules define.  See Note [Engines by generation]."""

    def __init__(self) -> None:
        binding = llvm()
        module = binding.parse_assembly("")
        module.triple = host().triple
        # An engine owns its target machine: the emitter must never be given to one.
        self.engine = binding.create_mcjit_compiler(module, fresh_machine())
        #: what its modules define, 0 where two of them define a name
        self.names: dict[str, int] = {}
        self.count = 0

    def accepts(self, needed: Mapping[str, int]) -> bool:
        """Say whether a module fits in: room left, and no other definition of what it needs.

        MCJIT would take a neighbour's definition for an external symbol. Two modules that define
        the same name do no harm: each was relocated when it was loaded, and addresses are read at
        once.
        """
        names = self.names
        return self.count < _MODULES_PER_ENGINE and all(
            names.get(name, address) == address for name, address in needed.items()
        )

    def add(self, data: bytes, defined: Iterable[str]) -> dict[str, int]:
        """Load an object and return the addresses of what it defines."""
        self.count += 1
        self.engine.add_object_file(llvm().object_file.ObjectFileRef.from_data(data))
        self.engine.finalize_object()
        found = {name: self.engine.get_function_address(name) for name in defined}
        addresses = {
            name: address or self.engine.get_global_value_address(name)
            for name, address in found.items()
        }
        for name, address in addresses.items():
            self.names[name] = 0 if name in self.names else address
        return addresses


_current: _Generation | None = None


def load(
    data: bytes, defined: Iterable[str], needed: Mapping[str, int]
) -> tuple[dict[str, int], object]:
    """Load an object.

    Parameters
    ----------
    data : bytes
        The object, of any format that LLVM knows.
    defined : iterable of str
        The symbols that it defines for others.
    needed : dict of str to int
        Addresses of all symbols that it takes from elsewhere.

    Returns
    -------
    addresses : dict of str to int
    owner : object
        The code lives as long as this does.
    """
    global _current
    memory_guard.for_object(len(data))
    with lock:
        add_symbol: Callable[[str, int], None] = llvm().add_symbol
        for name, address in needed.items():
            add_symbol(name, address)
        generation = _current
        if generation is None or not generation.accepts(needed):
            generation = _current = _Generation()
        return generation.add(data, defined), generation
