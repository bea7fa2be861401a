"""Elementary and special functions as LLVM IR text, for any lane count, both dtypes, CPU and GPU.

Layer 4.  `emit_inline` gives the straight-line instructions of one call, `emit_function` a whole
internal function; both come from the same emitter.  Neither calls libm, and the only intrinsics
used lower on x86 and NVPTX alike.  `ULP` states the error bounds that the tests hold.

Functions in `WITH_RARE_BRANCH` (huge arguments of sin, negative ones of gamma, ...) branch around
costly work in their own function and do it always when inlined: better called than inlined.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from ltensor.lowering.vecmath.builder import KINDS, Builder, Value
from ltensor.lowering.vecmath.registry import EMITTERS, STEPS, ULP, WITH_RARE_BRANCH

__all__ = ["FUNCTIONS", "ULP", "WITH_RARE_BRANCH", "emit_function", "emit_inline", "symbol"]

FUNCTIONS: dict[str, int] = {name: arity for name, (arity, _) in EMITTERS.items()}
_ALL = EMITTERS | STEPS


def symbol(name: str, dtype: str, lanes: int) -> str:
    """Name of the function's LLVM symbol, without the ``@``.

    Examples
    --------
    >>> symbol("exp", "float32", 16), symbol("exp", "float64", 1)
    ('lt.exp.v16f32', 'lt.exp.f64')
    """
    kind = KINDS[dtype]
    return f"lt.{name}.{kind}" if lanes == 1 else f"lt.{name}.v{lanes}{kind}"


def _check(name: str, dtype: str, lanes: int, target: str) -> None:
    if name not in _ALL:
        raise KeyError(f"no vector function named {name!r}")
    if dtype not in KINDS:
        raise TypeError(f"{name}: dtype {dtype!r}, but only float32 and float64 are computed")
    if lanes not in (1, 2, 4, 8, 16, 32):
        raise ValueError(f"{name}: {lanes} lanes; a power of two up to 32 is needed")
    if target not in ("cpu", "avx512", "nvptx"):
        raise ValueError(f"{name}: unknown target {target!r}")


def emit_inline(
    name: str,
    dtype: str,
    lanes: int,
    args: list[str],
    fresh: Callable[[], str],
    *,
    fma: bool = True,
    target: str = "cpu",
) -> tuple[list[str], str, set[str]]:
    """Instructions that compute one function in the current basic block.

    Parameters
    ----------
    name, dtype, lanes
        Which function, ``'float32'`` or ``'float64'``, and the vector length (1: scalars).
    args
        Registers or constants, as LLVM text without their type.
    fresh
        Returns an unused register name, with its ``%``, each time it is called.
    fma
        Whether the machine has fused multiply-add.
    target
        ``'cpu'``, ``'avx512'`` (fewer instructions, the same bits) or ``'nvptx'``.

    Returns
    -------
    tuple
        Indented instruction lines, the register of the result, and the ``declare`` lines needed.

    Examples
    --------
    >>> names = (f"%t{i}" for i in itertools.count())
    >>> lines, result, declares = emit_inline(
    ...     "tanh", "float32", 16, ["%x"], lambda: next(names))
    >>> lines[0]
    '  %t0 = call <16 x float> @llvm.fabs.v16f32(<16 x float> %x)'
    """
    _check(name, dtype, lanes, target)
    arity, emitter = _ALL[name]
    if len(args) != arity:
        raise TypeError(f"{name} takes {arity} arguments, not {len(args)}")
    build = Builder(lanes, fresh, fma=fma, avx512=target == "avx512")
    result = emitter(build, *(Value(build, KINDS[dtype], text) for text in args))
    return build.lines, result.text, build.declares


def emit_function(
    name: str, dtype: str, lanes: int, *, fma: bool = True, target: str = "cpu"
) -> tuple[str, str, list[tuple[str, str, int]], set[str]]:
    """Text of one internal function.

    It refers to the attribute group ``#lt_math``, which the module has to define.

    Returns
    -------
    tuple
        The symbol, the definition, the other functions of this package that it calls (none:
        everything is inlined), and the ``declare`` lines needed.

    Examples
    --------
    >>> name, text, dependencies, declares = emit_function("exp", "float64", 8)
    >>> text.splitlines()[0]
    'define internal <8 x double> @"lt.exp.v8f64"(<8 x double> %x) #lt_math {'
    """
    _check(name, dtype, lanes, target)
    arity, emitter = _ALL[name]
    registers = (f"%v{i}" for i in itertools.count())
    labels = (f"b{i}" for i in itertools.count())
    build = Builder(
        lanes,
        lambda: next(registers),
        fma=fma,
        avx512=target == "avx512",
        labels=lambda: next(labels),
    )
    parameters = [Value(build, KINDS[dtype], text) for text in ("%x", "%y", "%z", "%w")[:arity]]
    result = emitter(build, *parameters)
    type_ = build.type(KINDS[dtype])
    name_ = symbol(name, dtype, lanes)
    head = ", ".join(f"{type_} {p.text}" for p in parameters)
    lines = [
        f'define internal {type_} @"{name_}"({head}) #lt_math {{',
        "entry:",
        *build.lines,
        f"  ret {type_} {result.text}",
        "}",
    ]
    return name_, "\n".join(lines) + "\n", [], build.declares
