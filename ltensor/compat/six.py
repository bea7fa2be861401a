"""The part of six that programs found under ``theano.compat.six``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from io import BytesIO, StringIO
from typing import Any, NoReturn

__all__ = [
    "BytesIO", "Iterator", "PY2", "PY3", "StringIO", "add_metaclass", "b", "binary_type",
    "class_types", "get_unbound_function", "integer_types", "iteritems", "iterkeys", "itervalues",
    "next", "reraise", "string_types", "text_type", "u", "with_metaclass",
]  # fmt: skip

PY2 = False
PY3 = True
string_types = (str,)
integer_types = (int,)
class_types = (type,)
text_type = str
binary_type = bytes
Iterator = object  # six's base class, to define __next__ in
next = next
get_unbound_function = operator.attrgetter("__func__")


def b(text: str) -> bytes:
    """Give bytes for a literal."""
    return text.encode("latin-1")


def u(text: str) -> str:
    """Give text for a literal."""
    return text


def iterkeys(mapping: Mapping[Any, Any]) -> Any:
    """Go over the keys."""
    return iter(mapping.keys())


def itervalues(mapping: Mapping[Any, Any]) -> Any:
    """Go over the values."""
    return iter(mapping.values())


def iteritems(mapping: Mapping[Any, Any]) -> Any:
    """Go over the pairs."""
    return iter(mapping.items())


def reraise(kind: type[BaseException], value: BaseException | None, trace: Any = None) -> NoReturn:
    """Raise with a given traceback."""
    raise (kind() if value is None else value).with_traceback(trace)


def with_metaclass(meta: type, *bases: type) -> type:
    """Give a base class with a metaclass."""
    return meta("temporary_class", bases or (object,), {})


def add_metaclass(meta: type) -> Callable[[type], type]:
    """Make a class anew with a metaclass."""

    def wrap(cls: type) -> type:
        body = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
        made: type = meta(cls.__name__, cls.__bases__, body)
        return made

    return wrap
