"""Renders a nest as a function of its own: what it has from outside are parameters."""

from __future__ import annotations

from ltensor.lowering.cpu.llvm import Renderer
from ltensor.lowering.llvm_text import lanes_type, scalar_type
from ltensor.lowering.program import Loop, Program, Value
from ltensor.lowering.rewrites.twins import Twin

__all__ = ["NestRenderer", "render_twin"]


class NestRenderer(Renderer):
    """Renders one nest of a program.

    Attributes
    ----------
    given : dict of Value to str
        The registers of parameters; some stand for constants.
    """

    def __init__(self, program: Program, vector_bytes: int, fma: bool, given: list[Value]) -> None:
        super().__init__(program, vector_bytes, fma)
        self.shared = {}
        self.given = {value: f"%p{number}" for number, value in enumerate(given)}
        self.registers.update(self.given)
        self._spread: set[str] = set()
        self._head: list[str] = []

    def text(self, name: str, loop: Loop) -> str:
        """The function called ``name``."""
        self.render_steps(loop)
        given = self.given.items()
        parameters = ", ".join(f"{scalar_type(v.dtype)} {register}" for v, register in given)
        head = f"define internal void @{name}({parameters}) nounwind {{"
        body = [*self.allocas, *self._head, *self.lines]
        return "\n".join([head, "entry:", *body, "  ret void", "}"])

    def scalar(self, value: Value) -> str:
        """``value`` in a scalar register."""
        return self.given.get(value) or super().scalar(value)

    def vector(self, value: Value) -> str:
        """``value`` in all lanes; a constant that is given is spread at the beginning."""
        if self.lanes == 1 or value.op != "const" or value not in self.given:
            return super().vector(value)
        name = f"{self.given[value]}.x{self.lanes}"
        if name not in self._spread:
            element, kind = scalar_type(value.dtype), lanes_type(value.dtype, self.lanes)
            order = f"<{self.lanes} x i32> zeroinitializer"
            self._head += [
                f"  {name}.0 = insertelement {kind} poison, {element} {self.given[value]}, i64 0",
                f"  {name} = shufflevector {kind} {name}.0, {kind} poison, {order}",
            ]
            self._spread.add(name)
        return name


def render_twin(renderer: Renderer, loop: Loop, twin: Twin) -> None:
    """Call the function of a nest, which is written when the first one is met."""
    if twin.name not in renderer.functions:
        inner = NestRenderer(renderer.program, renderer.vector_bytes, renderer.fma, twin.given)
        inner.declares, inner.uses = renderer.declares, renderer.uses
        inner.functions = renderer.functions
        renderer.functions[twin.name] = inner.text(twin.name, loop)
    arguments = ", ".join(f"{scalar_type(v.dtype)} {renderer.scalar(v)}" for v in twin.given)
    renderer.line(f"call void @{twin.name}({arguments})")
    assert loop.steps is not None
    renderer.registers[loop.steps] = renderer.scalar(loop.extent)
