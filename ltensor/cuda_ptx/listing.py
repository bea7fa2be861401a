"""The launch plan as text: what the host does, where it launches which kernel, and why."""

from __future__ import annotations

from collections.abc import Iterator

from ltensor.cuda_ptx.plan import Kernel, Plan
from ltensor.lowering.program import If, Loop, Scope, Value
from ltensor.lowering.program import _Printer as Printer

_HOW = {
    "map": "one thread per point",
    "rows": "one block per point, inner loops over its threads",
    "reduce": "the grid reduces, then one block joins the partials",
    "block": "one block, inner loops over its threads",
    "serial": "one thread",
}


class _Listing:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.printer = Printer()

    def scope(self, scope: Scope, pad: str) -> Iterator[str]:
        for entry in scope.body:
            if isinstance(entry, Loop):
                kernel = self.plan.kernels.get(entry)
                if kernel is not None:
                    yield from self.launch(kernel, pad)
                    continue
                reason = self.plan.host_loops[entry]
                index, extent = self.printer.name(entry.index), self.printer.name(entry.extent)
                yield f"{pad}loop {index} in {extent} {{  ; on the host: {reason}"
                yield from self.scope(entry.body, pad + "  ")
                yield pad + "}"
            elif isinstance(entry, If):
                yield f"{pad}if {self.printer.name(entry.condition)} {{"
                yield from self.scope(entry.then, pad + "  ")
                if entry.orelse.body:
                    yield f"{pad}}} else {{"
                    yield from self.scope(entry.orelse, pad + "  ")
                yield pad + "}"
            elif isinstance(entry, Value):
                yield pad + self.printer.instruction(entry)

    def launch(self, kernel: Kernel, pad: str) -> Iterator[str]:
        name = self.printer.name
        results = ", ".join(name(v) for v in kernel.results)
        head = f"{results} = " if results else ""
        loops = kernel.chain.loops if kernel.chain is not None else [kernel.loop]
        space = " * ".join(name(loop.extent) for loop in loops)
        given = ", ".join(name(v) for v in kernel.parameters)
        label = f"; {kernel.loop.label}" if kernel.loop.label else ""
        yield f"{pad}{head}launch {kernel.name}({given}) over {space}  ; {_HOW[kernel.kind]}{label}"


def host_listing(plan: Plan) -> list[str]:
    """The lines of the host's part."""
    return list(_Listing(plan).scope(plan.program.root, ""))
