"""The name of a function in the plan cache: a hash of all that its native code depends on.

What counts is the graph before any pass: operations with their attributes, operands by number,
types, the bytes of constants; further what the caller adds (mode, signature), the flags, the
environment and ltensor's own source files. Names of variables and source lines do not count: they
only appear in messages, which are made anew.

Whatever is not known to mean the same in another process (a user's class or function, an object
held by an operation) has no such name: `function_key` returns None.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import types
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np

from ltensor.ir.function import Function
from ltensor.ir.graph import Constant, Op, Variable
from ltensor.ir.types import TensorType, Type
from ltensor.lowering.cpu import jit, object_cache, thread_pool
from ltensor.source import Source

__all__ = ["function_key"]

#: environment variables that say where things are kept, not what they are
_PLACES = (
    "LTENSOR_CACHE",
    "LTENSOR_PLANS",
    "LTENSOR_FLAGS",
    "LTENSOR_DEBUG",
    "LTENSOR_NUM_THREADS",
)


class _Foreign(Exception):
    """Something that another process may not have."""


def function_key(function: Function, flags: dict[str, Any], *further: Any) -> str | None:
    """The name of ``function`` compiled with these flags; None if it cannot have one.

    Parameters
    ----------
    function : Function
        Before any pass.
    flags : dict
        All of them (`ltensor.config.flag_values`).
    further
        Texts, numbers, sequences of such: what else the code depends on.
    """
    sources = object_cache.sources()
    if sources is None:
        return None
    writer = _Writer()
    try:
        writer.function(function)
        writer.value(further)
    except _Foreign:
        return None
    writer.text("f", repr(sorted(flags.items())))
    writer.value((sources, *_surroundings()))
    return writer.digest.hexdigest()


class _Writer:
    """Feeds a hash; every value is written with kind and length, so that none runs into another.

    An operation, Function or variable that was written before is written as its number.
    """

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=20)
        self._seen: dict[int, int] = {}
        # holds what `_seen` knows by address
        self._held: list[Any] = []
        self._variables: dict[Variable, int] = {}

    def text(self, kind: str, text: str) -> None:
        data = text.encode()
        self.digest.update(b"%s%d:%s" % (kind.encode(), len(data), data))

    def again(self, kind: str, thing: Any) -> bool:
        """Write the number of something that was written before."""
        number = self._seen.get(id(thing))
        if number is not None:
            self.digest.update(b"%s#%d;" % (kind.encode(), number))
            return True
        self._seen[id(thing)] = len(self._held)
        self._held.append(thing)
        return False

    # ------------------------------------------------------------- graphs

    def function(self, function: Function) -> None:
        if self.again("F", function):
            return
        self.digest.update(b"F(")
        for variable in function.inputs:
            self.number(variable, new=True)
        for node in function.nodes:
            self.op(node.op)
            for variable in node.inputs:
                self.number(variable)
            self.digest.update(b">")
            for variable in node.outputs:
                self.number(variable, new=True)
        self.digest.update(b"=")
        for variable in function.outputs:
            self.number(variable)
        self.digest.update(b")")

    def number(self, variable: Variable, new: bool = False) -> None:
        known = self._variables.get(variable)
        if known is not None:
            self.digest.update(b"v%d" % known)
            return
        if not new and not isinstance(variable, Constant):
            raise _Foreign(variable)
        self._variables[variable] = len(self._variables)
        self.type(variable.type)
        if isinstance(variable, Constant):
            self.value(variable.data)

    def type(self, kind: Type) -> None:
        if type(kind) is TensorType:
            self.text("t", f"{kind.dtype}{kind.shape}")
        elif not self.again("T", kind):
            self.text("T", _name_of(type(kind)))
            self.attributes(kind, "")

    def op(self, op: Op) -> None:
        if self.again("O", op):
            return
        self.text("O", f"{_name_of(type(op))} {getattr(op, 'ir_name', '')}")
        self.value(op._props())
        self.attributes(op, getattr(op, "annotations", ()))

    def attributes(self, thing: Any, without: Any) -> None:
        """The attributes of an object; those with an underscore are derived from the others."""
        held = getattr(thing, "__dict__", {})
        for name in sorted(held):
            if name[0] != "_" and name not in without:
                self.text("a", name)
                self.value(held[name])

    # ------------------------------------------------------------- values

    def value(self, value: Any) -> None:
        write = _WRITERS.get(type(value))
        if write is not None:
            write(self, value)
        elif isinstance(value, np.ndarray):
            self.array(value)
        elif isinstance(value, (np.generic, np.dtype)):
            self.text("n", f"{type(value).__name__} {value!r}")
        elif isinstance(value, Op):
            self.op(value)
        elif isinstance(value, Type):
            self.type(value)
        elif isinstance(value, Variable):
            self.number(value)
        elif isinstance(value, Enum):
            self.text("e", f"{_name_of(type(value))}.{value.name}")
        elif isinstance(value, type) or callable(value):
            self.text("c", _name_of(value))
        else:
            raise _Foreign(value)

    def array(self, array: np.ndarray) -> None:
        if array.dtype.hasobject:
            raise _Foreign(array)
        self.text("A", f"{array.dtype.str}{array.shape}")
        self.digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")

    def sequence(self, values: Any) -> None:
        self.text("s", f"{type(values).__name__}{len(values)}")
        for value in values:
            self.value(value)

    def mapping(self, values: dict[Any, Any]) -> None:
        self.text("d", str(len(values)))
        for key, value in values.items():
            self.value(key)
            self.value(value)

    def plain(self, value: Any) -> None:
        self.text("p", f"{type(value).__name__} {value!r}")

    def collection(self, values: Any) -> None:
        self.plain(sorted(map(repr, values)))

    def slices(self, value: slice) -> None:
        self.sequence((value.start, value.stop, value.step))

    def nothing(self, value: Source) -> None:
        """Where something was written does not count."""


_WRITERS: dict[type, Callable[[_Writer, Any], None]] = {
    **dict.fromkeys((type(None), bool, int, float, complex, str, bytes), _Writer.plain),
    tuple: _Writer.sequence,
    list: _Writer.sequence,
    dict: _Writer.mapping,
    set: _Writer.collection,
    frozenset: _Writer.collection,
    slice: _Writer.slices,
    Function: _Writer.function,
    Source: _Writer.nothing,
}


def _name_of(thing: Any) -> str:
    """The full name of a class or function of ltensor, NumPy or Python itself."""
    module = getattr(thing, "__module__", None) or ""
    if isinstance(thing, np.ufunc):
        return f"ufunc {thing.__name__}"
    if not isinstance(thing, (type, types.FunctionType, types.BuiltinFunctionType)):
        raise _Foreign(thing)
    if module.partition(".")[0] not in ("ltensor", "numpy", "builtins", "operator", "_operator"):
        raise _Foreign(thing)
    return f"{module}.{thing.__qualname__}"


# ------------------------------------------------------------------------------ surroundings


@functools.cache
def _surroundings() -> tuple[str, ...]:
    """Versions and the machine; environment variables that steer the compiler."""
    settings = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith("LTENSOR_") and not name.startswith(_PLACES)
    ]
    # some programs are cut into as many parts as there are threads (`Frame.sum_images`)
    threads = f"threads={thread_pool.count()}"
    return (*jit.identity(), np.__version__, sys.version, threads, *settings)
