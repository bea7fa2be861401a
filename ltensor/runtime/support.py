"""What all native entries share: a support module, and the symbols that they import (layer 4).

`ensure_support` compiles the module once for the process and registers its functions with the JIT,
so that user modules only declare them.
"""

from __future__ import annotations

import ctypes
import importlib
import sys

import numpy as np

from ltensor.lowering.cpu import jit
from ltensor.lowering.cpu.once import Once
from ltensor.runtime import array_memory, cell, layout, scalar_arguments
from ltensor.runtime.enter import enter_text

__all__ = ["DECLARATIONS", "RECORD_WORDS", "ensure_support", "support_text"]

DECLARATIONS: dict[str, str] = {
    "lt_ndarray": "@lt_ndarray = external global i8",
    "lt_name_call_slow": "@lt_name_call_slow = external global i8",
    "lt_name_raise_error": "@lt_name_raise_error = external global i8",
    "PyBool_Type": "@PyBool_Type = external global i8",
    "PyFloat_Type": "@PyFloat_Type = external global i8",
    "PyLong_Type": "@PyLong_Type = external global i8",
    "_Py_NoneStruct": "@_Py_NoneStruct = external global i8",
    "_Py_TrueStruct": "@_Py_TrueStruct = external global i8",
    "PyExc_SystemError": "@PyExc_SystemError = external global ptr",
    "lt_PyArray_New": ("declare ptr @lt_PyArray_New(ptr, i32, ptr, i32, ptr, ptr, i32, i32, ptr)"),
    "lt_PyArray_CastToType": "declare ptr @lt_PyArray_CastToType(ptr, ptr, i32)",
    "lt_PyArray_DescrFromType": "declare ptr @lt_PyArray_DescrFromType(i32)",
    "lt_PyArray_NewCopy": "declare ptr @lt_PyArray_NewCopy(ptr, i32)",
    "lt_call_python": "declare i64 @lt_call_python(ptr, i64)",
    "lt_apart": "declare i1 @lt_apart(ptr, i64, i64)",
    "lt_cells_prepare": "declare i64 @lt_cells_prepare(ptr, i64, i64)",
    "lt_cells_commit": "declare void @lt_cells_commit(ptr, i64)",
    "lt_lend_output": "declare void @lt_lend_output(ptr, i64, ptr)",
    "lt_cell_set": "declare void @lt_cell_set(ptr, ptr)",
    "lt_alloc_output": "declare ptr @lt_alloc_output(ptr, i64, i32, i32, ptr)",
    "lt_adopt_output": ("declare ptr @lt_adopt_output(ptr, i64, i32, i32, ptr, i64, ptr, ptr)"),
    "lt_entry_slow": "declare ptr @lt_entry_slow(ptr, ptr, i64, ptr) cold",
    "lt_entry_error": "declare ptr @lt_entry_error(ptr, ptr, i64, ptr, i32, ptr, i64, i64) cold",
    "lt_entry_list": "declare ptr @lt_entry_list(ptr, i64, i64, i64)",
    "Py_IncRef": "declare void @Py_IncRef(ptr)",
    "Py_DecRef": "declare void @Py_DecRef(ptr)",
    "PyErr_Occurred": "declare ptr @PyErr_Occurred()",
    "PyErr_NoMemory": "declare ptr @PyErr_NoMemory()",
    "PyErr_SetString": "declare void @PyErr_SetString(ptr, ptr)",
    "PyMem_Malloc": "declare ptr @PyMem_Malloc(i64)",
    "PyMem_Free": "declare void @PyMem_Free(ptr)",
    "PyList_New": "declare ptr @PyList_New(i64)",
    "PyDict_New": "declare ptr @PyDict_New()",
    "PyDict_SetItem": "declare i32 @PyDict_SetItem(ptr, ptr, ptr)",
    "PyList_GetItem": "declare ptr @PyList_GetItem(ptr, i64)",
    "PyList_SetItem": "declare i32 @PyList_SetItem(ptr, i64, ptr)",
    "PyTuple_New": "declare ptr @PyTuple_New(i64)",
    "PyTuple_GetItem": "declare ptr @PyTuple_GetItem(ptr, i64)",
    "PyTuple_Size": "declare i64 @PyTuple_Size(ptr)",
    "PyTuple_SetItem": "declare i32 @PyTuple_SetItem(ptr, i64, ptr)",
    "PyLong_FromLongLong": "declare ptr @PyLong_FromLongLong(i64)",
    "PyLong_AsLongLong": "declare i64 @PyLong_AsLongLong(ptr)",
    "PyLong_AsLongLongAndOverflow": "declare i64 @PyLong_AsLongLongAndOverflow(ptr, ptr)",
    "PyObject_GetAttr": "declare ptr @PyObject_GetAttr(ptr, ptr)",
    "PyObject_VectorcallMethod": "declare ptr @PyObject_VectorcallMethod(ptr, ptr, i64, ptr)",
    "PyObject_CallFunctionObjArgs": "declare ptr @PyObject_CallFunctionObjArgs(ptr, ...)",
    "PyEval_SaveThread": "declare ptr @PyEval_SaveThread()",
    "PyEval_RestoreThread": "declare void @PyEval_RestoreThread(ptr)",
}
"""Declarations of the symbols that cores and entries may use, by name."""

RECORD_WORDS = 64
"""Length of the error record."""

# Slots in the table behind NumPy's _ARRAY_API capsule; the same since NumPy 1.0.
_NUMPY_FUNCTIONS = {"DescrFromType": 45, "CastToType": 49, "NewCopy": 85, "New": 93}

SCALAR_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)

#: attributes of functions that run when something is wrong, or take far longer than their own
#: code does: LLVM takes half the time for them
SELDOM = "cold nounwind noinline optnone"

_MESSAGES = {
    "lt_no_output": "native code returned without its outputs",
}

_SUPPORT = r"""
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

; Make an output array, leave it and its data's address in the frame.
; Return that address, or null with an exception set.
define ptr @lt_alloc_output(ptr %frame, i64 %slot, i32 %type, i32 %ndim, ptr %dims) nounwind {
  %array = call ptr @lt_new_array(i32 %type, i32 %ndim, ptr %dims)
  %at = getelementptr i64, ptr %frame, i64 %slot
  store ptr %array, ptr %at
  %failed = icmp eq ptr %array, null
  br i1 %failed, label %no, label %yes
yes:
  %data.at = getelementptr i8, ptr %array, i64 ARRAY_DATA
  %data = load ptr, ptr %data.at
  %next = getelementptr i64, ptr %at, i64 1
  store ptr %data, ptr %next
  ret ptr %data
no:
  ret ptr null
}

; Make an output array of what is in the block at %block.at, of %room.at bytes: around it if it is
; of the pool and not much too large (the block is the array's then), else a copy.
; Return the address of its data, or null with an exception set.
define ptr @lt_adopt_output(ptr %frame, i64 %slot, i32 %type, i32 %ndim, ptr %dims, i64 %bytes,
                            ptr %block.at, ptr %room.at) nounwind {
  %block = load ptr, ptr %block.at
  %pooled = call i64 @lt_pooled_bytes(i32 %type, i32 %ndim, ptr %dims)
  %small = icmp eq i64 %pooled, 0
  br i1 %small, label %copy, label %large
large:
  %size.at = getelementptr i8, ptr %block, i64 -8
  %size = load i64, ptr %size.at
  %twice = shl i64 %pooled, 1
  %wasteful = icmp ugt i64 %size, %twice
  br i1 %wasteful, label %copy, label %adopt
adopt:
  %array = call ptr @lt_array_around(i32 %type, i32 %ndim, ptr %dims, ptr %block)
  %at = getelementptr i64, ptr %frame, i64 %slot
  store ptr %array, ptr %at
  %failed = icmp eq ptr %array, null
  br i1 %failed, label %no, label %yes
yes:
  store ptr null, ptr %block.at
  store i64 0, ptr %room.at
  %next = getelementptr i64, ptr %at, i64 1
  store ptr %block, ptr %next
  ret ptr %block
no:
  ret ptr null
copy:
  %data = call ptr @lt_alloc_output(ptr %frame, i64 %slot, i32 %type, i32 %ndim, ptr %dims)
  %poor = icmp eq ptr %data, null
  br i1 %poor, label %no, label %fill
fill:
  call void @llvm.memcpy.p0.p0.i64(ptr %data, ptr %block, i64 %bytes, i1 false)
  ret ptr %data
}

; Drop the outputs that a core has made.
define internal void @lt_release(ptr %frame, i64 %first, i64 %count) nounwind {
start:
  br label %head
head:
  %k = phi i64 [ 0, %start ], [ %k.next, %more ]
  %go = icmp slt i64 %k, %count
  br i1 %go, label %body, label %end
body:
  %twice = shl i64 %k, 1
  %slot = add i64 %first, %twice
  %at = getelementptr i64, ptr %frame, i64 %slot
  %object = load ptr, ptr %at
  %none = icmp eq ptr %object, null
  br i1 %none, label %more, label %drop
drop:
  call void @Py_DecRef(ptr %object)
  br label %more
more:
  %k.next = add i64 %k, 1
  br label %head
end:
  ret void
}

; Call self._call_slow with the very arguments, behind self in a vector of their own.
; (PyObject_Vectorcall would do without the copy; CPython 3.10 does not export it.)
define ptr @lt_entry_slow(ptr %self, ptr %args, i64 %nargsf, ptr %kwnames) SELDOM {
  %nargs = and i64 %nargsf, 9223372036854775807
  %plain = icmp eq ptr %kwnames, null
  br i1 %plain, label %copy, label %keywords
keywords:
  %nkw = call i64 @PyTuple_Size(ptr %kwnames)
  br label %copy
copy:
  %named = phi i64 [ 0, %0 ], [ %nkw, %keywords ]
  %n = add i64 %nargs, %named
  %bytes = shl i64 %n, 3
  %with.self = add i64 %bytes, 8
  ; On the heap: f(*args) may have a million of them.
  %vector = call ptr @PyMem_Malloc(i64 %with.self)
  %none = icmp eq ptr %vector, null
  br i1 %none, label %no.memory, label %go
go:
  store ptr %self, ptr %vector
  %rest = getelementptr i8, ptr %vector, i64 8
  call void @llvm.memcpy.p0.p0.i64(ptr %rest, ptr %args, i64 %bytes, i1 false)
  %count = add i64 %nargs, 1
  %result = call ptr @PyObject_VectorcallMethod(ptr @lt_name_call_slow, ptr %vector,
                                               i64 %count, ptr %kwnames)
  call void @PyMem_Free(ptr %vector)
  ret ptr %result
no.memory:
  %error = call ptr @PyErr_NoMemory()
  ret ptr null
}

; A tuple of n integers or of n borrowed objects, None for null; null with an exception.
define internal ptr @lt_tuple(ptr %from, i64 %n, i1 %objects) SELDOM {
start:
  %tuple = call ptr @PyTuple_New(i64 %n)
  %none = icmp eq ptr %tuple, null
  br i1 %none, label %fail, label %head
head:
  %k = phi i64 [ 0, %start ], [ %k.next, %put ]
  %go = icmp slt i64 %k, %n
  br i1 %go, label %body, label %end
body:
  %at = getelementptr i64, ptr %from, i64 %k
  br i1 %objects, label %object, label %integer
object:
  %item.or.null = load ptr, ptr %at
  %is.null = icmp eq ptr %item.or.null, null
  %borrowed = select i1 %is.null, ptr @_Py_NoneStruct, ptr %item.or.null
  call void @Py_IncRef(ptr %borrowed)
  br label %put
integer:
  %value = load i64, ptr %at
  %long = call ptr @PyLong_FromLongLong(i64 %value)
  %long.none = icmp eq ptr %long, null
  br i1 %long.none, label %drop, label %put
put:
  %item = phi ptr [ %borrowed, %object ], [ %long, %integer ]
  %ignored = call i32 @PyTuple_SetItem(ptr %tuple, i64 %k, ptr %item)
  %k.next = add i64 %k, 1
  br label %head
drop:
  call void @Py_DecRef(ptr %tuple)
  br label %fail
fail:
  ret ptr null
end:
  ret ptr %tuple
}

; Call self._raise_error(record, args): null with an exception set, or the result of another try.
define internal ptr @lt_raise(ptr %self, ptr %args, i64 %nargs, ptr %record) SELDOM {
start:
  %words = call ptr @lt_tuple(ptr %record, i64 RECORD_WORDS, i1 false)
  %words.none = icmp eq ptr %words, null
  br i1 %words.none, label %end, label %with.words
with.words:
  %tuple = call ptr @lt_tuple(ptr %args, i64 %nargs, i1 true)
  %tuple.none = icmp eq ptr %tuple, null
  br i1 %tuple.none, label %drop.words, label %with.args
with.args:
  %method = call ptr @PyObject_GetAttr(ptr %self, ptr @lt_name_raise_error)
  %method.none = icmp eq ptr %method, null
  br i1 %method.none, label %drop.args, label %with.method
with.method:
  %result = call ptr (ptr, ...) @PyObject_CallFunctionObjArgs(ptr %method, ptr %words,
                                                             ptr %tuple, ptr null)
  call void @Py_DecRef(ptr %method)
  br label %drop.args
drop.args:
  %answer = phi ptr [ %result, %with.method ], [ null, %with.args ]
  call void @Py_DecRef(ptr %tuple)
  br label %drop.words
drop.words:
  %answer.too = phi ptr [ %answer, %drop.args ], [ null, %with.words ]
  call void @Py_DecRef(ptr %words)
  br label %end
end:
  %final = phi ptr [ %answer.too, %drop.words ], [ null, %start ]
  ret ptr %final
}

; A core failed (code not 0) or left its only output out (code 0).
; Null with an exception set, or what another try gave.
define ptr @lt_entry_error(ptr %self, ptr %args, i64 %nargs, ptr %record, i32 %code,
                           ptr %frame, i64 %first, i64 %count) SELDOM {
  call void @lt_release(ptr %frame, i64 %first, i64 %count)
  %pending = call ptr @PyErr_Occurred()
  %has = icmp ne ptr %pending, null
  br i1 %has, label %end, label %fresh
fresh:
  %success = icmp eq i32 %code, 0
  br i1 %success, label %no.output, label %report
no.output:
  %error = load ptr, ptr @PyExc_SystemError
  call void @PyErr_SetString(ptr %error, ptr @lt_no_output)
  br label %end
report:
  %number = load i64, ptr %record
  %unset = icmp eq i64 %number, 0
  %wide = sext i32 %code to i64
  %final = select i1 %unset, i64 %wide, i64 %number
  store i64 %final, ptr %record
  %again = call ptr @lt_raise(ptr %self, ptr %args, i64 %nargs, ptr %record)
  ret ptr %again
end:
  ret ptr null
}

; Call a Python object with a number; its result as a number, 0 with an exception set if it fails.
define i64 @lt_call_python(ptr %object, i64 %number) nounwind {
  %long = call ptr @PyLong_FromLongLong(i64 %number)
  %poor = icmp eq ptr %long, null
  br i1 %poor, label %fail, label %go
go:
  %result = call ptr (ptr, ...) @PyObject_CallFunctionObjArgs(ptr %object, ptr %long, ptr null)
  call void @Py_DecRef(ptr %long)
  %none = icmp eq ptr %result, null
  br i1 %none, label %fail, label %read
read:
  %value = call i64 @PyLong_AsLongLong(ptr %result)
  call void @Py_DecRef(ptr %result)
  ret i64 %value
fail:
  ret i64 0
}

; A list of the first `wanted` outputs; the others are dropped.
define ptr @lt_entry_list(ptr %frame, i64 %first, i64 %count, i64 %wanted) nounwind {
start:
  %list = call ptr @PyList_New(i64 %wanted)
  %none = icmp eq ptr %list, null
  br i1 %none, label %fail, label %head
head:
  %k = phi i64 [ 0, %start ], [ %k.next, %put ]
  %go = icmp slt i64 %k, %wanted
  br i1 %go, label %body, label %end
body:
  %twice = shl i64 %k, 1
  %slot = add i64 %first, %twice
  %at = getelementptr i64, ptr %frame, i64 %slot
  %object = load ptr, ptr %at
  %missing = icmp eq ptr %object, null
  br i1 %missing, label %no.output, label %put
put:
  %ignored = call i32 @PyList_SetItem(ptr %list, i64 %k, ptr %object)
  store ptr null, ptr %at
  %k.next = add i64 %k, 1
  br label %head
no.output:
  call void @Py_DecRef(ptr %list)
  %error = load ptr, ptr @PyExc_SystemError
  call void @PyErr_SetString(ptr %error, ptr @lt_no_output)
  br label %fail
fail:
  call void @lt_release(ptr %frame, i64 %first, i64 %count)
  ret ptr null
end:
  %surplus = icmp slt i64 %wanted, %count
  br i1 %surplus, label %drop, label %done
drop:
  call void @lt_release(ptr %frame, i64 %first, i64 %count)
  br label %done
done:
  ret ptr %list
}
"""

# Symbols that the support module defines and others may use.
_EXPORTS = (
    "lt_alloc_output",
    "lt_adopt_output",
    "lt_enter",
    "lt_entry_slow",
    "lt_entry_error",
    "lt_entry_list",
    "lt_call_python",
    *cell.EXPORTS,
)


def support_text() -> str:
    """Return the LLVM text of the support module."""
    body = _SUPPORT.replace("RECORD_WORDS", str(RECORD_WORDS)).replace(
        "ARRAY_DATA", str(layout.ARRAY_DATA)
    )
    declarations = [line for name, line in DECLARATIONS.items() if name not in _EXPORTS]
    messages = [
        f'@{name} = internal constant [{len(text) + 1} x i8] c"{text}\\00"'
        for name, text in _MESSAGES.items()
    ]
    arrays = array_memory.module_text(SCALAR_DTYPES)
    entry = enter_text(SCALAR_DTYPES, RECORD_WORDS)
    parts = [*declarations, *messages, body, arrays, entry, cell.module_text()]
    return "\n".join(parts).replace("SELDOM", SELDOM)


def _array_api() -> ctypes.Array[ctypes.c_void_p]:
    """Return NumPy's table of C functions."""
    # NumPy 2 renamed the package; the old name warns there.
    core = "numpy._core" if int(np.__version__.split(".")[0]) >= 2 else "numpy.core"
    umath = importlib.import_module(f"{core}._multiarray_umath")
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    table = prototype(("PyCapsule_GetPointer", ctypes.pythonapi))(umath._ARRAY_API, None)
    return (ctypes.c_void_p * (max(_NUMPY_FUNCTIONS.values()) + 1)).from_address(table)


@Once
def _load() -> jit.CompiledModule:
    # Objects, not constants of the text: their addresses differ from process to process.
    names = {f"lt_name{name}": name for name in ("_call_slow", "_raise_error")}
    for symbol, attribute in names.items():
        jit.register_symbol(symbol, id(attribute), attribute)
    jit.register_symbol("lt_ndarray", id(np.ndarray))
    jit.register_symbol("lt_changes", cell.changes_address())
    for dtype in SCALAR_DTYPES:
        jit.register_symbol(f"lt_scalar_{dtype}", id(np.dtype(dtype).type))
    for function, slot in _NUMPY_FUNCTIONS.items():
        address = _array_api()[slot]
        assert address is not None
        jit.register_symbol(f"lt_PyArray_{function}", address)
    # the text has NumPy's numbers of dtypes and rules for them
    label = f"support of Python {sys.version} and NumPy {np.__version__}"
    module = jit.compile_library(label, support_text, array_memory.block_symbols())
    array_memory.install(module.addresses)
    cell.set_natively(module.address("lt_cell_set"))
    scalar_arguments.follow_floatx(module.address("lt_floatx_is_single"))
    for symbol in _EXPORTS:
        jit.register_symbol(symbol, module.address(symbol), module)
    return module


def address(name: str) -> int:
    """Return the address of a function of the support module."""
    ensure_support()
    return _load().address(name)


def ensure_support() -> None:
    """Compile the support module and register the symbols of entries, once for the process.

    To be called before modules with entries are compiled.
    """
    _load()
