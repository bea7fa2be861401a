"""Which ``llvm.*`` names the PTX code generator may be given, and for which types.

LLVM ends the process on others: "no libcall available" exits, "cannot select" aborts. The list is
what was tried, assembled, and is written by our emitters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ltensor.lowering.cpu.intrinsics import base_name

_FLOAT = frozenset(
    (
        "sqrt",
        "fabs",
        "floor",
        "ceil",
        "trunc",
        "rint",
        "nearbyint",
        "round",
        "roundeven",
        "fma",
        "copysign",
        "minnum",
        "maxnum",
        "minimum",
        "maximum",
    )
)
_INTEGER = frozenset(("smax", "smin", "umax", "umin", "abs", "ctpop", "ctlz", "cttz"))
_SPECIAL = frozenset(
    (
        "llvm.nvvm.read.ptx.sreg.tid.x",
        "llvm.nvvm.read.ptx.sreg.ntid.x",
        "llvm.nvvm.read.ptx.sreg.ctaid.x",
        "llvm.nvvm.read.ptx.sreg.nctaid.x",
        "llvm.nvvm.shfl.sync.down.i32",
        "llvm.nvvm.barrier.cta.sync.aligned.all",
    )
)
#: half precision lowers for those that have an instruction
_HALF = frozenset(("fabs", "copysign", "fma", "minnum", "maxnum", "minimum", "maximum"))
_NAME = re.compile(r'@"?(llvm\.[\w.$-]+)')


def allowed(name: str) -> bool:
    """Whether the PTX code generator knows an intrinsic.

    Examples
    --------
    >>> allowed("llvm.fma.f64"), allowed("llvm.exp.f32"), allowed("llvm.sqrt.f16")
    (True, False, False)
    """
    if name in _SPECIAL:
        return True
    base, suffix = base_name(name), name.rsplit(".", 1)[-1]
    if base in _FLOAT:
        return suffix in ("f32", "f64") or (suffix == "f16" and base in _HALF)
    return base in _INTEGER and suffix in ("i1", "i8", "i16", "i32", "i64")


def unsupported(text: str) -> list[str]:
    """The intrinsics of a module that must not reach the PTX code generator, sorted."""
    names: Iterable[str] = set(_NAME.findall(text))
    return sorted(n for n in names if not allowed(n))
