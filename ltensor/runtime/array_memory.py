"""Memory of large result arrays: blocks of the pool, given back when the array dies (layer 4).

A fresh array of some megabytes is made of pages that the system has yet to map, one fault per 4 KiB
when it is first written: that takes longer than computing a cheap result. Large results therefore
lie in blocks of `ltensor.lowering.cpu.block_pool`. NumPy frees an array's data by the handler that
the array holds (NEP 49, NumPy 1.22), so such an array owns its data like any other: it may be
resized, pickled, kept for ever.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import numpy as np

from ltensor.lowering.cpu import block_pool
from ltensor.lowering.cpu.placeholders import filled
from ltensor.runtime import layout

#: results of fewer bytes are left to NumPy
LEAST_BYTES = 64 << 10
#: where an array keeps its handler, a capsule; the last field since NumPy 1.22
ARRAY_HANDLER = 88
_BASIC_SIZE = 96
#: capsules do not copy their names
_NAME = b"mem_handler"
#: C-ordered, aligned, writeable
_FLAGS = 0x501

_TEXT = r"""
declare ptr @lt_block_take(i64)
declare void @lt_block_give(ptr)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

define ptr @lt_array_malloc(ptr %ctx, i64 %size) {
  ; blocks of the pool alone know their size
  %small = icmp ult i64 %size, LEAST
  %rounded = select i1 %small, i64 LEAST, i64 %size
  %block = call ptr @lt_block_take(i64 %rounded)
  ret ptr %block
}

define ptr @lt_array_calloc(ptr %ctx, i64 %count, i64 %each) SELDOM {
  %size = mul i64 %count, %each
  %block = call ptr @lt_array_malloc(ptr %ctx, i64 %size)
  %none = icmp eq ptr %block, null
  br i1 %none, label %end, label %clear
clear:
  call void @llvm.memset.p0.i64(ptr %block, i8 0, i64 %size, i1 false)
  br label %end
end:
  ret ptr %block
}

define ptr @lt_array_realloc(ptr %ctx, ptr %old, i64 %size) SELDOM {
  %block = call ptr @lt_array_malloc(ptr %ctx, i64 %size)
  %none = icmp eq ptr %block, null
  %fresh = icmp eq ptr %old, null
  %skip = or i1 %none, %fresh
  br i1 %skip, label %end, label %move
move:
  %size.at = getelementptr i8, ptr %old, i64 -8
  %have = load i64, ptr %size.at
  %less = icmp ult i64 %have, %size
  %bytes = select i1 %less, i64 %have, i64 %size
  call void @llvm.memcpy.p0.p0.i64(ptr %block, ptr %old, i64 %bytes, i1 false)
  call void @lt_block_give(ptr %old)
  br label %end
end:
  ret ptr %block
}

define void @lt_array_free(ptr %ctx, ptr %block, i64 %size) {
  call void @lt_block_give(ptr %block)
  ret void
}

; An array of %bytes in a block of the pool; null with an exception set if there is no memory.
define internal ptr @lt_array_in_block(i32 %type, i32 %ndim, ptr %dims, i64 %bytes) {
  %block = call ptr @lt_block_take(i64 %bytes)
  %none = icmp eq ptr %block, null
  br i1 %none, label %poor, label %make
poor:
  ; NumPy says how much it was that could not be had
  %usual = call ptr @lt_PyArray_New(ptr @lt_ndarray, i32 %ndim, ptr %dims, i32 %type, ptr null,
                                    ptr null, i32 0, i32 0, ptr null)
  ret ptr %usual
make:
  %array = call ptr @lt_array_around(i32 %type, i32 %ndim, ptr %dims, ptr %block)
  %failed = icmp eq ptr %array, null
  br i1 %failed, label %drop, label %good
drop:
  call void @lt_block_give(ptr %block)
  ret ptr null
good:
  ret ptr %array
}

; An array that owns %block; null with an exception set if it cannot be made.
define internal ptr @lt_array_around(i32 %type, i32 %ndim, ptr %dims, ptr %block) {
  %array = call ptr @lt_PyArray_New(ptr @lt_ndarray, i32 %ndim, ptr %dims, i32 %type, ptr null,
                                    ptr %block, i32 0, i32 FLAGS, ptr null)
  %failed = icmp eq ptr %array, null
  br i1 %failed, label %none, label %own
none:
  ret ptr null
own:
  %flags.at = getelementptr i8, ptr %array, i64 ARRAY_FLAGS
  %flags = load i32, ptr %flags.at
  %owned = or i32 %flags, OWNS
  store i32 %owned, ptr %flags.at
  %handler = load ptr, ptr @lt_array_handler
  call void @Py_IncRef(ptr %handler)
  %handler.at = getelementptr i8, ptr %array, i64 ARRAY_HANDLER
  store ptr %handler, ptr %handler.at
  ret ptr %array
}

; The bytes of an array if it may lie in a block of the pool, else 0.
define internal i64 @lt_pooled_bytes(i32 %type, i32 %ndim, ptr %dims) {
  %handler = load ptr, ptr @lt_array_handler
  %plain = icmp eq ptr %handler, null
  %odd = icmp uge i32 %type, TYPES
  %numpy = or i1 %plain, %odd
  br i1 %numpy, label %never, label %measure
measure:
  %size.at = getelementptr i8, ptr @lt_item_sizes, i32 %type
  %size.byte = load i8, ptr %size.at
  %item = zext i8 %size.byte to i64
  br label %head
head:
  %k = phi i32 [ 0, %measure ], [ %k.next, %more ]
  %bytes = phi i64 [ %item, %measure ], [ %bytes.next, %more ]
  %go = icmp slt i32 %k, %ndim
  br i1 %go, label %more, label %known
more:
  %dim.at = getelementptr i64, ptr %dims, i32 %k
  %dim = load i64, ptr %dim.at
  %bytes.next = mul i64 %bytes, %dim
  %k.next = add i32 %k, 1
  br label %head
known:
  %enough = icmp uge i64 %bytes, LEAST
  %sane = icmp ult i64 %bytes, 1152921504606846976
  %pooled = and i1 %enough, %sane
  %result = select i1 %pooled, i64 %bytes, i64 0
  ret i64 %result
never:
  ret i64 0
}

; Make an output array; a large one in a block of the pool.
define internal ptr @lt_new_array(i32 %type, i32 %ndim, ptr %dims) {
  %bytes = call i64 @lt_pooled_bytes(i32 %type, i32 %ndim, ptr %dims)
  %pooled = icmp ne i64 %bytes, 0
  br i1 %pooled, label %block, label %usual
block:
  %made = call ptr @lt_array_in_block(i32 %type, i32 %ndim, ptr %dims, i64 %bytes)
  ret ptr %made
usual:
  %array = call ptr @lt_PyArray_New(ptr @lt_ndarray, i32 %ndim, ptr %dims, i32 %type, ptr null,
                                    ptr null, i32 0, i32 0, ptr null)
  ret ptr %array
}
"""


class _Allocator(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free")]


class _Handler(ctypes.Structure):
    """NumPy's ``PyDataMem_Handler``."""

    _fields_ = [
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("allocator", _Allocator),
    ]


def module_text(dtypes: tuple[str, ...]) -> str:
    """The part of the support module that makes arrays; ``dtypes`` are those of outputs."""
    sizes: dict[int, int] = {np.dtype(d).num: np.dtype(d).itemsize for d in dtypes}
    count = max(sizes) + 1
    table = ", ".join(f"i8 {sizes.get(k, 0)}" for k in range(count))
    text = filled(
        _TEXT,
        (
            ("LEAST", LEAST_BYTES),
            ("FLAGS,", f"{_FLAGS},"),
            ("ARRAY_FLAGS", layout.ARRAY_FLAGS),
            ("ARRAY_HANDLER", ARRAY_HANDLER),
            ("OWNS", layout.OWNS_DATA),
            ("TYPES", count),
        ),
    )
    return (
        f"@lt_item_sizes = internal constant [{count} x i8] [{table}]\n"
        "@lt_array_handler = global ptr null\n" + text
    )


def as_assumed() -> bool:
    """Whether arrays keep their handler where it is expected."""
    if np.ndarray.__basicsize__ != _BASIC_SIZE or layout.probe():
        return False
    array = np.empty(3)
    holder = ctypes.c_void_p.from_address(id(array) + ARRAY_HANDLER).value
    if not holder:
        return False
    is_capsule = ctypes.c_void_p.from_address(holder + layout.OBJECT_TYPE).value == id(
        type(_capsule(b"probe", id(array)))
    )
    return is_capsule and bool(_is_valid(holder, _NAME))


def _capsule(name: bytes, address: int) -> object:
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = (
        ctypes.py_object,
        (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
    )
    return make(address, name, None)


def _is_valid(holder: int, name: bytes) -> int:
    check = ctypes.pythonapi.PyCapsule_IsValid
    check.restype, check.argtypes = ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p)
    return int(check(holder, name))


_kept: list[object] = []


def install(address: Mapping[str, int]) -> None:
    """Let the support module, whose symbols ``address`` gives, make large arrays in blocks."""
    if not as_assumed():
        return
    handler = _Handler(b"ltensor_blocks", 1)
    for field in ("malloc", "calloc", "realloc", "free"):
        setattr(handler.allocator, field, address[f"lt_array_{field}"])
    capsule = _capsule(_NAME, ctypes.addressof(handler))
    # arrays may outlive everything else of this module
    _kept.extend((handler, capsule))
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(capsule))
    ctypes.c_void_p.from_address(address["lt_array_handler"]).value = id(capsule)


def block_symbols() -> dict[str, int]:
    """The pool's functions that the support module calls."""
    return {name: block_pool.address(name) for name in ("lt_block_take", "lt_block_give")}
