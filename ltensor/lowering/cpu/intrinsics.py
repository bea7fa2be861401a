"""Which ``llvm.*`` names the CPU code generator may use (layer 4).

LLVM takes an unknown or foreign intrinsic for an external function: MCJIT then links a null
address and the call ends the process, or instruction selection aborts. The list below is what was
tried on the CPU; a name outside it is a mistake of an emitter, and is reported as a Python
exception before code generation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SCALAR_OR_VECTOR = (
    "fma fmuladd sqrt fabs floor ceil trunc rint nearbyint round roundeven lrint llrint "
    "copysign minnum maxnum minimum maximum canonicalize is.fpclass ldexp frexp "
    "ctpop ctlz cttz bswap bitreverse fshl fshr abs smax smin umax umin fptosi.sat fptoui.sat "
    "sadd.with.overflow uadd.with.overflow ssub.with.overflow usub.with.overflow "
    "smul.with.overflow umul.with.overflow sadd.sat uadd.sat ssub.sat usub.sat"
)
_VECTOR = (
    "masked.load masked.store masked.gather masked.scatter masked.expandload masked.compressstore "
    "stepvector get.active.lane.mask vector.reverse vector.insert vector.extract "
    "vector.interleave2 vector.deinterleave2 vector.splice "
    "vector.reduce.add vector.reduce.mul vector.reduce.and vector.reduce.or vector.reduce.xor "
    "vector.reduce.smax vector.reduce.smin vector.reduce.umax vector.reduce.umin "
    "vector.reduce.fadd vector.reduce.fmul vector.reduce.fmax vector.reduce.fmin "
    "vector.reduce.fmaximum vector.reduce.fminimum"
)
_MEMORY_AND_HINTS = (
    "memcpy memset memmove prefetch lifetime.start lifetime.end expect "
    "expect.with.probability assume stacksave stackrestore readcyclecounter trap x86.sse2.pause"
)
_AVX512 = " ".join(
    f"x86.avx512.mask.scalef.{kind}.{width}" for kind in ("pd", "ps") for width in (128, 256, 512)
)

CPU_INTRINSICS: frozenset[str] = frozenset(
    f"{_SCALAR_OR_VECTOR} {_VECTOR} {_MEMORY_AND_HINTS} {_AVX512}".split()
)
"""Names without the ``llvm.`` prefix and without the type suffixes."""

# One type suffix: i32, f64, bf16, v16f32, nxv4i32, p0, sl_p0i64s.
_SUFFIX = re.compile(r"(?:(?:nx)?v\d+)?(?:[if]\d+|bf16|p\d+|sl_\w+)$")


def base_name(name: str) -> str:
    """Return *name* without ``llvm.`` and type suffixes.

    >>> base_name("llvm.masked.load.v16f32.p0")
    'masked.load'
    """
    parts = name.removeprefix("llvm.").split(".")
    while len(parts) > 1 and _SUFFIX.fullmatch(parts[-1]):
        parts.pop()
    return ".".join(parts)


def unsupported(names: Iterable[str]) -> list[str]:
    """Return the ``llvm.*`` names among *names* that the CPU back end must not see, sorted."""
    return sorted(
        name for name in names if name.startswith("llvm.") and base_name(name) not in CPU_INTRINSICS
    )
