"""``import theano`` means ltensor: `install` makes Theano's module paths resolve.

Layer 6.  Theano's layout lives in one table (`ltensor.compat.table`); nothing else in ltensor
knows it.  The modules made here are real module objects without contents: each name is looked up
in ltensor when it is first used, so that ``import theano.tensor.slinalg`` costs nothing by itself.

The same layout is there below `ltensor` (``import ltensor as theano; theano.gof.Op``): what its own
modules lack is looked up here by `ltensor.theano_names`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Final

from ltensor.compat import class_names
from ltensor.compat.table import ABSENT_MODULES, MODULES, WHY_ABSENT, Module

__all__ = ["install", "lookup", "spec_of", "uninstall", "unresolved"]

_MISSING: Final = object()


def _resolve(target: str) -> Any:
    """Find ``module:name`` (or a whole ``module``); `_MISSING` when ltensor has no such thing."""
    path, _, name = target.partition(":")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        # Only what is not there counts as missing: a failing import inside is a bug to be seen.
        if error.name is not None and (path + ".").startswith(error.name + "."):
            return _MISSING
        raise
    if not name:
        return module
    if isinstance(module, CompatModule):
        return getattr(module, name, _MISSING)
    try:
        # not getattr: a module of ltensor would ask here for what it lacks
        return ModuleType.__getattribute__(module, name)
    except AttributeError:
        return _MISSING


def _as_theano(path: str) -> str:
    """Name ``ltensor.x`` as the table does, ``theano.x``."""
    _, dot, rest = path.partition(".")
    return f"theano{dot}{rest}"


def _entry(path: str) -> Module | None:
    """Find what the table says of ``theano.x``, or of ``ltensor.x`` as Theano's place of it."""
    return MODULES.get(_as_theano(path))


def _find(path: str, name: str) -> Any:
    """Find a name of module *path*; `_MISSING` when ltensor has no such thing."""
    entry = _entry(path)
    assert entry is not None
    if name in entry.names:
        target = entry.names[name]
        is_path = target.partition(".")[0] == "theano"
        return _resolve(path.partition(".")[0] + target[len("theano") :] if is_path else target)
    submodule = f"{path}.{name}"
    is_module = _entry(submodule) is not None
    for other in entry.falls_to:
        value = _resolve(f"{other}:{name}")
        # ltensor's own module of that name gives way to Theano's, which may have more names.
        if value is not _MISSING and not (isinstance(value, ModuleType) and is_module):
            return value
    return importlib.import_module(submodule) if is_module else _MISSING


def lookup(path: str, name: str) -> Any:
    """Return a name of Theano's module *path*, ``theano.tensor`` or ``ltensor.tensor``.

    Raises
    ------
    AttributeError
        When ltensor has no such thing, with the reason if there is one.
    """
    value = _find(path, name)
    if value is _MISSING:
        entry = _entry(path)
        why = WHY_ABSENT.get(f"{_as_theano(path)}.{name}") or (entry and entry.missing)
        raise AttributeError(f"ltensor has no {path}.{name}" + (f": {why}" if why else ""))
    return value


class CompatModule(ModuleType):
    """One of Theano's modules: a view of names that live elsewhere in ltensor."""

    def __init__(self, name: str) -> None:
        entry = _entry(name)
        assert entry is not None
        super().__init__(name, entry.doc)
        self.__dict__["_entry"] = entry

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return self._public_names()
        if name.startswith("__") and name.endswith("__") and name != "__version__":
            raise AttributeError(name)
        value = self.__dict__[name] = lookup(self.__name__, name)
        return value

    # The import system binds each imported submodule in its parent.  Where Theano has a function
    # of the same name (tensor.sort, compile.function), the name must go on meaning the function.
    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, CompatModule) and value.__name__ == f"{self.__name__}.{name}":
            return
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.__name__,)  # cloudpickle, joblib

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self._known_names()})

    def _known_names(self) -> Iterator[str]:
        prefix = _as_theano(self.__name__) + "."
        yield from self._entry.names
        yield from (
            path[len(prefix) :]
            for path in MODULES
            if path.startswith(prefix) and "." not in path[len(prefix) :]
        )
        for path in self._entry.falls_to:
            module = _resolve(path)
            if module is not _MISSING:
                yield from getattr(module, "__all__", None) or vars(module)

    def _public_names(self) -> list[str]:
        """Give what a star import takes: every name without an underscore that ltensor has.

        Modules only where the table names them: ``from theano import *`` must not replace the
        function ``ifelse`` of a program by the module.
        """
        public = []
        for name in sorted({name for name in self._known_names() if not name.startswith("_")}):
            value = _find(self.__name__, name)
            if name in self._entry.names or not isinstance(value, ModuleType):
                public.append(name)
        return [name for name in public if _find(self.__name__, name) is not _MISSING]


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return spec_of(fullname) if fullname.partition(".")[0] == "theano" else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return CompatModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == "theano":
            module.__file__ = importlib.import_module("ltensor").__file__


_finder = _Finder()


def spec_of(path: str) -> importlib.machinery.ModuleSpec | None:
    """Return how to make Theano's module *path* (``theano.gof``, ``ltensor.gof``), None if unknown.

    Raises
    ------
    ModuleNotFoundError
        For a module of Theano's that ltensor leaves out, with the reason.
    """
    if _entry(path) is not None:
        # All are packages: which of Theano's were is nobody's concern.
        return importlib.machinery.ModuleSpec(path, _finder, is_package=True)
    known = _as_theano(path) + "."
    for absent, why in ABSENT_MODULES.items():
        if known.startswith(absent + "."):
            # Without name=, or `from theano import sparse` would swallow what is said here.
            raise ModuleNotFoundError(f"ltensor has no {path}: {why}")
    return None


def install() -> None:
    """Make ``import theano`` and its submodules mean ltensor, for this process.

    Raises
    ------
    ImportError
        When the real Theano has been imported already.

    Examples
    --------
    >>> import ltensor.compat
    >>> ltensor.compat.install()
    >>> import theano.tensor as T
    """
    there = sys.modules.get("theano")
    if there is not None and not isinstance(there, CompatModule):
        where = getattr(there, "__file__", None) or "an unknown place"
        raise ImportError(f"another module named theano is imported already, from {where}")
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    class_names.show()


def uninstall() -> None:
    """Undo `install`; modules that a program holds go on working."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    for name, module in list(sys.modules.items()):
        if isinstance(module, CompatModule) and name.partition(".")[0] == "theano":
            del sys.modules[name]
    class_names.hide()


def unresolved() -> list[tuple[str, str]]:
    """List the names of the table that ltensor does not have, with where they should be."""
    return [
        (f"{path}.{name}", target)
        for path, module in MODULES.items()
        for name, target in module.names.items()
        if not target.startswith("theano") and _resolve(target) is _MISSING
    ]
