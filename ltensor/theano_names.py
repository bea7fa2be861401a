"""Theano's module paths below `ltensor` (layer 6): ``import ltensor as theano``, ``theano.gof.Op``.

Modules of ltensor that Theano has, too, become `Counterpart`s, which ask Theano's table
(`ltensor.compat`) for what they lack; a finder behind all others makes the modules that only Theano
has (``ltensor.sandbox.rng_mrg``). Neither costs anything, nor loads the table, before it is needed.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

__all__ = ["COUNTERPARTS", "Counterpart", "install"]

#: modules of ltensor that stand where Theano has one
COUNTERPARTS: Final = frozenset(
    {
        "ltensor",
        "ltensor.compat",
        "ltensor.compat.six",
        "ltensor.gradient",
        "ltensor.ifelse",
        "ltensor.printing",
        "ltensor.raise_op",
        "ltensor.scalar",
        "ltensor.scan_module",
        "ltensor.tensor",
        "ltensor.tensor.extra_ops",
        "ltensor.tensor.fft",
        "ltensor.tensor.fourier",
        "ltensor.tensor.nlinalg",
        "ltensor.tensor.nnet",
        "ltensor.tensor.nnet.blocksparse",
        "ltensor.tensor.nnet.conv",
        "ltensor.tensor.nnet.conv3d2d",
        "ltensor.tensor.signal",
        "ltensor.tensor.signal.conv",
        "ltensor.tensor.signal.downsample",
        "ltensor.tensor.signal.pool",
        "ltensor.tensor.slinalg",
        "ltensor.tensor.xlogx",
        "ltensor.version",
    }
)


class Counterpart(ModuleType):
    """A module of ltensor that has all names of Theano's module in its place."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        compat = importlib.import_module("ltensor.compat")
        value = self.__dict__[name] = compat.lookup(self.__name__, name)
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.__name__,)  # cloudpickle takes modules of type only

    # The import system binds each imported submodule in its parent.
    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and value.__name__ == f"{self.__name__}.{name}":
            view = getattr(sys.modules.get("ltensor.compat"), "CompatModule", ())
            if isinstance(value, view):
                return  # tensor.sort goes on meaning the function; lookup finds the module
            _become(value)
        super().__setattr__(name, value)


def _become(module: ModuleType) -> None:
    if module.__name__ in COUNTERPARTS:
        module.__class__ = Counterpart
        if not hasattr(module, "__path__"):
            module.__path__ = []  # Theano's module of that name may be a package


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith("ltensor."):
            return None
        # Python holds the lock of all imports here, which another thread may need to finish that of
        # the table: waiting for it would be for ever. `create_module` is called without that lock.
        compat = sys.modules.get("ltensor.compat")
        known = vars(compat).get("spec_of") if compat else None
        if known is None:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        found: importlib.machinery.ModuleSpec | None = known(fullname)
        return found

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        compat = importlib.import_module("ltensor.compat")
        if compat.spec_of(spec.name) is None:
            raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name)
        made: ModuleType = compat.CompatModule(spec.name)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


def install() -> None:
    """Give the modules that are loaded Theano's names, and those that will be."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
    for name in COUNTERPARTS:
        module = sys.modules.get(name)
        if module is not None:
            _become(module)
