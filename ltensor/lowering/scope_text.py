"""Scopes and branches as LLVM IR text: what CPU and PTX renderer share above instructions."""

from __future__ import annotations

from ltensor.lowering.llvm_text import InstructionText, lanes_type, literal, suffix
from ltensor.lowering.program import If, Loop, Scope, Value


class ScopeText(InstructionText):
    """Walks the scopes of a program; subclasses render loops and values."""

    def __init__(self) -> None:
        super().__init__()
        self.registers: dict[Value, str] = {}
        self.block = "entry"

    def start_block(self, label: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{label}:")
        self.block = label

    def scalar(self, value: Value) -> str:
        """``value`` as an operand."""
        if value.op == "const":
            return literal(value.attr, value.dtype)
        return self.registers[value]

    def render_scope(self, scope: Scope) -> None:
        """All entries of a scope."""
        for entry in scope.body:
            if isinstance(entry, Loop):
                self.render_loop(entry)
            elif isinstance(entry, If):
                self.render_if(entry)
            else:
                self.render_value(entry)

    def render_loop(self, loop: Loop) -> None:
        """A loop."""
        raise NotImplementedError

    def render_value(self, value: Value) -> None:
        """One instruction."""
        raise NotImplementedError

    def render_if(self, branch: If) -> None:
        """A branch of scalar code."""
        yes, no, end = self.label("then"), self.label("else"), self.label("endif")
        self.line(f"br i1 {self.scalar(branch.condition)}, label %{yes}, label %{no}")
        self.start_block(yes)
        self.render_scope(branch.then)
        self.line(f"br label %{end}")
        self.start_block(no)
        self.render_scope(branch.orelse)
        self.line(f"br label %{end}")
        self.start_block(end)

    def combine(self, how: str | None, dtype: str, a: str, b: str, lanes: int = 1) -> str:
        """Join two partial results of a reduction."""
        kind = lanes_type(dtype, lanes)
        floating = dtype.startswith("float")
        if how in ("add", "mul"):
            return self.put(f"{'f' if floating else ''}{how} {kind} {a}, {b}")
        if how in ("and", "or"):
            return self.put(f"{how} {kind} {a}, {b}")
        if how == "largest":
            # one instruction where nobody asks for nan
            mask = self.put(f"fcmp ogt {kind} {b}, {a}")
            return self.put(f"select {lanes_type('bool', lanes)} {mask}, {kind} {b}, {kind} {a}")
        assert how is not None
        if floating:
            name = "maximum" if how == "max" else "minimum"
            return self._extremum(name, kind, dtype, (a, b), lanes)
        sign = "s" if dtype.startswith("int") else "u"
        return self.intrinsic(
            f"llvm.{sign}{how}.{suffix(dtype, lanes)}", kind, (kind, kind), (a, b)
        )
