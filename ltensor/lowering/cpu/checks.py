"""Checks at run time: what fails leaves its number and values in the record."""

from __future__ import annotations

from ltensor.lowering.cpu.operands import Operands
from ltensor.lowering.program import Value


class Checks(Operands):
    """Fails at once (`do_check`), or notes the first failure in a loop and tells it after it."""

    def _fail(self, site: int, values: tuple[Value, ...]) -> None:
        record = self.put("load ptr, ptr %frame")
        self.line(f"store i64 {site}, ptr {record}")
        for k, number in enumerate(values[:60]):
            where = self.put(f"getelementptr i64, ptr {record}, i64 {k + 1}")
            self.line(f"store i64 {self.scalar(number)}, ptr {where}")
        self.line("br label %fail")

    def do_check(self, value: Value) -> None:
        good, bad = self.label("ok"), self.label("bad")
        self.line(f"br i1 {self.scalar(value.args[0])}, label %{good}, label %{bad}")
        self.start_block(bad)
        self._fail(value.attr, value.args[1:])
        self.start_block(good)

    def do_guard(self, value: Value) -> None:
        condition, *values = value.args
        lanes = self.analysis is not None and condition in self.analysis.varying
        if lanes:
            kind = f"<{self.lanes} x i1>"
            each = self.put(f"xor {kind} {self.vector(condition)}, splat (i1 true)")
            if self.mask is not None:
                each = self.put(f"and {kind} {each}, {self.mask}")
            failed = self.intrinsic(
                f"llvm.vector.reduce.or.v{self.lanes}i1", "i1", (kind,), (each,)
            )
        else:
            failed = self.put(f"xor i1 {self.scalar(condition)}, true")
        flag = f"%flag{value.attr}"
        if not values:
            word = self.put(f"zext i1 {failed} to i32")
            old = self.put(f"load i32, ptr {flag}")
            new = self.put(f"or i32 {old}, {word}")
            self.line(f"store i32 {new}, ptr {flag}")
            return
        # the numbers of the first failure are wanted: a branch that is never taken is cheap
        registers = [self._guarded(number, lanes) for number in values]
        old = self.put(f"load i32, ptr {flag}")
        fresh = self.put(f"icmp eq i32 {old}, 0")
        note = self.put(f"and i1 {failed}, {fresh}")
        yes, end = self.label("note"), self.label("noted")
        self.line(f"br i1 {note}, label %{yes}, label %{end}")
        self.start_block(yes)
        self.claim_note(flag, end)
        if lanes:
            bits = self.put(f"bitcast {kind} {each} to i{self.lanes}")
            name = f"llvm.cttz.i{self.lanes}"
            self.declares.add(f"declare i{self.lanes} @{name}(i{self.lanes}, i1)")
            lane = self.put(f"call i{self.lanes} @{name}(i{self.lanes} {bits}, i1 true)")
        for place, (register, wide) in enumerate(registers):
            if wide:
                register = self.put(
                    f"extractelement <{self.lanes} x i64> {register}, i{self.lanes} {lane}"
                )
            where = self.put(f"getelementptr i64, ptr %noted{value.attr}, i64 {place}")
            self.line(f"store i64 {register}, ptr {where}")
        self.line(f"br label %{end}")
        self.start_block(end)

    def claim_note(self, flag: str, end: str) -> None:
        """Mark that the numbers of a guard are taken; who comes too late goes on at ``end``."""
        self.line(f"store i32 1, ptr {flag}")

    def _guarded(self, value: Value, lanes: bool) -> tuple[str, bool]:
        """The register of a number that a guard records, and whether it is one per lane."""
        wide = lanes and self.analysis is not None and value in self.analysis.varying
        return (self.vector(value) if wide else self.scalar(value)), wide

    def do_check_flag(self, value: Value) -> None:
        flag, site, words = value.attr
        state = self.put(f"load i32, ptr %flag{flag}")
        clear = self.put(f"icmp eq i32 {state}, 0")
        good, bad = self.label("ok"), self.label("bad")
        self.line(f"br i1 {clear}, label %{good}, label %{bad}")
        self.start_block(bad)
        record = self.put("load ptr, ptr %frame")
        self.line(f"store i64 {site}, ptr {record}")
        for word in range(words):
            source = self.put(f"getelementptr i64, ptr %noted{flag}, i64 {word}")
            number = self.put(f"load i64, ptr {source}")
            where = self.put(f"getelementptr i64, ptr {record}, i64 {word + 1}")
            self.line(f"store i64 {number}, ptr {where}")
        self.line("br label %fail")
        self.start_block(good)
