"""The entry that all compiled functions share: arguments into the frame, results out (layer 4).

A function's own entry is data: which core is to be called, and words that say what its arguments
must be. The callable holds its address (`ENTRY_OFFSET`), so compiling a function compiles none of
this again, not even a jump to it. See `ltensor.runtime.entry`.
Keywords, default values and dicts of results need the callable's signature
(`ltensor.runtime.signature`); arrays of another layout (strided, Fortran order, misaligned, other
byte order) or a dtype that upcasts into the wanted one are copied by NumPy for the call.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ltensor.ir.dtypes import upcast
from ltensor.lowering.cpu.placeholders import filled
from ltensor.runtime import layout, scalar_arguments, signature

__all__ = ["INPUT_WORDS", "SPEC_WORDS", "enter_text", "signed"]

#: NumPy's numbers of the dtypes are smaller
_KINDS = 24
#: Words of a specification before those of the inputs: number of inputs; words of the frame; slot
#: of the first output; number of outputs; how many go into a list, -1 for one output itself.
SPEC_WORDS = 5
#: Words of an input: rank; word of its dtype's descr; bits of the dimensions that must have size 1;
#: number of the dtype among those of the module if scalars are taken, else -1.
INPUT_WORDS = 4


def signed(word: int) -> int:
    """Return 64 bits as LLVM writes them."""
    return word - (1 << 64) if word >> 63 else word


_TEXT = r"""
; Put keywords in their places: %given holds %expected pointers, null where nothing was given.
; False if Python must see the call (a name that is unknown, is no interned string, or comes twice).
define internal i1 @lt_enter_names(ptr %given, ptr %args, i64 %nargs, i64 %expected, ptr %kwnames,
                                   ptr %signature) nounwind {
start:
  %bytes = shl i64 %nargs, 3
  call void @llvm.memcpy.p0.p0.i64(ptr %given, ptr %args, i64 %bytes, i1 false)
  %rest = getelementptr ptr, ptr %given, i64 %nargs
  %left = sub i64 %expected, %nargs
  %left.bytes = shl i64 %left, 3
  call void @llvm.memset.p0.i64(ptr %rest, i8 0, i64 %left.bytes, i1 false)
  %plain = icmp eq ptr %kwnames, null
  br i1 %plain, label %good, label %count
count:
  %named = call i64 @PyTuple_Size(ptr %kwnames)
  br label %keywords
keywords:
  %j = phi i64 [ 0, %count ], [ %j.next, %put ]
  %more = icmp ult i64 %j, %named
  br i1 %more, label %keyword, label %good
keyword:
  %name = call ptr @PyTuple_GetItem(ptr %kwnames, i64 %j)
  br label %seek
seek:
  %i = phi i64 [ 0, %keyword ], [ %i.next, %other ]
  %left.over = icmp ult i64 %i, %expected
  br i1 %left.over, label %compare, label %bad
compare:
  %first = mul i64 %i, SIGNATURE_WORDS
  %name.word = add i64 %first, NAME_WORD
  %known.at = getelementptr ptr, ptr %signature, i64 %name.word
  %known = load ptr, ptr %known.at
  %same = icmp eq ptr %known, %name
  br i1 %same, label %found, label %other
other:
  %i.next = add nuw i64 %i, 1
  br label %seek
found:
  %place = getelementptr ptr, ptr %given, i64 %i
  %before = load ptr, ptr %place
  %vacant = icmp eq ptr %before, null
  br i1 %vacant, label %put, label %bad
put:
  %value.place = add i64 %nargs, %j
  %value.at = getelementptr ptr, ptr %args, i64 %value.place
  %value = load ptr, ptr %value.at
  store ptr %value, ptr %place
  %j.next = add nuw i64 %j, 1
  br label %keywords
good:
  ret i1 true
bad:
  ret i1 false
}

; An array as a C-contiguous one of the wanted dtype, both by the words of their descrs. Null with
; an exception set if there is no memory, without one if the dtype does not upcast into the wanted.
define internal ptr @lt_enter_convert(ptr %array, i64 %word, i64 %wanted) SELDOM {
  %same = icmp eq i64 %word, %wanted
  br i1 %same, label %lay.out, label %look
lay.out:
  %copy = call ptr @lt_PyArray_NewCopy(ptr %array, i32 0)
  ret ptr %copy
look:
  %from = lshr i64 %word, 32
  %into = lshr i64 %wanted, 32
  %known = icmp ult i64 %from, KINDS
  br i1 %known, label %rule, label %no
rule:
  %row = mul i64 %into, KINDS
  %place = add i64 %row, %from
  %rule.at = getelementptr i8, ptr @lt_upcasts, i64 %place
  %goes = load i8, ptr %rule.at
  %may = icmp ne i8 %goes, 0
  br i1 %may, label %cast, label %no
cast:
  %number = trunc i64 %into to i32
  %descr = call ptr @lt_PyArray_DescrFromType(i32 %number)
  %none = icmp eq ptr %descr, null
  br i1 %none, label %no, label %go
go:
  %result = call ptr @lt_PyArray_CastToType(ptr %array, ptr %descr, i32 0)
  ret ptr %result
no:
  ret ptr null
}

; A dict of the items of a list, which it takes over.
define internal ptr @lt_entry_dict(ptr %list, ptr %keys) nounwind {
start:
  %dict = call ptr @PyDict_New()
  %none = icmp eq ptr %dict, null
  br i1 %none, label %end, label %measure
measure:
  %count = call i64 @PyTuple_Size(ptr %keys)
  br label %head
head:
  %k = phi i64 [ 0, %measure ], [ %k.next, %put ]
  %more = icmp slt i64 %k, %count
  br i1 %more, label %put, label %end
put:
  %key = call ptr @PyTuple_GetItem(ptr %keys, i64 %k)
  %item = call ptr @PyList_GetItem(ptr %list, i64 %k)
  %failed = call i32 @PyDict_SetItem(ptr %dict, ptr %key, ptr %item)
  %k.next = add i64 %k, 1
  %good = icmp eq i32 %failed, 0
  br i1 %good, label %head, label %drop
drop:
  call void @Py_DecRef(ptr %dict)
  br label %end
end:
  %result = phi ptr [ null, %start ], [ %dict, %head ], [ null, %drop ]
  call void @Py_DecRef(ptr %list)
  ret ptr %result
}

; The call of a compiled function: check the arguments, call the core, return what it made.
define ptr @lt_enter(ptr %self, ptr %args, i64 %nargsf, ptr %kwnames) nounwind {
entry:
  %own.entry.at = getelementptr i8, ptr %self, i64 ENTRY_AT
  %own.entry = load ptr, ptr %own.entry.at
  %core = load ptr, ptr %own.entry
  %spec = getelementptr i64, ptr %own.entry, i64 1
  %record = alloca [RECORD_WORDS x i64], align 64
  ; The top bit says that args[-1] may be overwritten.
  %nargs = and i64 %nargsf, 9223372036854775807
  %expected = load i64, ptr %spec
  %count.ok = icmp eq i64 %nargs, %expected
  %plain = icmp eq ptr %kwnames, null
  %call.ok = and i1 %count.ok, %plain
  br i1 %call.ok, label %start, label %arrange
arrange:
  %signature.at = getelementptr i8, ptr %self, i64 SIGNATURE_AT
  %signature = load ptr, ptr %signature.at
  %signed = icmp ne ptr %signature, null
  %not.many = icmp ule i64 %nargs, %expected
  %may = and i1 %signed, %not.many
  br i1 %may, label %names, label %slow.now
names:
  %given = alloca ptr, i64 %expected, align 16
  %arranged = call i1 @lt_enter_names(ptr %given, ptr %args, i64 %nargs, i64 %expected,
                                      ptr %kwnames, ptr %signature)
  br i1 %arranged, label %start, label %slow.now
start:
  %vector = phi ptr [ %args, %entry ], [ %given, %names ]
  %words.at = getelementptr i64, ptr %spec, i64 1
  %words = load i64, ptr %words.at
  ; Behind the frame: a word for each argument that is converted, then those for arrays to be let
  ; go of at the end: values of shared variables that are held, copies.
  %own.at = getelementptr i8, ptr %self, i64 SIGNATURE_AT
  %own = load ptr, ptr %own.at
  %unsigned = icmp eq ptr %own, null
  br i1 %unsigned, label %reserve, label %known
known:
  %holds.at = getelementptr i64, ptr %own, i64 1
  %holds.many = load i64, ptr %holds.at
  br label %reserve
reserve:
  %holds = phi i64 [ 0, %start ], [ %holds.many, %known ]
  %two.each = shl i64 %expected, 1
  %both = add i64 %two.each, %holds
  %all.words = add i64 %words, %both
  %frame = alloca i64, i64 %all.words, align 16
  %rooms = getelementptr i64, ptr %frame, i64 %words
  %copies = getelementptr i64, ptr %rooms, i64 %expected
  store ptr %record, ptr %frame
  %first.slot = getelementptr i64, ptr %frame, i64 1
  %first.input = getelementptr i64, ptr %spec, i64 SPEC_WORDS
  %holds.none = icmp eq i64 %holds, 0
  br i1 %holds.none, label %arguments, label %hold
hold:
  ; the arrays of shared variables that a call of Python may replace meanwhile
  %h = phi i64 [ 0, %reserve ], [ %h.next, %hold ]
  %lists.at = getelementptr i64, ptr %own, i64 2
  %lists = load ptr, ptr %lists.at
  %list.at = getelementptr ptr, ptr %lists, i64 %h
  %cell.list = load ptr, ptr %list.at
  %array.held = call ptr @PyList_GetItem(ptr %cell.list, i64 0)
  call void @Py_IncRef(ptr %array.held)
  %hold.at = getelementptr ptr, ptr %copies, i64 %h
  store ptr %array.held, ptr %hold.at
  %h.next = add nuw i64 %h, 1
  %hold.more = icmp ult i64 %h.next, %holds
  br i1 %hold.more, label %hold, label %arguments
arguments:
  %i = phi i64 [ 0, %reserve ], [ 0, %hold ], [ %i.next, %taken ]
  %slot = phi ptr [ %first.slot, %reserve ], [ %first.slot, %hold ], [ %slot.next, %taken ]
  %input = phi ptr [ %first.input, %reserve ], [ %first.input, %hold ], [ %input.next, %taken ]
  %copied = phi i64 [ 0, %reserve ], [ %holds, %hold ], [ %copied.next, %taken ]
  %more = icmp ult i64 %i, %expected
  br i1 %more, label %argument, label %run
argument:
  %arg.at = getelementptr ptr, ptr %vector, i64 %i
  %arg.given = load ptr, ptr %arg.at
  %input.next = getelementptr i64, ptr %input, i64 INPUT_WORDS
  %i.next = add nuw i64 %i, 1
  %absent = icmp eq ptr %arg.given, null
  br i1 %absent, label %default, label %present
default:
  ; the cell of its default value: of the right type, and held by the function
  %default.at = getelementptr i8, ptr %self, i64 SIGNATURE_AT
  %defaults = load ptr, ptr %default.at
  %default.first = mul i64 %i, SIGNATURE_WORDS
  %default.word = add i64 %default.first, DEFAULT_WORD
  %cell.at = getelementptr ptr, ptr %defaults, i64 %default.word
  %cell = load ptr, ptr %cell.at
  %missing.default = icmp eq ptr %cell, null
  br i1 %missing.default, label %slow, label %from.cell
from.cell:
  %cell.data = load ptr, ptr %cell
  store ptr %cell.data, ptr %slot
  %cell.rank = load i64, ptr %input
  %cell.sizes = getelementptr i64, ptr %cell, i64 2
  %cell.slots = getelementptr i64, ptr %slot, i64 1
  %cell.bytes = shl i64 %cell.rank, 3
  call void @llvm.memcpy.p0.p0.i64(ptr %cell.slots, ptr %cell.sizes, i64 %cell.bytes, i1 false)
  %slot.cell = getelementptr i64, ptr %cell.slots, i64 %cell.rank
  br label %taken
present:
  %type.at = getelementptr i8, ptr %arg.given, i64 OBJECT_TYPE
  %type = load ptr, ptr %type.at
  ; Exact: a subclass of ndarray may mean anything by its memory (masked arrays).
  %is.array = icmp eq ptr %type, @lt_ndarray
  br i1 %is.array, label %array, label %scalar
array:
  %arg = phi ptr [ %arg.given, %present ], [ %copy, %copy.good ]
  %copied.now = phi i64 [ %copied, %present ], [ %copied.more, %copy.good ]
  %ndim.at = getelementptr i8, ptr %arg, i64 ARRAY_NDIM
  %ndim.32 = load i32, ptr %ndim.at
  %ndim = zext i32 %ndim.32 to i64
  %rank = load i64, ptr %input
  %ndim.ok = icmp eq i64 %ndim, %rank
  ; A 0-d array is always contiguous; NumPy keeps both flags up to date for sizes 0 and 1.
  %flags.at = getelementptr i8, ptr %arg, i64 ARRAY_FLAGS
  %flags.all = load i32, ptr %flags.at
  %flags = and i32 %flags.all, C_CONTIGUOUS_ALIGNED
  %flags.ok = icmp eq i32 %flags, C_CONTIGUOUS_ALIGNED
  ; Not the descr's address: arrays that were unpickled have a descr of their own.
  %descr.at = getelementptr i8, ptr %arg, i64 ARRAY_DESCR
  %descr = load ptr, ptr %descr.at
  %word.at = getelementptr i8, ptr %descr, i64 DESCR_WORD_AT
  %word.all = load i64, ptr %word.at
  %word = and i64 %word.all, DESCR_WORD_MASK
  %wanted.at = getelementptr i64, ptr %input, i64 1
  %wanted = load i64, ptr %wanted.at
  %dtype.ok = icmp eq i64 %word, %wanted
  %data.at = getelementptr i8, ptr %arg, i64 ARRAY_DATA
  %data = load ptr, ptr %data.at
  store ptr %data, ptr %slot
  %sizes = getelementptr i64, ptr %slot, i64 1
  %slot.after = getelementptr i64, ptr %sizes, i64 %ndim
  %kind.ok = and i1 %ndim.ok, %dtype.ok
  %fields.ok = and i1 %kind.ok, %flags.ok
  br i1 %fields.ok, label %dims, label %odd
odd:
  ; another layout or a dtype that goes into the wanted one: NumPy copies it, if it has not yet
  %untouched = icmp eq ptr %arg, %arg.given
  %worthwhile = and i1 %ndim.ok, %untouched
  br i1 %worthwhile, label %convert, label %slow
convert:
  %copy = call ptr @lt_enter_convert(ptr %arg.given, i64 %word, i64 %wanted)
  %no.copy = icmp eq ptr %copy, null
  br i1 %no.copy, label %not.copied, label %copy.good
not.copied:
  %pending = call ptr @PyErr_Occurred()
  %refused = icmp eq ptr %pending, null
  br i1 %refused, label %slow, label %leave
copy.good:
  %copy.at = getelementptr ptr, ptr %copies, i64 %copied
  store ptr %copy, ptr %copy.at
  %copied.more = add nuw i64 %copied, 1
  br label %array
dims:
  %dims.at = getelementptr i8, ptr %arg, i64 ARRAY_DIMS
  %dims.all = load ptr, ptr %dims.at
  %ones.at = getelementptr i64, ptr %input, i64 2
  %ones = load i64, ptr %ones.at
  br label %dim.head
dim.head:
  %k = phi i64 [ 0, %dims ], [ %k.next, %dim ]
  %left = phi i64 [ %ones, %dims ], [ %left.next, %dim ]
  %wrong = phi i64 [ 0, %dims ], [ %wrong.next, %dim ]
  %dims.more = icmp ult i64 %k, %ndim
  br i1 %dims.more, label %dim, label %dims.done
dim:
  %dim.at = getelementptr i64, ptr %dims.all, i64 %k
  %size = load i64, ptr %dim.at
  %size.slot = getelementptr i64, ptr %sizes, i64 %k
  store i64 %size, ptr %size.slot
  ; size 1 where the bit is set
  %fixed = and i64 %left, 1
  %is.fixed = icmp ne i64 %fixed, 0
  %other = xor i64 %size, 1
  %bad = select i1 %is.fixed, i64 %other, i64 0
  %wrong.next = or i64 %wrong, %bad
  %left.next = lshr i64 %left, 1
  %k.next = add nuw i64 %k, 1
  br label %dim.head
dims.done:
  %right = icmp eq i64 %wrong, 0
  br i1 %right, label %taken, label %slow
scalar:
  %code.at = getelementptr i64, ptr %input, i64 3
  %code = load i64, ptr %code.at
  %room = getelementptr i64, ptr %rooms, i64 %i
  %scalar.data = call ptr @lt_enter_scalar(ptr %self, i64 %i, ptr %arg.given, ptr %type, i64 %code,
                                           ptr %room)
  store ptr %scalar.data, ptr %slot
  %slot.one = getelementptr i64, ptr %slot, i64 1
  %none = icmp eq ptr %scalar.data, null
  br i1 %none, label %slow, label %taken
taken:
  %slot.next = phi ptr [ %slot.after, %dims.done ], [ %slot.one, %scalar ],
                       [ %slot.cell, %from.cell ]
  %copied.next = phi i64 [ %copied.now, %dims.done ], [ %copied, %scalar ],
                         [ %copied, %from.cell ]
  br label %arguments
run:
  call void @llvm.memset.p0.i64(ptr align 64 %record, i8 0, i64 RECORD_BYTES, i1 false)
  %first.at = getelementptr i64, ptr %spec, i64 2
  %first = load i64, ptr %first.at
  %count.at = getelementptr i64, ptr %spec, i64 3
  %count = load i64, ptr %count.at
  %outputs = getelementptr i64, ptr %frame, i64 %first
  br label %clear
clear:
  %j = phi i64 [ 0, %run ], [ %j.next, %clear.one ]
  %clear.more = icmp ult i64 %j, %count
  br i1 %clear.more, label %clear.one, label %call
clear.one:
  %twice = shl i64 %j, 1
  %output = getelementptr i64, ptr %outputs, i64 %twice
  store ptr null, ptr %output
  %j.next = add nuw i64 %j, 1
  br label %clear
call:
  %status = call i32 %core(ptr %frame)
  %failed = icmp ne i32 %status, 0
  br i1 %failed, label %error, label %finish
finish:
  %listed.at = getelementptr i64, ptr %spec, i64 4
  %listed = load i64, ptr %listed.at
  %single = icmp slt i64 %listed, 0
  br i1 %single, label %one, label %many
one:
  %value = load ptr, ptr %outputs
  %missing = icmp eq ptr %value, null
  br i1 %missing, label %error, label %leave
many:
  %list = call ptr @lt_entry_list(ptr %frame, i64 %first, i64 %count, i64 %listed)
  br i1 %unsigned, label %leave, label %keyed
keyed:
  %keys = load ptr, ptr %own
  %unkeyed = icmp eq ptr %keys, null
  %listless = icmp eq ptr %list, null
  %as.list = or i1 %unkeyed, %listless
  br i1 %as.list, label %leave, label %dict
dict:
  %mapped = call ptr @lt_entry_dict(ptr %list, ptr %keys)
  br label %leave
error:
  %raised = call ptr @lt_entry_error(ptr %self, ptr %vector, i64 %expected, ptr %record,
                                     i32 %status, ptr %frame, i64 %first, i64 %count)
  br label %leave
slow:
  %copied.slow = phi i64 [ %copied, %default ], [ %copied.now, %odd ], [ %copied.now, %dims.done ],
                         [ %copied, %scalar ], [ %copied, %not.copied ]
  %slowly = call ptr @lt_entry_slow(ptr %self, ptr %args, i64 %nargsf, ptr %kwnames)
  br label %leave
slow.now:
  %at.once = call ptr @lt_entry_slow(ptr %self, ptr %args, i64 %nargsf, ptr %kwnames)
  ret ptr %at.once
leave:
  %result = phi ptr [ %value, %one ], [ %list, %many ], [ %list, %keyed ],
                    [ %mapped, %dict ], [ %raised, %error ], [ %slowly, %slow ],
                    [ null, %not.copied ]
  %held = phi i64 [ %copied, %one ], [ %copied, %many ], [ %copied, %keyed ],
                  [ %copied, %dict ], [ %copied, %error ], [ %copied.slow, %slow ],
                  [ %copied, %not.copied ]
  br label %release
release:
  %left.held = phi i64 [ %held, %leave ], [ %fewer, %drop ]
  %any = icmp ne i64 %left.held, 0
  br i1 %any, label %drop, label %done
drop:
  %fewer = sub nuw i64 %left.held, 1
  %held.at = getelementptr ptr, ptr %copies, i64 %fewer
  %object = load ptr, ptr %held.at
  call void @Py_DecRef(ptr %object)
  br label %release
done:
  ret ptr %result
}
"""


def enter_text(dtypes: Sequence[str], record_words: int) -> str:
    """Return the functions as LLVM text, for scalars of the dtypes with these numbers."""
    text = filled(
        _TEXT,
        (
            ("KINDS", _KINDS),
            ("RECORD_WORDS", record_words),
            ("RECORD_BYTES", 8 * record_words),
            ("SIGNATURE_WORDS", signature.INPUT_WORDS),
            ("NAME_WORD", signature.NAME_WORD),
            ("DEFAULT_WORD", signature.DEFAULT_WORD),
            ("SIGNATURE_AT", signature.OFFSET),
            ("ENTRY_AT", signature.ENTRY_OFFSET),
            ("SPEC_WORDS", SPEC_WORDS),
            ("INPUT_WORDS", INPUT_WORDS),
            ("OBJECT_TYPE", layout.OBJECT_TYPE),
            ("ARRAY_NDIM", layout.ARRAY_NDIM),
            ("ARRAY_FLAGS", layout.ARRAY_FLAGS),
            ("ARRAY_DESCR", layout.ARRAY_DESCR),
            ("ARRAY_DATA", layout.ARRAY_DATA),
            ("ARRAY_DIMS", layout.ARRAY_DIMS),
            ("C_CONTIGUOUS_ALIGNED", layout.C_CONTIGUOUS_ALIGNED),
            ("DESCR_WORD_MASK", signed(layout.DESCR_WORD_MASK)),
            ("DESCR_WORD_AT", layout.DESCR_WORD),
        ),
    )
    return scalar_arguments.module_text(dtypes) + _upcasts(dtypes) + text


def _upcasts(dtypes: Sequence[str]) -> str:
    """The table that says which dtypes go into which without loss, by NumPy's numbers."""
    numbers = {dtype: [np.dtype(dtype).num] for dtype in dtypes}
    # two C types of 64 bits
    for dtype in ("longlong", "ulonglong"):
        numbers[np.dtype(dtype).name].append(np.dtype(dtype).num)
    table = bytearray(_KINDS * _KINDS)
    for (into, intos), (given, givens) in itertools.product(numbers.items(), repeat=2):
        for row, column in itertools.product(intos, givens):
            table[_KINDS * row + column] = upcast(into, given) == into
    values = ", ".join(f"i8 {entry}" for entry in table)
    return f"@lt_upcasts = internal constant [{len(table)} x i8] [{values}]\n"
