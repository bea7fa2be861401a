"""Whether memory that a call writes is apart from all else that it uses, as LLVM text (layer 4)."""

from __future__ import annotations

__all__ = ["TEXT"]

TEXT = r"""
; Whether the parts of memory (begin, end) of which the first %written are written are apart from
; all others.
define i1 @lt_apart(ptr %spans, i64 %written, i64 %count) nounwind {
start:
  %many = icmp sgt i64 %count, 32
  br i1 %many, label %in.order, label %outer
in.order:
  %result = tail call i1 @lt_apart_many(ptr %spans, i64 %written, i64 %count)
  ret i1 %result
outer:
  %i = phi i64 [ 0, %start ], [ %j.first, %next ]
  %i.more = icmp slt i64 %i, %written
  br i1 %i.more, label %one, label %good
one:
  %i.twice = shl i64 %i, 1
  %i.at = getelementptr i64, ptr %spans, i64 %i.twice
  %i.begin = load i64, ptr %i.at
  %i.end.at = getelementptr i64, ptr %i.at, i64 1
  %i.end = load i64, ptr %i.end.at
  %j.first = add i64 %i, 1
  br label %inner
inner:
  %j = phi i64 [ %j.first, %one ], [ %j.next, %fine ]
  %j.more = icmp slt i64 %j, %count
  br i1 %j.more, label %two, label %next
two:
  %j.twice = shl i64 %j, 1
  %j.at = getelementptr i64, ptr %spans, i64 %j.twice
  %j.begin = load i64, ptr %j.at
  %j.end.at = getelementptr i64, ptr %j.at, i64 1
  %j.end = load i64, ptr %j.end.at
  %before = icmp ule i64 %i.end, %j.begin
  %behind = icmp ule i64 %j.end, %i.begin
  %apart = or i1 %before, %behind
  br i1 %apart, label %fine, label %bad
fine:
  %j.next = add i64 %j, 1
  br label %inner
next:
  br label %outer
good:
  ret i1 true
bad:
  ret i1 false
}

; The same for many parts, which it puts in order (Shell's sort): not each with each. The top bit
; of an end says that the part is written.
define internal i1 @lt_apart_many(ptr %spans, i64 %written, i64 %count) nounwind {
start:
  br label %mark
mark:
  %m = phi i64 [ 0, %start ], [ %m.next, %tag ]
  %m.more = icmp slt i64 %m, %written
  br i1 %m.more, label %tag, label %gaps
tag:
  %m.twice = shl i64 %m, 1
  %m.word = or i64 %m.twice, 1
  %m.at = getelementptr i64, ptr %spans, i64 %m.word
  %m.end = load i64, ptr %m.at
  %m.tagged = or i64 %m.end, -9223372036854775808
  store i64 %m.tagged, ptr %m.at
  %m.next = add i64 %m, 1
  br label %mark
gaps:
  %wider = phi i64 [ %count, %mark ], [ %gap, %pass ]
  %ordered = icmp ule i64 %wider, 1
  br i1 %ordered, label %check, label %narrow
narrow:
  %five = mul i64 %wider, 5
  %part = udiv i64 %five, 11
  %none = icmp eq i64 %part, 0
  %gap = select i1 %none, i64 1, i64 %part
  br label %pass
pass:
  %i = phi i64 [ %gap, %narrow ], [ %i.next, %put ]
  %i.more = icmp slt i64 %i, %count
  br i1 %i.more, label %take, label %gaps
take:
  %i.twice = shl i64 %i, 1
  %i.at = getelementptr i64, ptr %spans, i64 %i.twice
  %begin = load i64, ptr %i.at
  %i.end.at = getelementptr i64, ptr %i.at, i64 1
  %end = load i64, ptr %i.end.at
  br label %sift
sift:
  %j = phi i64 [ %i, %take ], [ %left, %shift ]
  %j.twice = shl i64 %j, 1
  %j.at = getelementptr i64, ptr %spans, i64 %j.twice
  %j.end.at = getelementptr i64, ptr %j.at, i64 1
  %room = icmp sge i64 %j, %gap
  br i1 %room, label %compare, label %put
compare:
  %left = sub i64 %j, %gap
  %left.twice = shl i64 %left, 1
  %left.at = getelementptr i64, ptr %spans, i64 %left.twice
  %left.begin = load i64, ptr %left.at
  %later = icmp ugt i64 %left.begin, %begin
  br i1 %later, label %shift, label %put
shift:
  %left.end.at = getelementptr i64, ptr %left.at, i64 1
  %left.end = load i64, ptr %left.end.at
  store i64 %left.begin, ptr %j.at
  store i64 %left.end, ptr %j.end.at
  br label %sift
put:
  store i64 %begin, ptr %j.at
  store i64 %end, ptr %j.end.at
  %i.next = add i64 %i, 1
  br label %pass
check:
  %k = phi i64 [ 0, %gaps ], [ %k.next, %fine ]
  %far = phi i64 [ 0, %gaps ], [ %far.next, %fine ]
  %far.written = phi i64 [ 0, %gaps ], [ %far.written.next, %fine ]
  %k.more = icmp slt i64 %k, %count
  br i1 %k.more, label %look, label %good
look:
  %k.twice = shl i64 %k, 1
  %k.at = getelementptr i64, ptr %spans, i64 %k.twice
  %k.begin = load i64, ptr %k.at
  %k.end.at = getelementptr i64, ptr %k.at, i64 1
  %k.tagged = load i64, ptr %k.end.at
  %k.written = icmp slt i64 %k.tagged, 0
  %k.end = and i64 %k.tagged, 9223372036854775807
  %limit = select i1 %k.written, i64 %far, i64 %far.written
  %apart = icmp uge i64 %k.begin, %limit
  br i1 %apart, label %fine, label %bad
fine:
  %further = icmp ugt i64 %k.end, %far
  %far.next = select i1 %further, i64 %k.end, i64 %far
  %past = icmp ugt i64 %k.end, %far.written
  %counts = and i1 %past, %k.written
  %far.written.next = select i1 %counts, i64 %k.end, i64 %far.written
  %k.next = add i64 %k, 1
  br label %check
good:
  ret i1 true
bad:
  ret i1 false
}
"""
