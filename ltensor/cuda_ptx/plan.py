"""Which loops of a kernel program become kernels, and what stays with the host.

The host runs the program's outer statements in order: sizes, checks, allocations, calls of
libraries, loops that contain such calls. Every other loop at that level is a kernel:

- ``map``: independent steps, one thread each, in a grid-stride loop over the chain's product;
- ``rows``: independent steps with inner spreadable loops: one block of threads each;
- ``reduce``: a reduction over the whole grid, then ``join``: one block that joins the partials;
- ``block``: a sequential loop with spreadable loops inside: one block;
- ``serial``: a sequential loop of scalars (a recurrence): one thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ltensor.cuda_ptx.chains import Chain, chain_of, has_chain, is_independent
from ltensor.lowering.program import If as Branch
from ltensor.lowering.program import Loop, Program, Scope, Value, operands, root_of, walk

_HOST_ONLY = {
    "call": "calls a function of the run time",
    "call_pointer": "calls a function by its address",
    "ensure": "allocates",
    "grow": "allocates",
    "slot": "reads an address that may change",
    "remembered": "reads what an earlier call left",
    "alloc_output": "allocates",
    "adopt_output": "allocates",
    "lend_output": "returns an array of the host",
    "check_flag": "reports an error",
    "frame": "reads the call frame",
    "table": "reads the table of addresses",
}


@dataclass(eq=False)
class Kernel:
    """One loop that runs on the device.

    Attributes
    ----------
    parameters : list of Value
        Values from outside that it reads, in the order in which they are passed.
    results : list of Value
        Values it leaves, each through a cell whose address is passed after the parameters.
    flags, checks : bool
        Whether the addresses of the guards' flags and of the error record are passed too.
    private : set of Value
        Locals that nobody else sees: registers or stack of the thread.
    """

    name: str
    kind: str
    loop: Loop
    chain: Chain | None
    parameters: list[Value] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)
    flags: bool = False
    checks: bool = False
    private: set[Value] = field(default_factory=set)


@dataclass
class Plan:
    """The kernels of a program, and the host loops with the reason why they stay there."""

    program: Program
    kernels: dict[Loop, Kernel]
    host_loops: dict[Loop, str]


def why_host(loop: Loop) -> str | None:
    """The reason why ``loop`` cannot run on the device, or None."""
    for entry in walk(loop.body):
        if not isinstance(entry, Value):
            continue
        reason = _HOST_ONLY.get(entry.op)
        if reason is not None:
            detail = f" ({entry.attr})" if entry.op == "call" else ""
            return reason + detail
        if entry.dtype == "ptr" and entry.op == "load":
            return "reads an address from memory"
    return None


def kind_of(loop: Loop) -> tuple[str, Chain | None]:
    """How a loop is mapped to threads."""
    chain = chain_of(loop)
    if chain is None:
        return ("block" if has_chain(loop.body) else "serial"), None
    if not is_independent(loop):
        return "reduce", chain
    return ("rows" if has_chain(chain.body) else "map"), chain


def _checks_where_threads_differ(kernel_kind: str, loop: Loop, chain: Chain | None) -> bool:
    """Whether a check would let some threads leave while others wait at a barrier."""
    if kernel_kind in ("map", "serial"):
        return False
    body = loop.body if chain is None else chain.body
    if kernel_kind == "reduce":
        return _has_check(body)
    return any(
        isinstance(e, Loop) and chain_of(e) is not None and _has_check(e.body) for e in walk(body)
    )


def _has_check(scope: Scope) -> bool:
    return any(isinstance(e, Value) and e.op == "check" for e in walk(scope))


class _Planner:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.kernels: dict[Loop, Kernel] = {}
        self.host_loops: dict[Loop, str] = {}

    def scope(self, scope: Scope) -> None:
        for entry in scope.body:
            if isinstance(entry, Branch):
                self.scope(entry.then)
                self.scope(entry.orelse)
            elif isinstance(entry, Loop):
                self.loop(entry)

    def loop(self, loop: Loop) -> None:
        reason = why_host(loop)
        if reason is None:
            kind, chain = kind_of(loop)
            if _checks_where_threads_differ(kind, loop, chain):
                reason = "has checks inside a loop that is spread over threads"
            elif any(c.phi.dtype == "ptr" for c in loop.carries) and kind != "serial":
                reason = "carries addresses from step to step"
        if reason is not None:
            self.host_loops[loop] = reason
            self.scope(loop.body)
            return
        name = f"{self.program.name}_{len(self.kernels)}"
        self.kernels[loop] = Kernel(name, kind, loop, chain)

    def finish(self) -> Plan:
        uses = _uses(self.program, self.kernels)
        for kernel in self.kernels.values():
            self.complete(kernel, uses)
        return Plan(self.program, self.kernels, self.host_loops)

    def complete(self, kernel: Kernel, uses: dict[Value, set[Any]]) -> None:
        """Find what goes in and out of a kernel."""
        loop = kernel.loop
        inside: set[Value] = {loop.index, *(c.phi for c in loop.carries)}
        found: dict[Value, None] = {}
        entries = [loop, *walk(loop.body)]
        for entry in entries:
            if isinstance(entry, Loop):
                inside.add(entry.index)
                inside.update(c.phi for c in entry.carries)
                if entry is not loop:
                    inside.update(c.result for c in entry.carries)
                    if entry.steps is not None:
                        inside.add(entry.steps)
            elif isinstance(entry, Value):
                inside.add(entry)
                kernel.flags |= entry.op == "guard"
                kernel.checks |= entry.op == "check"
        for entry in entries:
            for value in operands(entry):
                if value.op != "const" and value not in inside:
                    found[value] = None
        for value in found:
            if value.op == "local" and uses[value] == {kernel}:
                kernel.private.add(value)
            else:
                kernel.parameters.append(value)
        kernel.results = [c.result for c in loop.carries]
        if loop.steps is not None and uses.get(loop.steps):
            kernel.results.append(loop.steps)


def _uses(program: Program, kernels: dict[Loop, Kernel]) -> dict[Value, set[Any]]:
    """For every value the kernels (or None: the host) that read it."""
    table: dict[Value, set[Any]] = {}

    def visit(scope: Scope, where: Any) -> None:
        for entry in scope.body:
            here = kernels.get(entry, where) if isinstance(entry, Loop) else where
            for value in operands(entry):
                table.setdefault(value, set()).add(here)
            if isinstance(entry, Loop):
                visit(entry.body, here)
            elif isinstance(entry, Branch):
                visit(entry.then, where)
                visit(entry.orelse, where)

    visit(program.root, None)
    return table


def make_plan(program: Program) -> Plan:
    """Divide ``program`` between host and device."""
    planner = _Planner(program)
    planner.scope(program.root)
    return planner.finish()


def device_pointers(plan: Plan) -> Iterator[Value]:
    """The buffers that kernels read or write, each once."""
    seen: set[Value] = set()
    for kernel in plan.kernels.values():
        for value in kernel.parameters:
            root = root_of(value)
            if value.dtype == "ptr" and root not in seen:
                seen.add(root)
                yield root
