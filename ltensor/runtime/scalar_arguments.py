"""Numbers given for 0-d arguments, in LLVM IR: Python's and NumPy's scalars (layer 4).

What a dtype holds exactly it takes, as `ltensor.ir.filter` does. A float that float32 does not hold
exactly is taken where ``allow_downcast`` lets it through: True, or None for Python's own floats
under floatX=float32, as it is set when the call is made. All else is left to Python, which has the
messages.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from ltensor.config import config, watch
from ltensor.lowering.cpu.placeholders import filled
from ltensor.runtime import layout, signature

__all__ = ["INTEGER_RANGES", "follow_floatx", "module_text"]

#: which Python integers (of 64 bits) a dtype holds exactly
INTEGER_RANGES = {
    **{f"int{bits}": (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, (1 << min(bits, 63)) - 1) for bits in (8, 16, 32, 64)},
    "float32": (-(1 << 24), 1 << 24),
    "float64": (-(1 << 53), 1 << 53),
}

_TEXT = r"""
declare float @llvm.fabs.f32(float)

; The data of an argument that is no array, in the dtype with number %code; null if it does not fit.
; A number of another type is converted into the word at %room.
define internal ptr @lt_enter_scalar(ptr %self, i64 %i, ptr %arg, ptr %type, i64 %code,
                                     ptr %room) nounwind {
  %overflow = alloca i32
  %value.at = getelementptr i8, ptr %arg, i64 SCALAR_VALUE
  %taken = icmp sge i64 %code, 0
  br i1 %taken, label %numpy, label %no
numpy:
  %own.at = getelementptr ptr, ptr @lt_scalar_types, i64 %code
  %own = load ptr, ptr %own.at
  %is.numpy = icmp eq ptr %type, %own
  br i1 %is.numpy, label %itself, label %python
itself:
  ret ptr %value.at
python:
  %is.float = icmp eq ptr %type, @PyFloat_Type
  br i1 %is.float, label %wide, label %not.float
not.float:
  %is.int = icmp eq ptr %type, @PyLong_Type
  br i1 %is.int, label %long, label %not.int
not.int:
  %is.bool = icmp eq ptr %type, @PyBool_Type
  br i1 %is.bool, label %bool, label %not.bool
not.bool:
  %is.wide = icmp eq ptr %type, @lt_scalar_float64
  br i1 %is.wide, label %wide, label %not.wide
not.wide:
  %is.narrow = icmp eq ptr %type, @lt_scalar_float32
  br i1 %is.narrow, label %narrow, label %not.narrow
not.narrow:
  %is.int64 = icmp eq ptr %type, @lt_scalar_int64
  br i1 %is.int64, label %int64, label %not.int64
not.int64:
  %is.int32 = icmp eq ptr %type, @lt_scalar_int32
  br i1 %is.int32, label %int32, label %no

; floats: what the dtype holds exactly, and what the rules for this input let through
wide:
  %number.wide = load double, ptr %value.at
  br label %float
narrow:
  %number.narrow = load float, ptr %value.at
  %number.up = fpext float %number.narrow to double
  br label %float
float:
  %number = phi double [ %number.wide, %wide ], [ %number.up, %narrow ]
  switch i64 %code, label %no [ i64 DOUBLE, label %float.double
                                i64 SINGLE, label %float.single ]
float.double:
  store double %number, ptr %room
  ret ptr %room
float.single:
  %rounded = fptrunc double %number to float
  store float %rounded, ptr %room
  %back = fpext float %rounded to double
  %exact = fcmp ueq double %back, %number
  br i1 %exact, label %done, label %inexact
inexact:
  ; what becomes infinite is left to NumPy, which warns
  %size = call float @llvm.fabs.f32(float %rounded)
  %infinite = fcmp oeq float %size, 0x7FF0000000000000
  br i1 %infinite, label %no, label %rules
rules:
  %signature.at = getelementptr i8, ptr %self, i64 SIGNATURE_AT
  %signature = load ptr, ptr %signature.at
  %none = icmp eq ptr %signature, null
  br i1 %none, label %no, label %rule
rule:
  %first = mul i64 %i, SIGNATURE_WORDS
  %rule.word = add i64 %first, RULE_WORD
  %rule.at = getelementptr i64, ptr %signature, i64 %rule.word
  %downcast = load i64, ptr %rule.at
  %always = icmp eq i64 %downcast, ALWAYS
  %by.floatx = icmp eq i64 %downcast, BY_FLOATX
  %is.single = load i8, ptr @lt_floatx_is_single
  %single = icmp ne i8 %is.single, 0
  %default = and i1 %by.floatx, %single
  %lenient = and i1 %default, %is.float
  %through = or i1 %always, %lenient
  br i1 %through, label %done, label %no

; integers: those that the dtype holds exactly
bool:
  %is.truth = icmp eq i64 %code, TRUTH
  br i1 %is.truth, label %truth, label %long
truth:
  %yes = icmp eq ptr %arg, @_Py_TrueStruct
  %byte = zext i1 %yes to i8
  store i8 %byte, ptr %room
  ret ptr %room
long:
  ; a dtype that takes none has an empty range; asking for the value is the expensive part
  %long.value = call i64 @PyLong_AsLongLongAndOverflow(ptr %arg, ptr %overflow)
  %beyond = load i32, ptr %overflow
  %small = icmp eq i32 %beyond, 0
  br i1 %small, label %integer, label %no
int64:
  %int64.value = load i64, ptr %value.at
  br label %integer
int32:
  %int32.word = load i32, ptr %value.at
  %int32.value = sext i32 %int32.word to i64
  br label %integer
integer:
  %whole = phi i64 [ %long.value, %long ], [ %int64.value, %int64 ], [ %int32.value, %int32 ]
  %low.at = getelementptr i64, ptr @lt_integer_low, i64 %code
  %low = load i64, ptr %low.at
  %high.at = getelementptr i64, ptr @lt_integer_high, i64 %code
  %high = load i64, ptr %high.at
  %above = icmp sge i64 %whole, %low
  %below = icmp sle i64 %whole, %high
  %within = and i1 %above, %below
  br i1 %within, label %write, label %no
write:
  ; Small integers are the first bytes of large ones.
  store i64 %whole, ptr %room
  switch i64 %code, label %done [ i64 DOUBLE, label %double
                                  i64 SINGLE, label %single.whole ]
double:
  %number.double = sitofp i64 %whole to double
  store double %number.double, ptr %room
  br label %done
single.whole:
  %number.single = sitofp i64 %whole to float
  store float %number.single, ptr %room
  br label %done
done:
  ret ptr %room
no:
  ret ptr null
}
"""


def module_text(dtypes: Sequence[str]) -> str:
    """Return the function as LLVM text, for the dtypes with these numbers."""
    text = filled(
        _TEXT,
        (
            ("SIGNATURE_WORDS", signature.INPUT_WORDS),
            ("RULE_WORD", signature.RULE_WORD),
            ("SIGNATURE_AT", signature.OFFSET),
            ("BY_FLOATX", signature.BY_FLOATX),
            ("ALWAYS", signature.ALWAYS),
            ("TRUTH", dtypes.index("bool")),
            ("DOUBLE", dtypes.index("float64")),
            ("SINGLE", dtypes.index("float32")),
            ("SCALAR_VALUE", layout.SCALAR_VALUE),
        ),
    )
    types = ", ".join(f"ptr @lt_scalar_{dtype}" for dtype in dtypes)
    ranges = [INTEGER_RANGES.get(dtype, (1, 0)) for dtype in dtypes]
    tables = f"@lt_scalar_types = internal constant [{len(dtypes)} x ptr] [{types}]\n"
    for name, place in (("low", 0), ("high", 1)):
        values = ", ".join(f"i64 {pair[place]}" for pair in ranges)
        tables += f"@lt_integer_{name} = internal constant [{len(dtypes)} x i64] [{values}]\n"
    scalars = "".join(f"@lt_scalar_{dtype} = external global i8\n" for dtype in dtypes)
    return scalars + tables + "@lt_floatx_is_single = global i8 0\n" + text


def follow_floatx(address: int) -> None:
    """Keep the byte at ``address`` (``lt_floatx_is_single``) as the flag floatX is."""
    byte = ctypes.c_uint8.from_address(address)

    def follow(value: str) -> None:
        byte.value = value == "float32"

    watch("floatX", follow)
    follow(config.floatX)
