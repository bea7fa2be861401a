"""The LLVM text of native entries: from Python's arguments to a core function and back (layer 4).

A core is ``define i32 @core(ptr %frame)`` in the same module. The entry checks the arguments,
writes where their data and sizes are into the frame, calls the core, and returns the arrays that
the core left in the frame. It runs with the GIL held. What it does not take as it stands goes to
the callable's method ``_call_slow``, a core that returns non-zero to ``_raise_error`` (see
`ltensor.runtime.callable`).

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ltensor.runtime import layout
from ltensor.runtime.support import DECLARATIONS, RECORD_WORDS, ensure_support

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


def _slot(name: str, number: int) -> str:
    return f"  {name} = getelementptr i64, ptr %frame, i64 {number}"


def _field(name: str, base: str, offset: int) -> str:
    return f"  {name} = getelementptr i8, ptr {base}, i64 {offset}"


def _array_checks(i: int, spec: InputSpec) -> Iterator[str]:
    """Blocks ``array.i`` and, with dimensions, ``sizes.i``: the argument is an exact ndarray."""
    word = layout.descr_word(spec.dtype)
    # A 0-d array is always contiguous; NumPy keeps both flags up to date for sizes 0 and 1.
    needed = layout.C_CONTIGUOUS_ALIGNED
    yield f"array.{i}:"
    yield _field(f"%ndim.at.{i}", f"%arg.{i}", layout.ARRAY_NDIM)
    yield f"  %ndim.{i} = load i32, ptr %ndim.at.{i}"
    yield f"  %ndim.ok.{i} = icmp eq i32 %ndim.{i}, {spec.ndim}"
    yield _field(f"%flags.at.{i}", f"%arg.{i}", layout.ARRAY_FLAGS)
    yield f"  %flags.all.{i} = load i32, ptr %flags.at.{i}"
    yield f"  %flags.{i} = and i32 %flags.all.{i}, {needed}"
    yield f"  %flags.ok.{i} = icmp eq i32 %flags.{i}, {needed}"
    yield _field(f"%descr.at.{i}", f"%arg.{i}", layout.ARRAY_DESCR)
    yield f"  %descr.{i} = load ptr, ptr %descr.at.{i}"
    # Not the descr's address: arrays that were unpickled have a descr of their own.
    yield _field(f"%word.at.{i}", f"%descr.{i}", layout.DESCR_WORD)
    yield f"  %word.all.{i} = load i64, ptr %word.at.{i}"
    yield f"  %word.{i} = and i64 %word.all.{i}, {_signed(layout.DESCR_WORD_MASK)}"
    yield f"  %dtype.ok.{i} = icmp eq i64 %word.{i}, {word}"
    yield _field(f"%data.at.{i}", f"%arg.{i}", layout.ARRAY_DATA)
    yield f"  %data.array.{i} = load ptr, ptr %data.at.{i}"
    yield f"  %two.ok.{i} = and i1 %ndim.ok.{i}, %flags.ok.{i}"
    yield f"  %fields.ok.{i} = and i1 %two.ok.{i}, %dtype.ok.{i}"
    yield f"  br i1 %fields.ok.{i}, label %{'sizes' if spec.ndim else 'take'}.{i}, label %slow"


#: which Python integers (of 64 bits) a dtype holds exactly
_INTEGER_RANGES = {
    **{f"int{bits}": (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, (1 << min(bits, 63)) - 1) for bits in (8, 16, 32, 64)},
    "float32": (-(1 << 24), 1 << 24),
    "float64": (-(1 << 53), 1 << 53),
}


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _sizes(i: int, spec: InputSpec, frame: FrameLayout) -> Iterator[str]:
    """Block ``sizes.i``: copy the sizes into the frame, check those that must be 1."""
    yield f"sizes.{i}:"
    yield _field(f"%dims.at.{i}", f"%arg.{i}", layout.ARRAY_DIMS)
    yield f"  %dims.{i} = load ptr, ptr %dims.at.{i}"
    ok = "true"
    for k in range(spec.ndim):
        yield f"  %dim.at.{i}.{k} = getelementptr i64, ptr %dims.{i}, i64 {k}"
        yield f"  %dim.{i}.{k} = load i64, ptr %dim.at.{i}.{k}"
        yield _slot(f"%dim.slot.{i}.{k}", frame.input_dim(i, k))
        yield f"  store i64 %dim.{i}.{k}, ptr %dim.slot.{i}.{k}"
        if k < len(spec.broadcastable) and spec.broadcastable[k]:
            yield f"  %dim.one.{i}.{k} = icmp eq i64 %dim.{i}.{k}, 1"
            yield f"  %dims.ok.{i}.{k} = and i1 {ok}, %dim.one.{i}.{k}"
            ok = f"%dims.ok.{i}.{k}"
    yield f"  br i1 {ok}, label %take.{i}, label %slow"


def _scalar_checks(i: int, spec: InputSpec) -> Iterator[str]:
    """Block ``scalar.i`` and its followers: the argument is no array but holds one value."""
    yield f"scalar.{i}:"
    yield f"  %is.numpy.{i} = icmp eq ptr %type.{i}, @lt_scalar_{spec.dtype}"
    if spec.dtype == "float64":
        yield f"  br i1 %is.numpy.{i}, label %value.{i}, label %float.{i}"
        yield f"float.{i}:"
        yield f"  %is.float.{i} = icmp eq ptr %type.{i}, @PyFloat_Type"
        yield f"  br i1 %is.float.{i}, label %value.{i}, label %integer.{i}"
    else:
        following = f"integer.{i}" if _takes_integer(spec) else "slow"
        yield f"  br i1 %is.numpy.{i}, label %value.{i}, label %{following}"
    if _takes_integer(spec):
        yield from _integer_checks(i, spec)
    yield f"value.{i}:"
    yield _field(f"%data.value.{i}", f"%arg.{i}", layout.SCALAR_VALUE)
    yield f"  br label %take.{i}"


def _integer_checks(i: int, spec: InputSpec) -> Iterator[str]:
    """Block ``integer.i`` and its followers: a Python integer that the dtype holds exactly."""
    yield f"integer.{i}:"
    yield f"  %is.python.{i} = icmp eq ptr %type.{i}, @PyLong_Type"
    yield f"  br i1 %is.python.{i}, label %convert.{i}, label %slow"
    yield f"convert.{i}:"
    yield f"  %long.{i} = call i64 @PyLong_AsLongLongAndOverflow(ptr %arg.{i}, ptr %overflow)"
    yield f"  %overflow.{i} = load i32, ptr %overflow"
    yield f"  %small.{i} = icmp eq i32 %overflow.{i}, 0"
    low, high = _INTEGER_RANGES[spec.dtype]
    yield f"  %above.{i} = icmp sge i64 %long.{i}, {low}"
    yield f"  %below.{i} = icmp sle i64 %long.{i}, {high}"
    yield f"  %within.{i} = and i1 %above.{i}, %below.{i}"
    yield f"  %fits.{i} = and i1 %small.{i}, %within.{i}"
    if spec.dtype.startswith("float"):
        kind = "double" if spec.dtype == "float64" else "float"
        yield f"  %number.{i} = sitofp i64 %long.{i} to {kind}"
        yield f"  store {kind} %number.{i}, ptr %integer.at.{i}"
    else:
        bits = spec.dtype.lstrip("uint")
        yield f"  %number.{i} = {'trunc' if bits != '64' else 'bitcast'} i64 %long.{i} to i{bits}"
        yield f"  store i{bits} %number.{i}, ptr %integer.at.{i}"
    yield f"  br i1 %fits.{i}, label %take.{i}, label %slow"


def _takes_integer(spec: InputSpec) -> bool:
    return _takes_scalar(spec) and spec.dtype in _INTEGER_RANGES


def _takes_scalar(spec: InputSpec) -> bool:
    return spec.ndim == 0 and spec.accept_scalar


def _input_lines(i: int, spec: InputSpec, frame: FrameLayout, after: str) -> Iterator[str]:
    """Blocks ``input.i`` (entered) to ``take.i`` (ends with a branch to *after*)."""
    scalar = _takes_scalar(spec)
    yield f"input.{i}:"
    yield f"  %arg.at.{i} = getelementptr ptr, ptr %args, i64 {i}"
    yield f"  %arg.{i} = load ptr, ptr %arg.at.{i}"
    yield _field(f"%type.at.{i}", f"%arg.{i}", layout.OBJECT_TYPE)
    yield f"  %type.{i} = load ptr, ptr %type.at.{i}"
    # Exact: a subclass of ndarray may mean anything by its memory (masked arrays).
    yield f"  %is.array.{i} = icmp eq ptr %type.{i}, @lt_ndarray"
    yield f"  br i1 %is.array.{i}, label %array.{i}, label %{f'scalar.{i}' if scalar else 'slow'}"
    yield from _array_checks(i, spec)
    if spec.ndim:
        yield from _sizes(i, spec, frame)
    if scalar:
        yield from _scalar_checks(i, spec)
    yield f"take.{i}:"
    sources = [f"[ %data.array.{i}, %{'sizes' if spec.ndim else 'array'}.{i} ]"]
    if scalar:
        sources.append(f"[ %data.value.{i}, %value.{i} ]")
        if _takes_integer(spec):
            sources.append(f"[ %integer.at.{i}, %convert.{i} ]")
    yield f"  %data.{i} = phi ptr {', '.join(sources)}"
    yield _slot(f"%data.slot.{i}", frame.input_data(i))
    yield f"  store ptr %data.{i}, ptr %data.slot.{i}"
    yield f"  br label %{after}"


def _run_lines(frame: FrameLayout, core: str) -> Iterator[str]:
    """Block ``run``: clear the error record and the output slots, call the core."""
    yield "run:"
    yield _slot("%record.slot", frame.error_record)
    yield "  store ptr %record, ptr %record.slot"
    # Not a store of an aggregate: LLVM takes 1.5 ms to break that up.
    yield (
        "  call void @llvm.memset.p0.i64(ptr align 64 %record, i8 0, "
        f"i64 {8 * RECORD_WORDS}, i1 false)"
    )
    for j in range(frame.n_outputs):
        yield _slot(f"%object.slot.{j}", frame.output_object(j))
        yield f"  store ptr null, ptr %object.slot.{j}"
    yield f"  %code = call i32 @{core}(ptr %frame)"
    yield "  %failed = icmp ne i32 %code, 0"
    yield "  br i1 %failed, label %error, label %finish"
    yield "error:"
    yield (
        "  %raised = call ptr @lt_entry_error(ptr %self, ptr %args, i64 %nargs, ptr %record, "
        f"i32 %code, ptr %frame, i64 {frame.output_object(0)}, i64 {frame.n_outputs})"
    )
    yield "  ret ptr %raised"


def _finish_lines(frame: FrameLayout, returns: Returns) -> Iterator[str]:
    """Block ``finish``: hand the outputs to Python."""
    yield "finish:"
    if returns == "value":
        if frame.n_outputs != 1:
            raise ValueError(f"'value' returns one output, not {frame.n_outputs}")
        yield "  %value = load ptr, ptr %object.slot.0"
        yield "  %missing = icmp eq ptr %value, null"
        yield "  br i1 %missing, label %error, label %done"
        yield "done:"
        yield "  ret ptr %value"
        return
    count = frame.n_outputs if returns == "list" else 0
    yield (
        f"  %list = call ptr @lt_entry_list(ptr %frame, i64 {frame.output_object(0)}, "
        f"i64 {frame.n_outputs}, i64 {count})"
    )
    yield "  ret ptr %list"


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
        Symbol of the entry: ``define ptr @name(ptr %self, ptr %args, i64 %nargsf, ptr %kwnames)``.
        It serves a `NativeCallable` and, unchanged, a builtin function with
        METH_FASTCALL|METH_KEYWORDS.
    inputs, outputs
        The signature; the frame is ``FrameLayout.of(inputs, outputs)``.
    returns
        ``"value"``: the one output itself; ``"list"``: a list of all outputs; ``"none"``: an empty
        list, and outputs that the core made are released.
    core
        Symbol of the core function, which must be defined in the same module.

    Notes
    -----
    The text has no declarations; `module_text` adds them.
    """
    frame = FrameLayout.of(inputs, outputs)
    blocks = [f"input.{i}" for i in range(len(inputs))] + ["run"]
    lines = [
        f"define ptr @{name}(ptr %self, ptr %args, i64 %nargsf, ptr %kwnames) nounwind {{",
        "entry:",
        f"  %frame = alloca [{frame.size} x i64], align 16",
        f"  %record = alloca [{RECORD_WORDS} x i64], align 64",
        "  %overflow = alloca i32",
    ]
    lines += [
        f"  %integer.at.{i} = alloca i64" for i, spec in enumerate(inputs) if _takes_integer(spec)
    ]
    lines += [
        # The top bit says that args[-1] may be overwritten.
        "  %nargs = and i64 %nargsf, 9223372036854775807",
        f"  %count.ok = icmp eq i64 %nargs, {len(inputs)}",
        "  %plain = icmp eq ptr %kwnames, null",
        "  %call.ok = and i1 %count.ok, %plain",
        f"  br i1 %call.ok, label %{blocks[0]}, label %slow",
    ]
    for i, spec in enumerate(inputs):
        lines += _input_lines(i, spec, frame, blocks[i + 1])
    lines += _run_lines(frame, core)
    lines += _finish_lines(frame, returns)
    lines += [
        "slow:",
        "  %slowly = call ptr @lt_entry_slow(ptr %self, ptr %args, i64 %nargsf, ptr %kwnames)",
        "  ret ptr %slowly",
        "}",
        "",
    ]
    return "\n".join(lines)


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
