"""Nodes of kind ``python``: a user's ``perform``, called back from native code.

The core writes addresses and sizes of the operands into a record, calls the node's `Callback`, and
copies the results, whose addresses and sizes the callback left in the record, into buffers of its
own. An exception of ``perform`` is kept by the callback; the core leaves with an error of kind
``python``, and whoever reports that raises the very exception (`Callback.take_error`).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Apply, Constant, Op, Variable
from ltensor.ir.types import RandomStateType, TensorType
from ltensor.lowering.block import Block
from ltensor.lowering.fusion import is_scalar
from ltensor.lowering.program import View
from ltensor.lowering.rng.state import STATE_WORDS, pack, unpack
from ltensor.ops.shape import ShapeI

#: what a callback returns; 0 also stands for one that could not even begin (Ctrl-C, recursion)
FAILED, DONE, HOLDS = 0, 1, 2
#: results of up to so many bytes stay until the next call rather than cost one to release them
SMALL = 4096

#: that of ctypes lets go of Python's lock: another thread might update a shared variable meanwhile
_memmove = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(
    ctypes.cast(ctypes.memmove, ctypes.c_void_p).value or 0
)


class Release:
    """Lets go of the results of a callback."""

    def __init__(self, local: threading.local) -> None:
        self._local = local

    def __call__(self, address: int) -> int:
        self._local.held = None
        return DONE


class Callback:
    """What native code calls for one node's ``perform``.

    It takes the address of the record and gives one of `FAILED`, `DONE`, `HOLDS`.

    Attributes
    ----------
    release : Release
        Lets go of the results of the last call; wanted after `HOLDS`.
    """

    def __init__(self, node: Apply) -> None:
        self.node = node
        self._readers: list[Callable[[Any], Any]] = []
        self._writers: list[Callable[[Any, Any], np.ndarray]] = []
        word = 0
        for variable in node.inputs:
            reader, words = _reader(variable, word)
            self._readers.append(reader)
            word += words
        self.first_result = word
        for variable in node.outputs:
            self._writers.append(_writer(node, variable, word))
            word += 1 + _rank(variable)
        self.words = word
        # results and errors of a call belong to the thread that made it
        self._local = threading.local()
        self.release = Release(self._local)

    def __repr__(self) -> str:
        return f"<callback of {self.node.op}>"

    def __call__(self, address: int) -> int:
        local = self._local
        try:
            record = (ctypes.c_int64 * self.words).from_address(address)
            inputs = [read(record) for read in self._readers]
            storage: list[list[Any]] = [[None] for _ in self._writers]
            node = self.node
            node.op.perform(node, inputs, storage)
            arrays = [
                write(record, cell[0]) for write, cell in zip(self._writers, storage, strict=True)
            ]
        except BaseException as error:
            if isinstance(error, ctypes.ArgumentError) and "RecursionError" in str(error):
                # what ctypes makes of it
                error = RecursionError("maximum recursion depth exceeded in a user's op")
            # whoever called the compiled function gets it
            local.error = error
            local.held = None
            return FAILED
        local.held = arrays
        return HOLDS if sum(a.nbytes for a in arrays) > SMALL else DONE

    def take_error(self) -> BaseException:
        """The exception of this thread's last call."""
        error = self._local.__dict__.pop("error", None)
        return (
            SystemError(f"{self.node.op} failed without an exception") if error is None else error
        )


def address_of(array: np.ndarray) -> int:
    """Where the elements of an array start (``array.ctypes`` is four times as slow)."""
    return int(array.__array_interface__["data"][0])


def _rank(variable: Variable) -> int:
    kind = variable.type
    return 1 if isinstance(kind, RandomStateType) else kind.ndim


def _reader(variable: Variable, word: int) -> tuple[Callable[[Any], Any], int]:
    """How an operand is made of the record, and how many words of it that takes.

    Operands are copies: ``perform`` may keep or change them, while the core's buffers are
    short-lived.
    """
    if isinstance(variable, Constant):
        data = variable.data
        if isinstance(data, np.ndarray):
            return (lambda record: data.copy()), 0
        return (lambda record: data), 0
    kind = variable.type
    if isinstance(kind, RandomStateType):

        def read_state(record: Any) -> np.random.RandomState:
            words = np.zeros(STATE_WORDS, np.uint32)
            _memmove(words.ctypes.data, record[word], words.nbytes)
            return unpack(words)

        return read_state, 1
    assert isinstance(kind, TensorType)
    rank, dtype = kind.ndim, kind.numpy_dtype

    def read(record: Any) -> np.ndarray:
        array = np.empty(record[word + 1 : word + 1 + rank], dtype)
        if array.size:
            _memmove(address_of(array), record[word], array.nbytes)
        return array

    return read, 1 + rank


def _writer(node: Apply, variable: Variable, word: int) -> Callable[[Any, Any], np.ndarray]:
    """How a result is entered in the record; gives the array that must be kept."""
    kind = variable.type
    number = node.outputs.index(variable)
    if isinstance(kind, RandomStateType):

        def write_state(record: Any, value: Any) -> np.ndarray:
            words = pack(kind.filter(value))
            record[word], record[word + 1] = words.ctypes.data, STATE_WORDS
            return words

        return write_state

    def write(record: Any, value: Any) -> np.ndarray:
        if value is None:
            raise ValueError(f"{node.op}: perform left output {number} ({variable.type}) unset")
        if isinstance(value, np.generic):
            value = np.asarray(value)
        try:
            array = kind.filter(value)
        except TypeError as error:
            raise TypeError(
                f"{node.op}: perform gave output {number} as {_shown(value)}, but make_node "
                f"declared {kind}. {error.args[0] if error.args else ''}"
            ) from error
        array = np.asarray(array, order="C")
        record[word] = address_of(array)
        for axis, size in enumerate(array.shape):
            record[word + 1 + axis] = size
        return array

    return write


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype} and shape {value.shape}"
    return f"a {type(value).__name__}"


# ----------------------------------------------------------------------------------- lowering


def lower_callback(context: Any, block: Block, node: Apply) -> None:
    """Emit the call of a node's ``perform``.

    Parameters
    ----------
    context : object
        Has ``entry(kind, thing)``, the number of an address in the function's table.
    """
    _check_supported(node)
    b = block.b
    callback = Callback(node)
    # operands first: their code may call back too
    places: list[View | None] = []
    for variable in node.inputs:
        if isinstance(variable, Constant):
            places.append(None)
        elif isinstance(variable.type, RandomStateType):
            places.append(block.value(variable))
        else:
            block.prepare(variable)
            places.append(block.dense(variable))
    record = b.temporary("int64", (b.const(max(1, callback.words)),)).pointer
    word = 0
    for variable, place in zip(node.inputs, places, strict=True):
        if place is None:
            continue
        b.raw_store(record, word, b.shifted(place, 0))
        word += 1
        if isinstance(variable.type, TensorType):
            for size in place.dims:
                b.raw_store(record, word, size)
                word += 1
    assert word == callback.first_result
    call = b.table(context.entry("call", None, "call"))
    function = b.table(context.entry("callback", callback))
    status = b.call_pointer(call, (function, record), "int64")
    b.check(b.ne(status, FAILED), "python", node, (), (callback,))
    for output in node.outputs:
        pointer = b.raw_load(record, word, "ptr")
        static: Sequence[int | None] = (
            output.type.shape if isinstance(output.type, TensorType) else (STATE_WORDS,)
        )
        dims = tuple(
            b.raw_load(record, word + 1 + axis) if size is None else b.const(size)
            for axis, size in enumerate(static)
        )
        word += 1 + len(dims)
        dtype = output.type.dtype if isinstance(output.type, TensorType) else "uint32"
        block.bound[output] = View(dtype, pointer, dims)
    for output in node.outputs:
        _check_sizes(block, node, output)
    for output in node.outputs:
        block.bound[output] = _copied(block, output)
    release = b.table(context.entry("callback", callback.release))
    with b.if_(b.eq(status, HOLDS)):
        let_go = b.call_pointer(call, (release, record), "int64")
        b.check(b.ne(let_go, FAILED), "python", node, (), (callback,))


def _copied(block: Block, output: Variable) -> Any:
    """A result copied out of Python's memory."""
    b = block.b
    source = block.bound[output]
    if is_scalar(output):
        return b.load(source, ())
    if isinstance(output.type, RandomStateType):
        target = b.temporary("uint32", source.dims)
    else:
        target = block.destination(output, source.dims)
    size = b.mul(b.size(source.dims), dt.item_size(target.dtype))
    b.memcpy(b.shifted(target, 0), source.pointer, size)
    return target


def _check_sizes(block: Block, node: Apply, output: Variable) -> None:
    """The user's ``infer_shape`` must not have lied: loops over other values rely on it."""
    if not isinstance(output.type, TensorType):
        return
    b = block.b
    for axis, size in enumerate(block.shapes.shape(output) or ()):
        owner = size.owner
        if owner is not None and isinstance(owner.op, ShapeI) and owner.inputs[0] is output:
            continue
        found = block.bound[output].dims[axis]
        wanted = block.scalar(size)
        same = b.eq(found, wanted)
        number = node.outputs.index(output)
        b.check(same, "python_shape", node, (found, wanted), (str(node.op), number, axis))


def _check_supported(node: Apply) -> None:
    op = node.op
    perform = getattr(type(op), "perform", None)
    if perform is None or perform is Op.perform:
        raise UnsupportedError(
            f"{op} has no method 'perform': ltensor runs a user's op by its perform (its C code "
            "and make_thunk are not used); add one"
        )
    for variable in (*node.inputs, *node.outputs):
        known = isinstance(variable.type, (TensorType, RandomStateType))
        if not known and (variable in node.outputs or not isinstance(variable, Constant)):
            raise UnsupportedError(
                f"{op}: a variable of type {variable.type} can neither be given to a user's op nor "
                "come out of it when the function runs; use tensors, or constants of that type"
            )
