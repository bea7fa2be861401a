"""The pool of threads as LLVM IR: claiming chunks, waiting, sleeping, ending.

Note [Open and inside]. A worker says that it is inside before it looks whether the job it heard
of is still open; the caller closes the job before it looks whether somebody is inside. Both orders
are sequentially consistent, so either the worker sees that the job is closed or the caller waits
for it.
"""

from __future__ import annotations

import platform

from ltensor.lowering.cpu.placeholders import filled

__all__ = ["FIRST_TEXT", "MOST_THREADS", "WORTH_WAKING", "module_text"]

#: threads of a job, the caller's included
MOST_THREADS = 64
#: how often a worker looks for a job before it sleeps (a pause each, some ten nanoseconds)
SPINS = 2000
#: who spins offers the processor to others every so many times (a power of two less one)
COURTESY = 63
#: what a chunk should cost at least (picoseconds of the cost model)
LEAST_CHUNK = 3_000_000
#: what a job should cost at least if workers have to be woken for it
WORTH_WAKING = 40_000_000
#: chunks of a job for each thread, so that a thread that is held up leaves its share to others
CHUNKS_PER_THREAD = 4

_TEXT = r"""
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_join(ptr, ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @sem_init(ptr, i32, i32)
declare i32 @sem_post(ptr)
declare i32 @sem_wait(ptr)
declare i32 @sigfillset(ptr)
declare i32 @sched_yield()
DECLARE_PAUSE

@lt_pool_limit = global i64 1
@lt_pool_worth_waking = global i64 WAKING
@lt_pool_started = global i64 0
@lt_pool_threads = global [MOST x ptr] zeroinitializer
@lt_pool_wake = global [64 x i8] zeroinitializer, align 64
@lt_pool_busy = global i32 0
@lt_pool_quit = global i32 0
; who waits where: each on a line of its own
@lt_pool_heard = global [16 x i64] zeroinitializer, align 128
@lt_pool_open = global [16 x i64] zeroinitializer, align 128
@lt_pool_inside = global [16 x i64] zeroinitializer, align 128
@lt_pool_asleep = global [16 x i64] zeroinitializer, align 128
@lt_pool_next = global [16 x i64] zeroinitializer, align 128
; the job: function, its data, steps, steps of a chunk
@lt_job_function = global ptr null
@lt_job_data = global ptr null
@lt_job_extent = global i64 0
@lt_job_chunk = global i64 0
@lt_job_status = global i32 0

define internal void @lt_pool_share() {
entry:
  %function = load ptr, ptr @lt_job_function
  %data = load ptr, ptr @lt_job_data
  %extent = load i64, ptr @lt_job_extent
  %chunk = load i64, ptr @lt_job_chunk
  br label %claim
claim:
  %begin = atomicrmw add ptr @lt_pool_next, i64 %chunk monotonic
  %left = icmp slt i64 %begin, %extent
  br i1 %left, label %run, label %done
run:
  %beyond = add i64 %begin, %chunk
  %cut = icmp slt i64 %beyond, %extent
  %end = select i1 %cut, i64 %beyond, i64 %extent
  %status = call i32 %function(ptr %data, i64 %begin, i64 %end)
  %failed = icmp ne i32 %status, 0
  br i1 %failed, label %note, label %claim
note:
  %old = atomicrmw or ptr @lt_job_status, i32 %status monotonic
  br label %claim
done:
  ret void
}

define internal ptr @lt_pool_worker(ptr %number) {
entry:
  %me = ptrtoint ptr %number to i64
  br label %listen
listen:
  %seen = phi i64 [ 0, %entry ], [ %seen, %woken ], [ %now, %aside ], [ %now, %left.job ]
  br label %spin
spin:
  %n = phi i64 [ 0, %listen ], [ %n.next, %again.on ]
  %now.spin = load atomic i64, ptr @lt_pool_heard acquire, align 8
  %news.spin = icmp ne i64 %now.spin, %seen
  br i1 %news.spin, label %news, label %again
again:
  PAUSE
  %n.next = add i64 %n, 1
  ; the caller may have to run on this very processor
  %turn = and i64 %n.next, COURTESY
  %polite = icmp eq i64 %turn, 0
  br i1 %polite, label %offer, label %again.on
offer:
  %offered = call i32 @sched_yield()
  br label %again.on
again.on:
  %patient = icmp ult i64 %n.next, SPINS
  br i1 %patient, label %spin, label %tired
tired:
  %a.more = atomicrmw add ptr @lt_pool_asleep, i64 1 seq_cst
  %now.late = load atomic i64, ptr @lt_pool_heard seq_cst, align 8
  %news.late = icmp ne i64 %now.late, %seen
  br i1 %news.late, label %woken, label %sleep
sleep:
  %slept = call i32 @sem_wait(ptr @lt_pool_wake)
  br label %woken
woken:
  %a.less = atomicrmw sub ptr @lt_pool_asleep, i64 1 seq_cst
  br label %listen
news:
  %now = phi i64 [ %now.spin, %spin ]
  %quit = load atomic i32, ptr @lt_pool_quit seq_cst, align 4
  %leave = icmp ne i32 %quit, 0
  br i1 %leave, label %end, label %enter
enter:
  ; see Note [Open and inside]
  %i.more = atomicrmw add ptr @lt_pool_inside, i64 1 seq_cst
  %open = load atomic i64, ptr @lt_pool_open seq_cst, align 8
  %is.open = icmp eq i64 %open, %now
  %limit = load i64, ptr @lt_pool_limit
  %wanted = icmp slt i64 %me, %limit
  %join = and i1 %is.open, %wanted
  br i1 %join, label %work, label %aside
aside:
  %i.less = atomicrmw sub ptr @lt_pool_inside, i64 1 seq_cst
  br label %listen
work:
  call void @lt_pool_share()
  br label %left.job
left.job:
  %i.done = atomicrmw sub ptr @lt_pool_inside, i64 1 seq_cst
  br label %listen
end:
  ret ptr null
}

define internal void @lt_pool_start(i64 %limit) {
entry:
  %all = alloca [128 x i8], align 16
  %before = alloca [128 x i8], align 16
  %first = load i64, ptr @lt_pool_started
  %enough = icmp sge i64 %first, %limit
  br i1 %enough, label %done, label %prepare
prepare:
  %fresh = icmp eq i64 %first, 0
  br i1 %fresh, label %init, label %mask
init:
  %made = call i32 @sem_init(ptr @lt_pool_wake, i32 0, i32 0)
  store i64 1, ptr @lt_pool_started
  br label %mask
mask:
  %filled = call i32 @sigfillset(ptr %all)
  %blocked = call i32 @pthread_sigmask(i32 BLOCK, ptr %all, ptr %before)
  br label %head
head:
  %k = load i64, ptr @lt_pool_started
  %more = icmp slt i64 %k, %limit
  br i1 %more, label %create, label %unmask
create:
  %place = getelementptr ptr, ptr @lt_pool_threads, i64 %k
  %number = inttoptr i64 %k to ptr
  %refused = call i32 @pthread_create(ptr %place, ptr null, ptr @lt_pool_worker, ptr %number)
  %good = icmp eq i32 %refused, 0
  br i1 %good, label %created, label %fewer
created:
  %k.next = add i64 %k, 1
  store i64 %k.next, ptr @lt_pool_started
  br label %head
fewer:
  ; no more threads to be had: do with those there are
  store i64 %k, ptr @lt_pool_limit
  br label %unmask
unmask:
  %restored = call i32 @pthread_sigmask(i32 SETMASK, ptr %before, ptr null)
  br label %done
done:
  ret void
}

; Whether a job of this cost is to be left to its caller.
define internal i1 @lt_pool_leave(i64 %cost) {
  %busy = load atomic i32, ptr @lt_pool_busy monotonic, align 4
  %taken = icmp ne i32 %busy, 0
  %limit = load i64, ptr @lt_pool_limit
  %one = icmp sle i64 %limit, 1
  %alone = or i1 %taken, %one
  ; sharing little is worth it only while the workers look for work anyway
  %asleep = load atomic i64, ptr @lt_pool_asleep monotonic, align 8
  %started = load i64, ptr @lt_pool_started
  %missing = icmp slt i64 %started, %limit
  %some.asleep = icmp ne i64 %asleep, 0
  %idle = or i1 %missing, %some.asleep
  %worth.waking = load i64, ptr @lt_pool_worth_waking
  %little = icmp slt i64 %cost, %worth.waking
  %wait = and i1 %idle, %little
  %leave = or i1 %alone, %wait
  ret i1 %leave
}

define i32 @lt_parallel_for(ptr %function, ptr %data, i64 %extent, i64 %chunk, i64 %cost) {
entry:
  %limit = load i64, ptr @lt_pool_limit
  %leave = call i1 @lt_pool_leave(i64 %cost)
  %short = icmp sle i64 %extent, %chunk
  %alone = or i1 %leave, %short
  br i1 %alone, label %serial, label %claim
claim:
  %free = cmpxchg ptr @lt_pool_busy, i32 0, i32 1 acquire monotonic
  %mine = extractvalue { i32, i1 } %free, 1
  br i1 %mine, label %ready, label %serial
serial:
  %status.serial = call i32 %function(ptr %data, i64 0, i64 %extent)
  ret i32 %status.serial
ready:
  call void @lt_pool_start(i64 %limit)
  store ptr %function, ptr @lt_job_function
  store ptr %data, ptr @lt_job_data
  store i64 %extent, ptr @lt_job_extent
  store i64 %chunk, ptr @lt_job_chunk
  store i32 0, ptr @lt_job_status
  store i64 0, ptr @lt_pool_next
  %old = load i64, ptr @lt_pool_heard
  %job = add i64 %old, 1
  store atomic i64 %job, ptr @lt_pool_open seq_cst, align 8
  store atomic i64 %job, ptr @lt_pool_heard seq_cst, align 8
  %asleep = load atomic i64, ptr @lt_pool_asleep seq_cst, align 8
  br label %wake
wake:
  %w = phi i64 [ %asleep, %ready ], [ %w.next, %post ]
  %some = icmp sgt i64 %w, 0
  br i1 %some, label %post, label %work
post:
  %posted = call i32 @sem_post(ptr @lt_pool_wake)
  %w.next = sub i64 %w, 1
  br label %wake
work:
  call void @lt_pool_share()
  store atomic i64 0, ptr @lt_pool_open seq_cst, align 8
  br label %wait
wait:
  %n = phi i64 [ 0, %work ], [ %n.next, %yield ], [ %n.next, %spin ]
  %inside = load atomic i64, ptr @lt_pool_inside seq_cst, align 8
  %busy = icmp ne i64 %inside, 0
  br i1 %busy, label %spin, label %finish
spin:
  PAUSE
  %n.next = add i64 %n, 1
  %turn = and i64 %n.next, COURTESY
  %long = icmp eq i64 %turn, 0
  br i1 %long, label %yield, label %wait
yield:
  %yielded = call i32 @sched_yield()
  br label %wait
finish:
  %status = load i32, ptr @lt_job_status
  store atomic i32 0, ptr @lt_pool_busy release, align 4
  ret i32 %status
}

define i32 @lt_parallel(ptr %word, i64 %number, ptr %compile, ptr %data, i64 %extent, i64 %cost,
                        i64 %grain) {
entry:
  %limit = load i64, ptr @lt_pool_limit
  %leave = call i1 @lt_pool_leave(i64 %cost)
  br i1 %leave, label %refuse, label %look
look:
  %known = load ptr, ptr %word
  %unknown = icmp eq ptr %known, null
  br i1 %unknown, label %make, label %have
make:
  %made = call i64 %compile(i64 %number)
  %fresh = load ptr, ptr %word
  br label %have
have:
  %function = phi ptr [ %known, %look ], [ %fresh, %make ]
  %bits = ptrtoint ptr %function to i64
  %none = icmp ule i64 %bits, 1
  br i1 %none, label %refuse, label %plan
refuse:
  ret i32 2
plan:
  %most = mul i64 %limit, PER_THREAD
  %worth = udiv i64 %cost, LEAST
  %fewer = icmp ult i64 %worth, %most
  %some = select i1 %fewer, i64 %worth, i64 %most
  %none.worth = icmp ult i64 %some, %limit
  %chunks = select i1 %none.worth, i64 %limit, i64 %some
  %extent.up = add i64 %extent, %chunks
  %extent.less = sub i64 %extent.up, 1
  %each = udiv i64 %extent.less, %chunks
  ; a multiple of the grain
  %each.up = add i64 %each, %grain
  %each.less = sub i64 %each.up, 1
  %grains = udiv i64 %each.less, %grain
  %chunk = mul i64 %grains, %grain
  %status = call i32 @lt_parallel_for(ptr %function, ptr %data, i64 %extent, i64 %chunk,
                                i64 %cost)
  ret i32 %status
}

; after a fork there are no workers in the child
define void @lt_pool_forget() {
  store i64 0, ptr @lt_pool_started
  store i32 0, ptr @lt_pool_busy
  store i64 0, ptr @lt_pool_heard
  store i64 0, ptr @lt_pool_open
  store i64 0, ptr @lt_pool_inside
  store i64 0, ptr @lt_pool_asleep
  ret void
}

; before the process ends: code and data of the workers are about to go
define void @lt_pool_stop() {
entry:
  store i64 1, ptr @lt_pool_limit
  store atomic i32 1, ptr @lt_pool_quit seq_cst, align 4
  %old = atomicrmw add ptr @lt_pool_heard, i64 1 seq_cst
  %started = load i64, ptr @lt_pool_started
  br label %post.head
post.head:
  %p = phi i64 [ 1, %entry ], [ %p.next, %post ]
  %p.more = icmp slt i64 %p, %started
  br i1 %p.more, label %post, label %join.head
post:
  %posted = call i32 @sem_post(ptr @lt_pool_wake)
  %p.next = add i64 %p, 1
  br label %post.head
join.head:
  %k = phi i64 [ 1, %post.head ], [ %k.next, %join ]
  %more = icmp slt i64 %k, %started
  br i1 %more, label %join, label %done
join:
  %place = getelementptr ptr, ptr @lt_pool_threads, i64 %k
  %thread = load ptr, ptr %place
  %joined = call i32 @pthread_join(ptr %thread, ptr null)
  %k.next = add i64 %k, 1
  br label %join.head
done:
  store i64 0, ptr @lt_pool_started
  ret void
}
"""


def module_text() -> str:
    """The LLVM text of the pool, for this machine."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    text = _TEXT.replace("DECLARE_PAUSE", "declare void @llvm.x86.sse2.pause()" if is_x86 else "")
    text = text.replace("PAUSE", "call void @llvm.x86.sse2.pause()" if is_x86 else "")
    return filled(
        text,
        (
            ("SPINS", SPINS),
            ("COURTESY", COURTESY),
            ("MOST", MOST_THREADS),
            ("PER_THREAD", CHUNKS_PER_THREAD),
            ("LEAST", LEAST_CHUNK),
            ("WAKING", WORTH_WAKING),
            ("SETMASK", 2),
            ("BLOCK", 0),
        ),
    )


#: What stands in the words at first: has the pool compiled, then calls it. That is native code,
#: since a call of Python that is interrupted has no result: the word alone tells what it did.
FIRST_TEXT = """
@lt_parallel_word = external global ptr
@lt_parallel_for_word = external global ptr
declare void @lt_pool_load()

define i32 @lt_parallel_first(ptr %word, i64 %number, ptr %compile, ptr %data, i64 %extent,
                              i64 %cost, i64 %grain) {
  call void @lt_pool_load()
  %pool = load ptr, ptr @lt_parallel_word
  %missing = icmp eq ptr %pool, @lt_parallel_first
  br i1 %missing, label %refuse, label %go
go:
  %status = call i32 %pool(ptr %word, i64 %number, ptr %compile, ptr %data, i64 %extent,
                           i64 %cost, i64 %grain)
  ret i32 %status
refuse:
  ret i32 2
}

define i32 @lt_parallel_for_first(ptr %function, ptr %data, i64 %extent, i64 %chunk, i64 %cost) {
  call void @lt_pool_load()
  %pool = load ptr, ptr @lt_parallel_for_word
  %missing = icmp eq ptr %pool, @lt_parallel_for_first
  br i1 %missing, label %serial, label %go
go:
  %status = call i32 %pool(ptr %function, ptr %data, i64 %extent, i64 %chunk, i64 %cost)
  ret i32 %status
serial:
  %status.serial = call i32 %function(ptr %data, i64 0, i64 %extent)
  ret i32 %status.serial
}
"""
