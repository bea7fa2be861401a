"""The state of the CPU's renderer, and its operands: scalars, vectors, values at lane 0."""

from __future__ import annotations

from ltensor.lowering.cpu import streams
from ltensor.lowering.cpu.lanes import LaneAnalysis
from ltensor.lowering.llvm_text import lanes_type, literal, scalar_type
from ltensor.lowering.program import Loop, Program, Value
from ltensor.lowering.scope_text import ScopeText


class Operands(ScopeText):
    """Where values are: in scalar registers, in vectors, or both."""

    def __init__(self, program: Program, vector_bytes: int, fma: bool) -> None:
        super().__init__()
        self.program = program
        self.vector_bytes = vector_bytes
        self.fma = fma
        self.target = "avx512" if vector_bytes == 64 else "cpu"
        self.vectors: dict[Value, str] = {}
        self.bases: dict[Value, str] = {}
        self.lanes = 1
        self.mask: str | None = None
        #: whether stores of large results are to pass the cache
        self.streams = True
        #: the flag that says whether stores of whole vectors pass the cache, if they may
        self.past_cache = ""
        #: then: the stores of the step being written, which end it
        self.waiting_stores: list[tuple[str, int, int]] = []
        #: loops inside of the nest being written whose stores may
        self.past_cache_rows: dict[Loop, tuple[list[streams.Store], str]] = {}
        #: in a masked tail: how many lanes are left, in all lanes
        self.left: str | None = None
        self.analysis: LaneAnalysis | None = None
        self._analyses: dict[Loop, LaneAnalysis] = {}
        self.allocas: list[str] = []
        self.dims_words = 1
        #: loops around what is being written
        self.depth = 0

    def lane_analysis(self, loop: Loop) -> LaneAnalysis:
        """What is to be known of a vector loop, found once."""
        found = self._analyses.get(loop)
        if found is None:
            found = self._analyses[loop] = LaneAnalysis(loop, self.vector_bytes)
        return found

    def vector(self, value: Value) -> str:
        """``value`` in all lanes."""
        if self.lanes == 1:
            return self.scalar(value)
        if value.op == "const":
            text = literal(value.attr, value.dtype)
            return f"splat ({scalar_type(value.dtype)} {text})"
        found = self.vectors.get(value)
        if found is None:
            found = self.vectors[value] = self.splat(value.dtype, self.scalar(value))
        return found

    def splat(self, dtype: str, register: str) -> str:
        """A scalar register in every lane."""
        element, kind = scalar_type(dtype), lanes_type(dtype, self.lanes)
        one = self.put(f"insertelement {kind} poison, {element} {register}, i64 0")
        order = f"<{self.lanes} x i32> zeroinitializer"
        return self.put(f"shufflevector {kind} {one}, {kind} poison, {order}")

    def base(self, value: Value) -> str:
        """An index value at lane 0."""
        if self.analysis is None or value not in self.analysis.varying:
            return self.scalar(value)
        return self.bases[value]

    def after_uniform(self, value: Value) -> None:
        """Spread a uniform value of a vector loop at its definition if lanes want it."""
        if self.analysis is not None:
            self.vectors.pop(value, None)
            if value in self.analysis.need_splat:
                self.vectors[value] = self.splat(value.dtype, self.scalar(value))
