"""What the gemm emitters know about a dtype and about the host: types, lanes, multiply-add.

Lowering layer, private to the gemm package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ltensor.lowering.gemm.writer import Writer

_KINDS = {
    "f32": ("float", 4, "float"),
    "f64": ("double", 8, "float"),
    "c64": ("float", 4, "complex"),
    "c128": ("double", 8, "complex"),
    "bool": ("i8", 1, "bool"),
    **{f"{s}{8 * n}": (f"i{8 * n}", n, "int") for s in "iu" for n in (1, 2, 4, 8)},
}

#: NumPy name -> short name used in symbols.
SHORT_NAMES = {
    "float32": "f32",
    "float64": "f64",
    "complex64": "c64",
    "complex128": "c128",
    "bool": "bool",
    **{f"{u}int{bits}": f"{u or 'i'}{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)},
}


class Host(Protocol):
    """The features of the machine that change the code."""

    @property
    def vector_bytes(self) -> int:
        """64 with AVX-512, 32 with AVX, otherwise 16."""

    @property
    def has_fma(self) -> bool:
        """True if ``llvm.fma`` is an instruction and no library call."""


class SimpleHost(NamedTuple):
    """A plain `Host`."""

    vector_bytes: int = 16
    has_fma: bool = False


class Element(NamedTuple):
    """One dtype on one host.

    A complex number is two *components*; `ir`, `part_bytes` and `lanes` speak of components,
    `size` and `per_vector` of elements.
    """

    name: str
    ir: str
    part_bytes: int
    kind: str
    vector_bytes: int
    has_fma: bool

    @classmethod
    def make(cls, dtype: str, host: Host) -> Element:
        """Describe `dtype` (``f32`` or ``float32``) on `host`."""
        name = SHORT_NAMES.get(dtype, dtype)
        if name not in _KINDS:
            raise ValueError(f"no matrix product for dtype {dtype!r}")
        ir, part_bytes, kind = _KINDS[name]
        return cls(name, ir, part_bytes, kind, host.vector_bytes, host.has_fma)

    @property
    def is_complex(self) -> bool:
        """True if an element has two components."""
        return self.kind == "complex"

    @property
    def parts(self) -> int:
        """Components in an element."""
        return 2 if self.is_complex else 1

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return self.part_bytes * self.parts

    @property
    def lanes(self) -> int:
        """Components in a vector."""
        return self.vector_bytes // self.part_bytes

    @property
    def per_vector(self) -> int:
        """Elements in a vector."""
        return self.vector_bytes // self.size

    @property
    def vec(self) -> str:
        """The LLVM vector type."""
        return f"<{self.lanes} x {self.ir}>"

    @property
    def has_masks(self) -> bool:
        """True if masked loads and stores of this type are instructions.

        Narrower targets take the tail columns with scalar tiles instead.
        """
        if self.vector_bytes == 64:
            return True
        return self.vector_bytes == 32 and self.part_bytes >= 4

    @property
    def zero(self) -> str:
        """The scalar zero."""
        return "0.0" if self.ir in ("float", "double") else "0"

    @property
    def one(self) -> str:
        """The scalar one."""
        return "1.0" if self.ir in ("float", "double") else "1"

    @property
    def scalars(self) -> list[str]:
        """The names of the parameters that hold alpha and beta."""
        if self.is_complex:
            return ["%alpha", "%alpha.im", "%beta", "%beta.im"]
        return ["%alpha", "%beta"]

    def scalar_params(self) -> str:
        """Return alpha and beta as a parameter or argument list."""
        return ", ".join(f"{self.ir} {name}" for name in self.scalars)

    def scalar_args(self, beta_is_one: str, w: Writer) -> str:
        """Return the argument list, with beta = 1 where the flag `beta_is_one` holds."""
        half = len(self.scalars) // 2
        names = self.scalars[:half]
        for value, one in zip(self.scalars[half:], (self.one, self.zero), strict=False):
            names.append(
                w.let(f"select i1 {beta_is_one}, {self.ir} {one}, {self.ir} {value}", "beta")
            )
        return ", ".join(f"{self.ir} {name}" for name in names)

    def beta_is_zero(self, w: Writer) -> str:
        """Return the flag that C must not be read."""
        half = len(self.scalars) // 2
        compare = "fcmp oeq" if self.ir in ("float", "double") else "icmp eq"
        betas = self.scalars[half:]
        return w.both(*(w.let(f"{compare} {self.ir} {b}, {self.zero}") for b in betas))

    # arithmetic on a vector or scalar type -------------------------------------------------

    def mul(self, w: Writer, ty: str, a: str, b: str) -> str:
        """Return a * b."""
        op = {"int": "mul", "bool": "and"}.get(self.kind, "fmul")
        return w.let(f"{op} {ty} {a}, {b}")

    def add(self, w: Writer, ty: str, a: str, b: str) -> str:
        """Return a + b."""
        op = {"int": "add", "bool": "or"}.get(self.kind, "fadd")
        return w.let(f"{op} {ty} {a}, {b}")

    def mul_add(self, w: Writer, ty: str, a: str, b: str, c: str) -> str:
        """Return a * b + c, in one rounding where the host can."""
        if self.has_fma and self.ir in ("float", "double"):
            return w.let(f"call {ty} @llvm.fma.{suffix(ty)}({ty} {a}, {ty} {b}, {ty} {c})")
        return self.add(w, ty, self.mul(w, ty, a, b), c)


def suffix(ty: str) -> str:
    """Return the intrinsic name suffix of a type: ``<16 x float>`` -> ``v16f32``."""
    base = {"float": "f32", "double": "f64"}
    if ty.startswith("<"):
        count, element = ty[1:-1].split(" x ")
        return f"v{count}{base.get(element, element)}"
    return base.get(ty, ty)


def splat(w: Writer, ty: str, element: str, value: str) -> str:
    """Return a vector that holds `value` in each lane; a scalar type returns the value."""
    if not ty.startswith("<"):
        return value
    count = ty[1:-1].split(" x ")[0]
    one = w.let(f"insertelement {ty} poison, {element} {value}, i64 0")
    return w.let(f"shufflevector {ty} {one}, {ty} poison, <{count} x i32> zeroinitializer")


def lanes_below(w: Writer, count: int, limit: str) -> str:
    """Return the mask of lanes with index < `limit` (an i64), as ``<count x i1>``."""
    # i32 compares: one vector of indices instead of two for 16 lanes.
    clipped = w.smin(limit, count)
    narrow = w.let(f"trunc i64 {clipped} to i32")
    ty = f"<{count} x i32>"
    wide = splat(w, ty, "i32", narrow)
    index = ", ".join(f"i32 {i}" for i in range(count))
    return w.let(f"icmp sgt {ty} {wide}, <{index}>", "mask")


def masked_load(w: Writer, ty: str, pointer: str, mask: str, align: int) -> str:
    """Return the lanes of `mask`, zero elsewhere."""
    count = ty[1:-1].split(" x ")[0]
    # The form with an alignment operand: LLVM 22 upgrades it, older ones need it.
    return w.let(
        f"call {ty} @llvm.masked.load.{suffix(ty)}.p0"
        f"(ptr {pointer}, i32 {align}, <{count} x i1> {mask}, {ty} zeroinitializer)"
    )


def masked_store(w: Writer, ty: str, value: str, pointer: str, mask: str, align: int) -> None:
    """Store the lanes of `mask`."""
    count = ty[1:-1].split(" x ")[0]
    w.do(
        f"call void @llvm.masked.store.{suffix(ty)}.p0"
        f"({ty} {value}, ptr {pointer}, i32 {align}, <{count} x i1> {mask})"
    )


def declarations(ty: str) -> list[str]:
    """Return the intrinsics that code on the vector type `ty` may use."""
    s = suffix(ty)
    lines = []
    if ty.rstrip(">").endswith(("float", "double")):
        lines.append(f"declare {ty} @llvm.fma.{s}({ty}, {ty}, {ty})")
    if ty.startswith("<"):
        count = ty[1:-1].split(" x ")[0]
        lines.append(f"declare {ty} @llvm.masked.load.{s}.p0(ptr, i32, <{count} x i1>, {ty})")
        lines.append(f"declare void @llvm.masked.store.{s}.p0({ty}, ptr, i32, <{count} x i1>)")
    return lines
