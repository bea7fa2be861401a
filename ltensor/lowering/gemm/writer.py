"""A small writer of LLVM IR text: names, blocks, counted loops and i64 arithmetic.

Lowering layer, private to the gemm package. It knows nothing about matrices; it exists because the
loop nests around the micro-kernels are easier to read as nested ``with`` blocks than as labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Advance:
    """Receives the step of a `Writer.count_by` loop, which the body computes."""

    def __init__(self) -> None:
        self.step: str | int = 1

    def __call__(self, step: str | int) -> None:
        """Set the step."""
        self.step = step


class Writer:
    """Collects the body of one LLVM function.

    Parameters
    ----------
    header : str
        The text before the opening brace, for example ``define void @f(i64 %n)``.
    """

    def __init__(self, header: str) -> None:
        self._lines = [header + " {", "entry:"]
        self._count = 0
        self.block = "entry"

    def text(self) -> str:
        """Return the finished function."""
        return "\n".join([*self._lines, "}", ""])

    def fresh(self, hint: str) -> str:
        """Return a name that no other value or block of this function has."""
        self._count += 1
        return f"{hint}.{self._count}"

    def do(self, line: str) -> None:
        """Write an instruction without a result."""
        self._lines.append("  " + line)

    def let(self, line: str, hint: str = "v") -> str:
        """Write an instruction and return the name of its result."""
        name = "%" + self.fresh(hint)
        self._lines.append(f"  {name} = {line}")
        return name

    def reserve(self) -> int:
        """Leave a line open, for a phi whose incoming values come later."""
        self._lines.append("")
        return len(self._lines) - 1

    def fill(self, place: int, line: str) -> None:
        """Write the instruction of a reserved line."""
        self._lines[place] = "  " + line

    def label(self, name: str) -> None:
        """Begin the block `name`."""
        self._lines.append(name + ":")
        self.block = name

    # i64 arithmetic ------------------------------------------------------------------------

    def add(self, a: str | int, b: str | int) -> str:
        """Return a + b."""
        return self.let(f"add i64 {a}, {b}")

    def sub(self, a: str | int, b: str | int) -> str:
        """Return a - b."""
        return self.let(f"sub i64 {a}, {b}")

    def mul(self, a: str | int, b: str | int) -> str:
        """Return a * b."""
        return self.let(f"mul i64 {a}, {b}")

    def test(self, predicate: str, a: str | int, b: str | int) -> str:
        """Return the i1 of an i64 comparison."""
        return self.let(f"icmp {predicate} i64 {a}, {b}")

    def both(self, *flags: str) -> str:
        """Return the conjunction of i1 values."""
        result = flags[0]
        for flag in flags[1:]:
            result = self.let(f"and i1 {result}, {flag}")
        return result

    def either(self, *flags: str) -> str:
        """Return the disjunction of i1 values."""
        result = flags[0]
        for flag in flags[1:]:
            result = self.let(f"or i1 {result}, {flag}")
        return result

    def smin(self, a: str | int, b: str | int) -> str:
        """Return the smaller of two signed values."""
        return self.pick(self.test("slt", a, b), a, b)

    def pick(self, flag: str, a: str | int, b: str | int) -> str:
        """Return ``a if flag else b`` on i64."""
        return self.let(f"select i1 {flag}, i64 {a}, i64 {b}")

    def ceil_div(self, a: str | int, b: str | int) -> str:
        """Return ceil(a / b) of positive values."""
        return self.let(f"udiv i64 {self.sub(self.add(a, b), 1)}, {b}")

    def at(self, pointer: str, offset: str | int) -> str:
        """Return pointer + offset in bytes."""
        return self.let(f"getelementptr i8, ptr {pointer}, i64 {offset}", "p")

    # control -------------------------------------------------------------------------------

    @contextmanager
    def count(self, start: str | int, stop: str | int, step: str | int) -> Iterator[str]:
        """Loop ``for i in range(start, stop, step)``, step > 0."""
        with self.count_by(start, stop) as (index, advance):
            yield index
            advance(step)

    @contextmanager
    def count_by(self, start: str | int, stop: str | int) -> Iterator[tuple[str, Advance]]:
        """Loop while i < stop; the body says by how much i advances."""
        head, body, done = (self.fresh(h) for h in ("head", "body", "done"))
        before = self.block
        advance = Advance()
        self.do(f"br label %{head}")
        self.label(head)
        index = "%" + self.fresh("i")
        place = self.reserve()
        self.do(f"br i1 {self.test('slt', index, stop)}, label %{body}, label %{done}")
        self.label(body)
        yield index, advance
        following = self.add(index, advance.step)
        ways = f"[ {start}, %{before} ], [ {following}, %{self.block} ]"
        self.fill(place, f"{index} = phi i64 {ways}")
        self.do(f"br label %{head}")
        self.label(done)

    @contextmanager
    def when(self, flag: str) -> Iterator[None]:
        """Run the body if `flag`; the body must not return."""
        then, done = self.fresh("then"), self.fresh("done")
        self.do(f"br i1 {flag}, label %{then}, label %{done}")
        self.label(then)
        yield
        self.do(f"br label %{done}")
        self.label(done)

    @contextmanager
    def when_return(self, flag: str) -> Iterator[None]:
        """Run the body and return from the function if `flag`."""
        then, done = self.fresh("then"), self.fresh("done")
        self.do(f"br i1 {flag}, label %{then}, label %{done}")
        self.label(then)
        yield
        self.do("ret void")
        self.label(done)
