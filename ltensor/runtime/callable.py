"""Python objects that run native code when called (layer 4).

Calling an instance of `NativeCallable` jumps straight to native code, ``lt_enter``, by CPython's
vectorcall protocol; that gets the instance itself as first argument, and from it the entry of its
function. Whatever it does not take (keywords, conversions, wrong types) it hands to the method
``_call_slow``, run-time errors to ``_raise_error``.

Note [A slot for the call]. The address must lie in the instance, in a field that the garbage
collector does not take for an object. ``__slots__`` cannot give one, so the base type is made by
``PyType_FromSpec`` with the documented member ``__vectorcalloffset__`` (CPython 3.9 and later). A
null address makes CPython use ``__call__``.

Note [The vectorcall flag]. CPython takes the flag away from a class that defines ``__call__`` in
Python and, before 3.12, does not inherit it. Here both are wanted: ``__call__`` is the slow form
of the same call. So the flag is set in the type object, after `layout.probe` has found the field.
"""

from __future__ import annotations

import ctypes
from typing import Any

from ltensor.runtime import layout, signature, support

__all__ = ["NativeCallable", "make_builtin"]

_METH_FASTCALL_KEYWORDS = 0x82
_TPFLAGS_DEFAULT_BASETYPE = 1 << 18 | 1 << 10
_PY_TP_CALL, _PY_TP_MEMBERS = 50, 72
_T_ULONGLONG, _T_PYSSIZET, _READONLY = 18, 19, 1
_CALL_OFFSET = 16
_CALL = "_call_address"
_ENTRY = "_entry_address"
_SIGNATURE = "_signature_address"


class _MemberDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("offset", ctypes.c_ssize_t),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class _Slot(ctypes.Structure):
    _fields_ = (("slot", ctypes.c_int), ("function", ctypes.c_void_p))


class _Spec(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("basicsize", ctypes.c_int),
        ("itemsize", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("slots", ctypes.POINTER(_Slot)),
    )


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_immortal: list[object] = []


def _make_native_base() -> type:
    """Create the type with its three fields.  See Note [A slot for the call]."""
    members = (_MemberDef * 5)(
        _MemberDef(b"__vectorcalloffset__", _T_PYSSIZET, _CALL_OFFSET, _READONLY, None),
        _MemberDef(_CALL.encode(), _T_ULONGLONG, _CALL_OFFSET, 0, None),
        _MemberDef(_ENTRY.encode(), _T_ULONGLONG, signature.ENTRY_OFFSET, 0, None),
        _MemberDef(_SIGNATURE.encode(), _T_ULONGLONG, signature.OFFSET, 0, None),
        _MemberDef(),
    )
    call = ctypes.cast(ctypes.pythonapi.PyVectorcall_Call, ctypes.c_void_p)
    slots = (_Slot * 3)(
        _Slot(_PY_TP_CALL, call),
        _Slot(_PY_TP_MEMBERS, ctypes.cast(members, ctypes.c_void_p)),
        _Slot(),
    )
    spec = _Spec(
        b"ltensor.runtime.callable._NativeBase",
        signature.ENTRY_OFFSET + 8,
        0,
        _TPFLAGS_DEFAULT_BASETYPE | layout.FLAG_VECTORCALL,
        slots,
    )
    _immortal.extend((members, slots, spec))
    prototype = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p)
    base = prototype(("PyType_FromSpec", ctypes.pythonapi))(ctypes.addressof(spec))
    assert isinstance(base, type)
    return base


def _set_vectorcall_flag(cls: type) -> bool:
    """Give *cls* the flag if its instances keep the address where CPython will look for it."""
    at = id(cls)
    offset = ctypes.c_int64.from_address(at + layout.TYPE_VECTORCALL_OFFSET)
    flags = ctypes.c_uint64.from_address(at + layout.TYPE_FLAGS)
    if offset.value != _CALL_OFFSET or flags.value != cls.__flags__:
        return False
    flags.value |= layout.FLAG_VECTORCALL
    return True


# Where layouts are unknown all calls take the slow path, and no address is ever stored.
_Base: Any = _make_native_base() if layout.is_available() else object


class NativeCallable(_Base):
    """An object whose call runs a JITted entry; subclasses say what the slow path does.

    Without an entry (not installed yet, unpickled, copied, or on a Python whose layout is unknown)
    a call goes to `_call_slow`. Subclasses may have any attributes; one that overrides
    ``__call__`` gives up the native path.
    """

    __slots__ = ("_keepalive",)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if _is_native and cls.__call__ is NativeCallable.__call__:
            _set_vectorcall_flag(cls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what a call does when there is no native entry."""
        return self._call_slow(*args, **kwargs)

    def _call_slow(self, *args: Any, **kwargs: Any) -> Any:
        """Run the call in Python: convert arguments, raise the proper errors."""
        raise NotImplementedError(f"{type(self).__name__} has no native entry and no slow path")

    def _raise_error(self, record: tuple[int, ...], args: tuple[Any, ...]) -> Any:
        """Raise the exception for a core that failed, or run it once more and return its result.

        Parameters
        ----------
        record
            What the core stored about the error: its number, then values that belong to it.
        args
            The positional arguments of the call.
        """
        raise RuntimeError(f"native code failed with error {record[0]}")

    def _install_entry(
        self, address: int, keepalive: object = None, known: signature.Signature | None = None
    ) -> bool:
        """Let calls run the entry at *address*; say whether they will.

        Parameters
        ----------
        known
            Names and defaults of the arguments, keys of the results.
        keepalive
            What owns the code. It is held as long as this object lives, even when another entry is
            installed: a thread may still be running it.
        """
        if not _is_native:
            return False
        self._keepalive = (*getattr(self, "_keepalive", ()), keepalive, known)
        setattr(self, _SIGNATURE, 0 if known is None else known.address)
        setattr(self, _ENTRY, address)
        # last: from here on calls read the others
        setattr(self, _CALL, support.address("lt_enter"))
        return True

    def _remove_entry(self) -> None:
        """Let calls go to `_call_slow` again."""
        if _is_native:
            setattr(self, _CALL, 0)

    def __getstate__(self) -> dict[str, Any]:
        # Code addresses mean nothing in another process, nor in a copy that does not own the code.
        return dict(getattr(self, "__dict__", {}))

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state:
            self.__dict__.update(state)


_is_native = _Base is not object and _set_vectorcall_flag(NativeCallable)


def make_builtin(owner: NativeCallable, name: str, doc: str = "") -> Any:
    """Wrap a callable that has an entry as a builtin function (what ``len`` is).

    `NativeCallable` needs no such wrapper; this is for a bare function.
    """
    address = getattr(owner, _CALL)
    definition = _MethodDef(name.encode(), address, _METH_FASTCALL_KEYWORDS, doc.encode())
    # CPython reads the definition when it frees the function object: it stays for good.
    _immortal.append(definition)
    prototype = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p
    )
    create = prototype(("PyCFunction_NewEx", ctypes.pythonapi))
    return create(ctypes.addressof(definition), owner, None)
