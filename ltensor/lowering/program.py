"""The kernel program: scalar SSA values in nested scopes of loops and branches, and buffers.

This is the level where both targets meet. Sizes are values; nothing is said of vectors or threads
except that a loop *may* be run in vector lanes (``kind='vector'``) or in parallel (``parallel``:
its steps may run in any order or at once; loops inside it say so for themselves).

Pure values live in the outermost scope in which their operands exist, so everything that does not
change in a loop stands before it: invariant code motion by construction. Loads, stores and calls
stay where they were written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: how many numbers a guard may record
GUARD_WORDS = 2

#: operations that are more than a value: they touch memory, may fail or call
EFFECTS = frozenset(
    (
        "adopt_output",
        "alloc_output",
        "call",
        "call_pointer",
        "check",
        "check_flag",
        "ensure",
        "grow",
        "guard",
        "lend_output",
        "load",
        "local",
        "memcpy",
        "prefetch",
        "ready",
        "remembered",
        "slot",
        "slot_address",
        "store",
    )
)
#: what runs in one lane only
SERIAL_ONLY = frozenset(
    (
        "call",
        "call_pointer",
        "check",
        "check_flag",
        "memcpy",
        "ensure",
        "grow",
        "slot",
        "remembered",
        "alloc_output",
        "adopt_output",
        "ptradd",
        "local",
    )
)


class Value:
    """One scalar SSA value (or a statement: store, check, call of dtype ``void``)."""

    __slots__ = ("args", "attr", "dtype", "op", "owner", "scope")

    def __init__(
        self, op: str, dtype: str, args: tuple[Any, ...], attr: Any, scope: Scope, owner: Any
    ) -> None:
        self.op = op
        self.dtype = dtype
        self.args = args
        self.attr = attr
        self.scope = scope
        self.owner = owner

    # Arithmetic on indices and sizes reads better with operators; ``owner`` is the builder.

    def __add__(self, other: Any) -> Any:
        return self.owner.add(self, other)

    def __radd__(self, other: Any) -> Any:
        return self.owner.add(other, self)

    def __sub__(self, other: Any) -> Any:
        return self.owner.sub(self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.owner.sub(other, self)

    def __mul__(self, other: Any) -> Any:
        return self.owner.mul(self, other)

    def __rmul__(self, other: Any) -> Any:
        return self.owner.mul(other, self)

    def __repr__(self) -> str:
        if self.op == "const":
            return f"const {self.attr}"
        return f"<{self.op} {self.dtype}>"


class Scope:
    """A straight-line list of values, loops and branches."""

    __slots__ = ("body", "depth", "holder", "parent", "table")

    def __init__(self, parent: Scope | None, holder: Any = None) -> None:
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.body: list[Any] = []
        self.table: dict[Any, Value] = {}
        self.holder = holder

    def contains(self, other: Scope) -> bool:
        """Whether ``other`` is this scope or lies inside it."""
        scope: Scope | None = other
        while scope is not None and scope.depth >= self.depth:
            if scope is self:
                return True
            scope = scope.parent
        return False


@dataclass(eq=False)
class Carry:
    """A value handed from one step of a loop to the next.

    With ``combine`` the loop is a reduction: ``next`` is the step's contribution, joined to the
    carried value by that associative operation, in any order: ``add``, ``mul``, ``and``, ``or``,
    ``max`` and ``min`` (nan if one is), ``largest`` (of those that are numbers).
    """

    init: Value
    phi: Value
    result: Value
    combine: str | None = None
    next: Value | None = None


@dataclass(eq=False)
class Loop:
    """``for index in extent``; stops early after a step whose ``stop`` is true."""

    index: Value
    extent: Value
    body: Scope
    kind: str = "serial"
    parallel: bool = False
    carries: list[Carry] = field(default_factory=list)
    stop: Value | None = None
    steps: Value | None = None
    label: str = ""
    #: expected time of the whole loop, if it is worth asking whether threads should share it
    cost: Value | None = None
    #: whether its sums may round as products of matrices do, without what corrects long sums
    plain: bool = False
    #: of a row that is a single masked step: its lanes, of which it fills the first ``extent``
    held: int = 0

    @property
    def carry(self) -> list[Value]:
        """The carried values as the body sees them."""
        return [c.phi for c in self.carries]

    @property
    def results(self) -> list[Value]:
        """The carried values after the loop."""
        return [c.result for c in self.carries]

    def next(self, *values: Value) -> None:
        """Set the values carried to the next step (or the contributions of a reduction)."""
        for carry, value in zip(self.carries, values, strict=True):
            carry.next = value


def new_loop(scope: Scope, extent: Value, kind: str, owner: Any, **more: Any) -> Loop:
    """A loop over ``range(extent)`` with an empty body, to be put into ``scope``.

    ``more`` are further attributes of `Loop`.
    """
    body = Scope(scope)
    made = Loop(Value("index", "int64", (), None, body, owner), extent, body, kind, **more)
    made.steps = Value("result", "int64", (), made, scope, owner)
    body.holder = made
    return made


@dataclass(eq=False)
class If:
    """A branch; values leave it through memory."""

    condition: Value
    then: Scope
    orelse: Scope


@dataclass(eq=False)
class View:
    """A buffer, or a strided window of one: element ``i`` is at ``offset + sum(i_k * stride_k)``.

    ``strides`` is None for a dense C-ordered window; strides count elements.
    """

    dtype: str
    pointer: Value
    dims: tuple[Value, ...]
    strides: tuple[Value, ...] | None = None
    offset: Value | None = None

    @property
    def ndim(self) -> int:
        return len(self.dims)

    @property
    def dense(self) -> bool:
        """Whether it is C-ordered without gaps."""
        return self.strides is None


@dataclass(eq=False)
class Complex:
    """A complex scalar: its parts as two values. Exists only while the program is built."""

    re: Value
    im: Value
    dtype: str


@dataclass
class ErrorSite:
    """What a run-time check has to say: the Apply, a kind, and names of the recorded numbers."""

    kind: str
    node: Any
    detail: tuple[Any, ...] = ()
    #: how many numbers precede the operands' sizes; None if these are not recorded
    shapes_at: int | None = None


class Buffer(NamedTuple):
    """A buffer of the call, and why it exists (told by `f.explain()`).

    Attributes
    ----------
    pointer : Value
        ``ensure`` (memory of the call) or ``alloc_output`` (an array that is returned).
    dtype : str
    dims : tuple of Value
    reason : tuple
        A word and what it speaks of: an Apply or a Variable, and numbers. The words:

        ============ ====================================== ==========================
        word         of                                     further
        ============ ====================================== ==========================
        output       the Variable returned                  its number
        value        the Variable stored
        copy         the Variable made dense
        scratch      the Apply whose kernel works in it
        trace        the scan: all rows of one result       its position
        ring         the scan: rows of a state, in turn     the state's position
        last         the scan: last rows of one result      its position
        carry        the scan: value of this or next step   the state's position
        packed       the Variable in a product's order
        block        the Variable, of a block of steps
        update       the shared Variable that takes it
        ============ ====================================== ==========================
    """

    pointer: Value
    dtype: str
    dims: tuple[Value, ...]
    reason: tuple[Any, ...]


class UpdateNote(NamedTuple):
    """How a shared variable gets its new value.

    Attributes
    ----------
    shared : Variable
    way : str
        ``'in place'``: where the old value lies; ``'exchange'``: computed in a buffer, which takes
        the place of the old value if it is large; ``'copy'``: from a buffer that stays the call's;
        ``'store'``: one element.
    dtype : str
    dims : tuple of Value
    """

    shared: Any
    way: str
    dtype: str
    dims: tuple[Value, ...]


@dataclass
class Program:
    """A whole compiled function at the kernel level."""

    name: str
    root: Scope
    slots: int = 0
    flags: int = 0
    #: dtype and number of elements of arrays in the native frame
    locals: list[tuple[str, int]] = field(default_factory=list)
    #: number 0 is nobody's: in the error record it stands for "no number"
    errors: list[ErrorSite] = field(default_factory=lambda: [ErrorSite("unknown", None)])
    calls: set[str] = field(default_factory=set)
    buffers: list[Buffer] = field(default_factory=list)
    #: scan nodes with the number of their steps, as they were lowered
    scans: list[tuple[Any, Value]] = field(default_factory=list)
    #: word of the table of addresses that leads to memory kept between calls, if it is kept
    arena: int | None = None
    #: how shared variables get their new values, for `f.explain()`
    updates: list[UpdateNote] = field(default_factory=list)
    #: loops of which ``ready`` speaks by their numbers
    awaited: list[Loop] = field(default_factory=list)
    #: loops that threads may share, see `ltensor.lowering.rewrites.parallel`
    shared_loops: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(_Printer().program(self))


def operands(entry: Any) -> Iterator[Value]:
    """What a value, loop or branch reads directly."""
    if isinstance(entry, Loop):
        yield entry.extent
        for carry in entry.carries:
            yield carry.init
            if carry.next is not None:
                yield carry.next
        if entry.stop is not None:
            yield entry.stop
    elif isinstance(entry, If):
        yield entry.condition
    else:
        yield from entry.args


def root_of(pointer: Value) -> Value:
    """The buffer that an address lies in."""
    while pointer.op == "ptradd":
        pointer = pointer.args[0]
    return pointer


def walk(scope: Scope) -> Iterator[Any]:
    """All entries of a scope and of the scopes inside it."""
    for entry in scope.body:
        yield entry
        if isinstance(entry, Loop):
            yield from walk(entry.body)
        elif isinstance(entry, If):
            yield from walk(entry.then)
            yield from walk(entry.orelse)


class _Printer:
    """Text of a program, for ``ltensor dump --stage kernels``."""

    def __init__(self) -> None:
        self.names: dict[Value, str] = {}

    def name(self, value: Value | None) -> str:
        if value is None:
            return "none"
        if value.op == "const":
            return str(value.attr)
        found = self.names.get(value)
        if found is None:
            prefix = {"index": "i", "phi": "c", "result": "r"}.get(value.op, "")
            found = self.names[value] = f"%{prefix}{len(self.names)}"
        return found

    def program(self, program: Program) -> Iterator[str]:
        yield f"program @{program.name} {{"
        yield from self.scope(program.root, "  ")
        yield "}"

    def scope(self, scope: Scope, pad: str) -> Iterator[str]:
        for entry in scope.body:
            if isinstance(entry, Loop):
                yield from self.loop(entry, pad)
            elif isinstance(entry, If):
                yield f"{pad}if {self.name(entry.condition)} {{"
                yield from self.scope(entry.then, pad + "  ")
                if entry.orelse.body:
                    yield f"{pad}}} else {{"
                    yield from self.scope(entry.orelse, pad + "  ")
                yield f"{pad}}}"
            else:
                yield pad + self.instruction(entry)

    def loop(self, loop: Loop, pad: str) -> Iterator[str]:
        results = ", ".join(self.name(c.result) for c in loop.carries)
        head = f"{results} = " if results else ""
        word = "for" if loop.kind == "vector" or loop.parallel else "loop"
        text = f"{pad}{head}{word} {self.name(loop.index)} in {self.name(loop.extent)}"
        if loop.kind == "vector":
            text += f" {loop.held} lanes at once" if loop.held else " lanes"
        if loop.parallel:
            text += " parallel"
        if loop.carries:
            parts = []
            for c in loop.carries:
                how = f"reduce {c.combine} " if c.combine else ""
                parts.append(f"{how}{self.name(c.phi)} = {self.name(c.init)}")
            text += f" carry ({', '.join(parts)})"
        if loop.label:
            text += f"  ; {loop.label}"
        yield text + " {"
        yield from self.scope(loop.body, pad + "  ")
        if loop.carries:
            yield f"{pad}  next ({', '.join(self.name(c.next) for c in loop.carries)})"
        if loop.stop is not None:
            yield f"{pad}  stop {self.name(loop.stop)}"
        yield pad + "}"

    def instruction(self, value: Value) -> str:
        args = ", ".join(self.name(a) for a in value.args)
        attr = "" if value.attr is None else f" {{{value.attr}}}"
        if value.dtype == "void":
            return f"{value.op} {args}{attr}"
        return f"{self.name(value)} = {value.op} {args}{attr} : {value.dtype}"


def deepest(values: Sequence[Any], root: Scope) -> Scope:
    """The innermost scope among those of ``values``."""
    scope = root
    for value in values:
        if value.scope.depth > scope.depth:
            scope = value.scope
    return scope
