"""A small structured writer of LLVM IR text for the random kernels.

Rejection samplers are loops around jumps, so the kernels are written with mutable stack
variables, labels and `with` blocks; LLVM's own mem2reg turns that into registers (the package
asks for it with ``RUNTIME_PASSES``). The writer knows types only as LLVM spells them and
nothing of ltensor's graph; arithmetic never carries fast-math flags, since the streams are
defined to the last bit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

Number = int | float

# C library symbols and intrinsics a kernel may call: name -> (result, parameters).
LIBRARY: dict[str, tuple[str, tuple[str, ...]]] = {
    "exp": ("double", ("double",)),
    "log": ("double", ("double",)),
    "log1p": ("double", ("double",)),
    "malloc": ("ptr", ("i64",)),
    "free": ("void", ("ptr",)),
    "llvm.ctlz.i64": ("i64", ("i64", "i1")),
    "llvm.fabs.f64": ("double", ("double",)),
    "llvm.floor.f64": ("double", ("double",)),
    "llvm.fptosi.sat.i64.f64": ("i64", ("double",)),
    "llvm.sqrt.f64": ("double", ("double",)),
    "llvm.vector.reduce.or.v8i1": ("i1", ("<8 x i1>",)),
}


def scalar_of(ty: str) -> str:
    """Element type of a vector type; a scalar type is returned as it is."""
    return ty.split(" x ")[1].rstrip(">") if ty.startswith("<") else ty


def lanes_of(ty: str) -> int:
    """Lane count of a vector type; 1 for a scalar."""
    return int(ty[1:].split(" x ")[0]) if ty.startswith("<") else 1


def vector(ty: str, lanes: int) -> str:
    """Spell the vector type of `lanes` elements, or the scalar itself for one lane."""
    return ty if lanes == 1 else f"<{lanes} x {ty}>"


def literal(ty: str, value: Number) -> str:
    """Spell a constant of type `ty`; vectors get it in every lane."""
    element = scalar_of(ty)
    if element in ("double", "float"):
        exact = value if element == "double" else struct.unpack("f", struct.pack("f", value))[0]
        text = "0x" + struct.pack(">d", exact).hex().upper()
    else:
        text = str(int(value))
    return f"splat ({element} {text})" if ty.startswith("<") else text


class Value:
    """An SSA value: its type, its spelling, and the function being written."""

    __slots__ = ("fn", "ref", "ty")

    def __init__(self, fn: Function, ty: str, ref: str) -> None:
        self.fn, self.ty, self.ref = fn, ty, ref

    def __add__(self, other: Value | Number) -> Value:
        return self.fn.arith("add", self, other)

    def __sub__(self, other: Value | Number) -> Value:
        return self.fn.arith("sub", self, other)

    def __mul__(self, other: Value | Number) -> Value:
        return self.fn.arith("mul", self, other)

    def __truediv__(self, other: Value | Number) -> Value:
        return self.fn.arith("div", self, other)

    def __radd__(self, other: Number) -> Value:
        return self.fn.arith("add", self.like(other), self)

    def __rsub__(self, other: Number) -> Value:
        return self.fn.arith("sub", self.like(other), self)

    def __rmul__(self, other: Number) -> Value:
        return self.fn.arith("mul", self.like(other), self)

    def __rtruediv__(self, other: Number) -> Value:
        return self.fn.arith("div", self.like(other), self)

    def __and__(self, other: Value | Number) -> Value:
        return self.fn.bits("and", self, other)

    def __or__(self, other: Value | Number) -> Value:
        return self.fn.bits("or", self, other)

    def __xor__(self, other: Value | Number) -> Value:
        return self.fn.bits("xor", self, other)

    def __lshift__(self, other: Value | Number) -> Value:
        return self.fn.bits("shl", self, other)

    def __rshift__(self, other: Value | Number) -> Value:
        """Shift right, filling with zeros."""
        return self.fn.bits("lshr", self, other)

    def __lt__(self, other: Value | Number) -> Value:
        return self.fn.compare("lt", self, other)

    def __le__(self, other: Value | Number) -> Value:
        return self.fn.compare("le", self, other)

    def __gt__(self, other: Value | Number) -> Value:
        return self.fn.compare("gt", self, other)

    def __ge__(self, other: Value | Number) -> Value:
        return self.fn.compare("ge", self, other)

    def __invert__(self) -> Value:
        return self.fn.bits("xor", self, 1 if scalar_of(self.ty) == "i1" else -1)

    def __neg__(self) -> Value:
        if scalar_of(self.ty) in ("double", "float"):
            return self.fn.emit(self.ty, f"fneg {self.ty} {self.ref}")
        return 0 - self

    def eq(self, other: Value | Number) -> Value:
        """Ordered equality."""
        return self.fn.compare("eq", self, other)

    def ne(self, other: Value | Number) -> Value:
        """Integer inequality."""
        return self.fn.compare("ne", self, other)

    def ugt(self, other: Value | Number) -> Value:
        """Unsigned greater-than."""
        return self.fn.compare("ugt", self, other)

    def ule(self, other: Value | Number) -> Value:
        """Unsigned less-or-equal."""
        return self.fn.compare("ule", self, other)

    def like(self, number: Number) -> Value:
        """Make `number` a constant of this value's type."""
        return self.fn.const(self.ty, number)

    def convert(self, op: str, ty: str) -> Value:
        """Apply a conversion instruction (``zext``, ``trunc``, ``sitofp``, ``bitcast``, ...)."""
        return self.fn.emit(ty, f"{op} {self.ty} {self.ref} to {ty}")

    def to_double(self) -> Value:
        """Signed integer to double, lane by lane."""
        return self.convert("sitofp", vector("double", lanes_of(self.ty)))

    def to_int(self) -> Value:
        """Double to i64; out of range saturates, so that no input is undefined behaviour."""
        return self.fn.call("llvm.fptosi.sat.i64.f64", self)

    def pick(self, yes: Value | Number, no: Value | Number) -> Value:
        """Choose between two values by this condition."""
        return self.fn.select(self, yes, no)


class Var:
    """A mutable variable on the stack."""

    __slots__ = ("fn", "ref", "ty")

    def __init__(self, fn: Function, ty: str, ref: str) -> None:
        self.fn, self.ty, self.ref = fn, ty, ref

    @property
    def value(self) -> Value:
        """The current content (a load)."""
        return self.fn.emit(self.ty, f"load {self.ty}, ptr {self.ref}")

    @value.setter
    def value(self, new: Value | Number) -> None:
        given = self.fn.as_value(new, self.ty)
        self.fn.line(f"store {self.ty} {given.ref}, ptr {self.ref}")


class Function:
    """One function being written; used as ``with module.function(...) as f``."""

    def __init__(self, module: Module, head: str, returns: str, params: dict[str, str]) -> None:
        self._module, self._head, self._returns = module, head, returns
        self._params = {k: Value(self, ty, f"%{k}") for k, ty in params.items()}
        self._allocas: list[str] = []
        self._lines: list[str] = []
        self._count = 0
        self._open = True

    def __enter__(self) -> Function:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            if self._open:
                self.ret(0 if self._returns != "void" else None)
            body = "\n".join(["entry:", *self._allocas, "  br label %body", "body:", *self._lines])
            self._module.add(f"{self._head} {{\n{body}\n}}\n")

    def args(self, *names: str) -> tuple[Value, ...]:
        """Return the named parameters."""
        return tuple(self._params[name] for name in names)

    # -- text -----------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Write one instruction without result."""
        if not self._open:
            raise AssertionError(f"{self._head}: {text!r} after a terminator")
        self._lines.append("  " + text)

    def emit(self, ty: str, text: str) -> Value:
        """Write one instruction and name its result."""
        self._count += 1
        ref = f"%v{self._count}"
        self.line(f"{ref} = {text}")
        return Value(self, ty, ref)

    def const(self, ty: str, number: Number) -> Value:
        """Make a constant."""
        return Value(self, ty, literal(ty, number))

    def as_value(self, given: Value | Number, ty: str) -> Value:
        """Return `given` itself, or the constant of type `ty` for a Python number."""
        return given if isinstance(given, Value) else self.const(ty, given)

    # -- arithmetic -----------------------------------------------------------------------

    def arith(self, op: str, a: Value, b: Value | Number) -> Value:
        """Add, subtract, multiply or divide (floats only) in the type of `a`."""
        b = self.as_value(b, a.ty)
        prefix = "f" if scalar_of(a.ty) in ("double", "float") else ""
        if op == "div" and not prefix:
            raise AssertionError("integer division must be written out")
        return self.emit(a.ty, f"{prefix}{op} {a.ty} {a.ref}, {b.ref}")

    def bits(self, op: str, a: Value, b: Value | Number) -> Value:
        """Bitwise operations and shifts."""
        return self.emit(a.ty, f"{op} {a.ty} {a.ref}, {self.as_value(b, a.ty).ref}")

    def compare(self, op: str, a: Value, b: Value | Number) -> Value:
        """Compare: ordered for floats; signed for integers unless `op` says otherwise."""
        ty = vector("i1", lanes_of(a.ty))
        right = self.as_value(b, a.ty).ref
        if scalar_of(a.ty) in ("double", "float"):
            return self.emit(ty, f"fcmp o{op} {a.ty} {a.ref}, {right}")
        code = op if op in ("eq", "ne") or op[0] == "u" else f"s{op}"
        return self.emit(ty, f"icmp {code} {a.ty} {a.ref}, {right}")

    def select(self, test: Value, yes: Value | Number, no: Value | Number) -> Value:
        """Choose between two values; at least one of them is not a Python number."""
        ty = yes.ty if isinstance(yes, Value) else no.ty  # type: ignore[union-attr]
        a, b = self.as_value(yes, ty), self.as_value(no, ty)
        return self.emit(ty, f"select {test.ty} {test.ref}, {ty} {a.ref}, {ty} {b.ref}")

    def shuffle(self, a: Value, b: Value, mask: Sequence[int]) -> Value:
        """Pick lanes out of the concatenation of two vectors."""
        picks = ", ".join(f"i32 {i}" for i in mask)
        ty = vector(scalar_of(a.ty), len(mask))
        return self.emit(
            ty, f"shufflevector {a.ty} {a.ref}, {b.ty} {b.ref}, <{len(mask)} x i32> <{picks}>"
        )

    def splat(self, a: Value, lanes: int) -> Value:
        """Put a scalar into every lane."""
        if lanes == 1:
            return a
        ty = vector(a.ty, lanes)
        one = self.emit(ty, f"insertelement {ty} poison, {a.ty} {a.ref}, i32 0")
        return self.shuffle(one, one, [0] * lanes)

    def call(self, name: str, *args: Value | Number) -> Value:
        """Call a function of the module, of the C library, or an intrinsic."""
        returns, types = self._module.signature(name)
        given = ", ".join(
            f"{ty} {self.as_value(a, ty).ref}" for a, ty in zip(args, types, strict=True)
        )
        if returns == "void":
            self.line(f"call void @{name}({given})")
            return Value(self, "void", "")
        return self.emit(returns, f"call {returns} @{name}({given})")

    # -- memory ---------------------------------------------------------------------------

    def var(self, ty: str, start: Value | Number | None = None) -> Var:
        """Make a stack variable, set to `start` here."""
        slot = Var(self, ty, self.alloca(ty).ref)
        if start is not None:
            slot.value = self.as_value(start, ty)
        return slot

    def alloca(self, ty: str) -> Value:
        """Reserve stack memory for one `ty`, for the whole call."""
        self._count += 1
        self._allocas.append(f"  %s{self._count} = alloca {ty}")
        return Value(self, "ptr", f"%s{self._count}")

    def at(self, ty: str, base: Value, index: Value | Number) -> Value:
        """Address of element `index` of an array of `ty`."""
        i = self.as_value(index, "i64")
        return self.emit("ptr", f"getelementptr {ty}, ptr {base.ref}, i64 {i.ref}")

    def load(self, ty: str, base: Value, index: Value | Number = 0) -> Value:
        """Load elements of `base` from element `index` on; aligned as one element."""
        where = self.at(scalar_of(ty), base, index)
        return self.emit(ty, f"load {ty}, ptr {where.ref}, align {ELEMENT_BYTES[scalar_of(ty)]}")

    def store(self, value: Value, base: Value, index: Value | Number = 0) -> None:
        """Store to elements of `base` from element `index` on; aligned as one element."""
        where = self.at(scalar_of(value.ty), base, index)
        align = ELEMENT_BYTES[scalar_of(value.ty)]
        self.line(f"store {value.ty} {value.ref}, ptr {where.ref}, align {align}")

    # -- control --------------------------------------------------------------------------

    def label(self, name: str) -> str:
        """Make a fresh label, to be placed later (or jumped back to)."""
        self._count += 1
        return f"{name}{self._count}"

    def place(self, label: str) -> None:
        """Continue the text at `label`, falling into it from above."""
        if self._open:
            self.goto(label)
        self._lines.append(f"{label}:")
        self._open = True

    def goto(self, label: str) -> None:
        """Jump; the text may go on only at a label."""
        self.line(f"br label %{label}")
        self._open = False

    def goto_if(self, test: Value, label: str) -> None:
        """Jump to `label` when `test` holds, else go on."""
        rest = self.label("rest")
        self.line(f"br i1 {test.ref}, label %{label}, label %{rest}")
        self._open = False
        self.place(rest)

    def ret(self, value: Value | Number | None = None) -> None:
        """Return."""
        given = "void" if value is None else self._typed(self.as_value(value, self._returns))
        self.line(f"ret {given}")
        self._open = False

    def ret_if(self, test: Value, value: Value | Number) -> None:
        """Return `value` when `test` holds, else go on."""
        with self.when(test):
            self.ret(value)

    @contextmanager
    def when(self, test: Value) -> Iterator[None]:
        """Run the block only if `test` holds."""
        end = self.label("end")
        self.goto_if(~test, end)
        yield
        self.place(end)

    @contextmanager
    def count(self, n: Value | Number, start: Value | Number = 0, step: int = 1) -> Iterator[Value]:
        """Count from `start` by `step` while below `n` (signed); the block sees the index."""
        i = self.var("i64", start)
        head, end = self.label("head"), self.label("end")
        self.place(head)
        now = i.value
        self.goto_if(now >= n, end)
        yield now
        if self._open:
            i.value = now + step
            self.goto(head)
        self.place(end)

    @staticmethod
    def _typed(value: Value) -> str:
        return f"{value.ty} {value.ref}"


ELEMENT_BYTES = {"i8": 1, "i16": 2, "i32": 4, "float": 4, "i64": 8, "double": 8}


class Module:
    """The functions written so far, and the symbols they need from outside."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._signatures: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._exported: list[str] = []
        self._used: set[str] = set()

    def function(
        self, name: str, returns: str, params: dict[str, str], *, local: str | None = None
    ) -> Function:
        """Begin a function; `local` makes it internal and holds its attributes."""
        self._signatures[name] = (returns, tuple(params.values()))
        given = ", ".join(f"{ty} %{key}" for key, ty in params.items())
        if local is None:
            self._exported.append(name)
        linkage, attributes = ("", "") if local is None else ("internal ", f" {local}")
        head = f"define {linkage}{returns} @{name}({given}) nounwind{attributes}"
        return Function(self, head, returns, params)

    def add(self, text: str) -> None:
        """Append a finished function."""
        self._texts.append(text)

    def signature(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Result and parameter types of a callable, noting outside symbols as used."""
        if name in self._signatures:
            return self._signatures[name]
        self._used.add(name)
        return LIBRARY[name]

    def exported(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Result and parameter types of the functions visible from outside."""
        return {name: self._signatures[name] for name in self._exported}

    def externals(self) -> tuple[str, ...]:
        """Symbols the process must provide, in alphabetical order."""
        return tuple(sorted(name for name in self._used if not name.startswith("llvm.")))

    def text(self) -> str:
        """The whole module."""
        declares = "".join(
            f"declare {LIBRARY[name][0]} @{name}({', '.join(LIBRARY[name][1])})\n"
            for name in sorted(self._used)
        )
        return declares + "\n" + "\n".join(self._texts)
