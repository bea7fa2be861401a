"""The LLVM text of native entries: from Python's arguments to a core function and back (layer 4).

A core is ``define i32 @core(ptr %frame)`` in the same module, an entry what `ltensor.runtime.enter`
must know to call it. That checks the arguments, writes where their data and sizes are into the
frame, calls the core, and returns the arrays that the core left in the frame. It runs with the GIL
held. What it does not take as it stands goes to the callable's method ``_call_slow``, a core that
returns non-zero to ``_raise_error`` (see `ltensor.runtime.callable`).

Note [The frame]. An array of 64-bit slots in the entry's stack frame, so that threads do not share
it; `FrameLayout` gives the numbers::

    0                     address of the error record (RECORD_WORDS words, zero at entry)
    for each input        address of its data, then its sizes
    for each output       PyObject* of the result (zero at entry), then address of its data

Note [How a core fails]. It stores an error number (and more) in the record and returns non-zero;
or it returns non-zero with a Python exception set, as when `lt_alloc_output` gave null, and that
exception propagates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ltensor.runtime import layout
from ltensor.runtime.enter import signed
from ltensor.runtime.support import DECLARATIONS, RECORD_WORDS, SCALAR_DTYPES, ensure_support

__all__ = [
    "RECORD_WORDS",
    "FrameLayout",
    "InputSpec",
    "OutputSpec",
    "Returns",
    "ensure_support",
    "entry_text",
    "module_text",
]

Returns = Literal["value", "list", "none"]


@dataclass(frozen=True)
class InputSpec:
    """What an argument must be to be taken natively.

    Attributes
    ----------
    dtype : str
        NumPy's name of the dtype, native byte order.
    broadcastable : tuple of bool
        Dimensions that must have size 1.
    accept_scalar : bool
        For rank 0: take NumPy scalars of this dtype too, a ``float`` for float64, an ``int`` for
        int64.
    """

    dtype: str
    ndim: int
    broadcastable: tuple[bool, ...] = ()
    accept_scalar: bool = True


@dataclass(frozen=True)
class OutputSpec:
    """Dtype and rank of a result, as the core will allocate it."""

    dtype: str
    ndim: int


@dataclass(frozen=True)
class FrameLayout:
    """Slot numbers of the frame.  See Note [The frame].

    Examples
    --------
    >>> frame = FrameLayout.of([InputSpec("float64", 2)], [OutputSpec("float64", 0)])
    >>> frame.input_data(0), frame.input_dim(0, 1)
    (1, 3)
    >>> frame.output_object(0), frame.output_data(0), frame.size
    (4, 5, 6)
    """

    input_ndims: tuple[int, ...]
    n_outputs: int

    @classmethod
    def of(cls, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]) -> FrameLayout:
        """Return the layout for a signature."""
        return cls(tuple(spec.ndim for spec in inputs), len(outputs))

    @property
    def error_record(self) -> int:
        """Slot with the address of the error record."""
        return 0

    def input_data(self, i: int) -> int:
        """Slot with the address of input *i*'s data."""
        return 1 + i + sum(self.input_ndims[:i])

    def input_dim(self, i: int, k: int) -> int:
        """Slot with size *k* of input *i*."""
        if not 0 <= k < self.input_ndims[i]:
            raise IndexError(f"input {i} has {self.input_ndims[i]} dimensions, no dimension {k}")
        return self.input_data(i) + 1 + k

    def output_object(self, i: int) -> int:
        """Slot with the object of output *i*, written by ``lt_alloc_output``."""
        return self.input_data(len(self.input_ndims)) + 2 * i

    def output_data(self, i: int) -> int:
        """Slot with the address of output *i*'s data, written by ``lt_alloc_output``."""
        return self.output_object(i) + 1

    @property
    def size(self) -> int:
        """Number of slots."""
        return self.output_object(self.n_outputs)


def _takes_scalar(spec: InputSpec) -> bool:
    return spec.ndim == 0 and spec.accept_scalar


def _words(
    inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec], returns: Returns
) -> list[int]:
    """What `lt_enter` must know; see `ltensor.runtime.enter`."""
    frame = FrameLayout.of(inputs, outputs)
    listed = {"value": -1, "list": frame.n_outputs, "none": 0}[returns]
    if returns == "value" and frame.n_outputs != 1:
        raise ValueError(f"'value' returns one output, not {frame.n_outputs}")
    words = [len(inputs), frame.size, frame.output_object(0), frame.n_outputs, listed]
    for spec in inputs:
        ones = sum(1 << k for k, one in enumerate(spec.broadcastable[: spec.ndim]) if one)
        code = SCALAR_DTYPES.index(spec.dtype) if _takes_scalar(spec) else -1
        words += [spec.ndim, layout.descr_word(spec.dtype), ones, code]
    return words


def entry_text(
    name: str,
    inputs: Sequence[InputSpec],
    outputs: Sequence[OutputSpec],
    returns: Returns,
    *,
    core: str = "core",
) -> str:
    """Return the LLVM text of an entry with the signature of CPython's vectorcall.

    Parameters
    ----------
    name
        Symbol of the entry, a constant: the address of the core and the words of the signature.
        `NativeCallable` takes its address.
    inputs, outputs
        The signature; the frame is ``FrameLayout.of(inputs, outputs)``.
    returns
        ``"value"``: the one output itself; ``"list"``: a list of all outputs; ``"none"``: an empty
        list, and outputs that the core made are released.
    core
        Symbol of the core function.

    Notes
    -----
    The text has no declarations; `module_text` adds them.
    """
    words = _words(inputs, outputs, returns)
    values = ", ".join(f"i64 {signed(word)}" for word in words)
    kind = f"[{len(words)} x i64]"
    return f"@{name} = constant {{ ptr, {kind} }} {{ ptr @{core}, {kind} [{values}] }}\n"


_USED = re.compile(r"@(lt_\w+|Py\w+)")
_KNOWN = re.compile(r"^(?:(?:declare|define)\b[^@\n]*)?@(lt_\w+|Py\w+)", re.M)


def module_text(*parts: str) -> str:
    """Join *parts* to a module and declare what they use of the run time and did not declare.

    >>> print(module_text("define void @f() { call void @Py_DecRef(ptr null) ret void }"))
    declare void @Py_DecRef(ptr)
    define void @f() { call void @Py_DecRef(ptr null) ret void }
    """
    text = "\n".join(parts)
    known = set(_KNOWN.findall(text))
    used = sorted(set(_USED.findall(text)) - known)
    declared: list[str] = []
    for symbol in used:
        if symbol in DECLARATIONS:
            declared.append(DECLARATIONS[symbol])
        elif symbol.startswith("lt_scalar_"):
            declared.append(f"@{symbol} = external global i8")
    return "\n".join([*declared, text])
