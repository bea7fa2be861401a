"""What of a program moves to its end, so that shared variables are written where they lie."""

from __future__ import annotations

from typing import Any

from ltensor.lowering.builder import Builder
from ltensor.lowering.program import Loop, View
from ltensor.lowering.rewrites.in_place import Phase, Update, plan_phase


class Program:
    """A program with a shared vector and a buffer for its new value."""

    def __init__(self) -> None:
        self.b = b = Builder("p", threads=1)
        self.cell = b.table(0)
        pointer = b.raw_load(self.cell, 0, "ptr")
        self.n = b.raw_load(self.cell, 2)
        b.note_existing((self.n,))
        self.old = View("float64", pointer, (self.n,))
        self.new = b.temporary("float64", (self.n,))
        self.update = Update(pointer, self.new.pointer, "float64")

    def step(self, target: View, *sources: View, shift: int = 0) -> None:
        """Every element of ``target`` is the sum of the sources' at its place, or behind it."""
        b = self.b
        with b.loop(self.n, kind="vector") as loop:
            place = b.add(loop.index, shift)
            total: Any = b.const(0.0, "float64")
            for source in sources:
                total = b.add(total, b.load(source, (place,)))
            b.store(target, (loop.index,), total)

    def plan(self) -> Phase:
        return plan_phase(self.b.program, [self.update], [self.old.pointer])

    @property
    def found(self) -> bool:
        return self.plan().updates == [self.update]


def test_elements_that_are_made_of_themselves() -> None:
    p = Program()
    p.step(p.new, p.old)
    p.b.check(p.b.gt(p.n, 3), "index", None)
    phase = p.plan()
    assert phase.updates == [p.update]
    assert [type(e) for e in phase.entries] == [Loop]
    assert phase.read == {p.old.pointer}


def test_other_elements_are_read() -> None:
    p = Program()
    p.step(p.new, p.old, shift=1)
    assert not p.found


def test_the_old_value_is_read_after_it_has_changed() -> None:
    p = Program()
    b = p.b
    with b.loop(p.n) as loop:
        b.store(p.new, (loop.index,), b.const(1.0, "float64"))
        again = b.load(p.old, (loop.index,))
        b.store(p.new, (loop.index,), again)
    assert not p.found


def test_a_statement_that_reads_the_old_value_stays_before() -> None:
    p = Program()
    other = p.b.temporary("float64", (p.n,))
    p.step(p.new, p.old)
    p.step(other, p.old, shift=1)
    phase = p.plan()
    assert phase.updates == [p.update]
    assert len(phase.entries) == 1


def test_what_depends_on_the_new_value_moves_too() -> None:
    p = Program()
    other = p.b.temporary("float64", (p.n,))
    p.step(p.new, p.old)
    p.step(other, p.new, shift=1)
    assert len(p.plan().entries) == 2
    # unless it may fail
    value = p.b.load(other, (0,))
    p.b.check(p.b.gt(value, 0.0), "index", None)
    assert not p.found


def test_what_is_read_is_written_later() -> None:
    p = Program()
    other = p.b.temporary("float64", (p.n,))
    p.step(p.new, p.old, other)
    p.step(other, p.old)
    phase = p.plan()
    # the later one must stay behind: it reads the old value
    assert not phase.updates
    q = Program()
    other = q.b.temporary("float64", (q.n,))
    q.step(q.new, q.old, other)
    q.step(other)
    assert len(q.plan().entries) == 2


def test_loops_that_may_fail() -> None:
    p = Program()
    b = p.b
    with b.loop(p.n) as loop:
        value = b.load(p.old, (loop.index,))
        b.guard(b.gt(value, 0.0), "division")
        b.store(p.new, (loop.index,), value)
    b.flush_guards()
    assert not p.found


def test_calls_that_may_see_the_buffer() -> None:
    for known in (False, True):
        p = Program()
        record = p.b.temporary("int64", (p.b.const(1),))
        if known:
            p.b.raw_store(record.pointer, 0, p.new.pointer)
        p.step(p.new, p.old)
        p.b.call_pointer(p.b.table(1), (record.pointer,))
        assert p.found is not known


def test_a_block_that_is_handed_over() -> None:
    for of_new_value in (True, False):
        p = Program()
        other = p.b.temporary("float64", (p.n,))
        p.step(p.new, p.old)
        p.step(other, p.new if of_new_value else p.old, shift=1)
        block = (p.new if of_new_value else other).pointer.attr
        p.b.effect("adopt_output", "ptr", (p.n, p.b.mul(p.n, 8)), (1, 12, block))
        # small ones are copied, before the phase
        assert p.found is not of_new_value
    q = Program()
    other = q.b.temporary("float64", (q.n,))
    q.step(q.new, q.old)
    q.step(other, q.new, shift=1)
    q.b.effect("adopt_output", "ptr", (q.n, q.b.mul(q.n, 8)), (1, 12, other.pointer.attr))
    assert not q.found


def test_some_elements_of_a_copy() -> None:
    p = Program()
    b = p.b
    b.memcpy(p.new.pointer, p.old.pointer, b.mul(p.n, 8))
    k = b.frame(3)
    b.store(p.new, (k,), b.add(b.load(p.new, (k,)), 1.0))
    assert p.found
    assert p.update.copied is not None
    # an element of the old value, after another has changed
    other = b.load(p.old, (b.frame(4),))
    b.store(p.new, (b.frame(5),), other)
    assert p.found, "it is read before the phase"
    with b.loop(p.n) as loop:
        b.store(p.new, (loop.index,), b.load(p.old, (k,)))
    assert not p.found


def test_places_that_may_come_twice() -> None:
    p = Program()
    b = p.b
    places = View("int64", b.raw_load(b.table(1), 0, "ptr"), (p.n,))
    b.memcpy(p.new.pointer, p.old.pointer, b.mul(p.n, 8))
    with b.loop(p.n) as loop:
        place = b.load(places, (loop.index,))
        b.store(p.new, (place,), b.mul(b.load(p.old, (place,)), 2.0))
    phase = plan_phase(b.program, [p.update], [p.old.pointer, places.pointer])
    # the second time the old value would be gone
    assert not phase.updates


def test_memory_of_unknown_size() -> None:
    p = Program()
    given = View("float64", p.b.frame(7, "ptr"), (p.n,))
    p.step(p.new, p.old, given)
    assert not p.found
    phase = plan_phase(p.b.program, [p.update], [p.old.pointer, given.pointer])
    assert phase.read == {p.old.pointer, given.pointer}


def test_places_that_are_equal_if_checks_hold() -> None:
    for checked in (True, False):
        p = Program()
        b = p.b
        rows, mine, others = (b.frame(k) for k in (11, 12, 13))
        if checked:
            b.check(b.eq(mine, others), "mismatch", None)
        with b.loop(rows) as outer, b.loop(mine, kind="vector") as inner:
            here = b.add(b.mul(outer.index, mine), inner.index)
            there = b.add(b.mul(outer.index, others), inner.index)
            b.store(p.new, (here,), b.load(p.old, (there,)))
        assert p.found is checked
