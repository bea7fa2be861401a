"""Compile one vecmath function into a loop over arrays, and measure errors in ulp."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import mpmath
import numpy as np
from numpy.typing import NDArray

from ltensor.lowering import vecmath

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()

Array = NDArray[Any]
_LLVM_SCALAR = {"float32": "float", "float64": "double"}


def loop_module(
    name: str,
    dtype: str,
    lanes: int,
    *,
    fma: bool = True,
    inline: bool = False,
    target: str = "cpu",
) -> str:
    """LLVM text of ``@loop(n, inputs..., output)``, n a multiple of the lanes."""
    scalar = _LLVM_SCALAR[dtype]
    vector = scalar if lanes == 1 else f"<{lanes} x {scalar}>"
    arity = vecmath.FUNCTIONS[name]
    align = np.dtype(dtype).itemsize
    loads = []
    for k in range(arity):
        loads.append(f"  %p{k} = getelementptr {scalar}, ptr %a{k}, i64 %i")
        loads.append(f"  %x{k} = load {vector}, ptr %p{k}, align {align}")
    if inline:
        counter = iter(range(100_000))
        body, result, declares = vecmath.emit_inline(
            name, dtype, lanes, [f"%x{k}" for k in range(arity)],
            lambda: f"%t{next(counter)}", fma=fma, target=target,
        )  # fmt: skip
        definition = ""
    else:
        symbol, definition, dependencies, declares = vecmath.emit_function(
            name, dtype, lanes, fma=fma, target=target
        )
        assert symbol == vecmath.symbol(name, dtype, lanes)
        assert dependencies == []
        arguments = ", ".join(f"{vector} %x{k}" for k in range(arity))
        body, result = [f'  %y = call {vector} @"{symbol}"({arguments})'], "%y"
    pointers = ", ".join(f"ptr %a{k}" for k in range(arity))
    lines = [
        *sorted(declares),
        definition,
        f"define void @loop(i64 %n, {pointers}, ptr %out) {{",
        "entry:",
        "  br label %body",
        "body:",
        "  %i = phi i64 [ 0, %entry ], [ %next, %body ]",
        *loads,
        *body,
        f"  %q = getelementptr {scalar}, ptr %out, i64 %i",
        f"  store {vector} {result}, ptr %q, align {align}",
        f"  %next = add i64 %i, {lanes}",
        "  %more = icmp slt i64 %next, %n",
        "  br i1 %more, label %body, label %exit",
        "exit:",
        "  ret void",
        "}",
        "attributes #0 = { nounwind }",
    ]
    return "\n".join(lines).replace("#lt_math", "#0")


class Compiled:
    """A vecmath function applied to whole arrays."""

    def __init__(
        self,
        name: str,
        dtype: str,
        lanes: int,
        *,
        fma: bool = True,
        inline: bool = False,
        target: str = "cpu",
    ) -> None:
        text = loop_module(name, dtype, lanes, fma=fma, inline=inline, target=target)
        module = llvm.parse_assembly(text)
        module.verify()
        # A machine without fused multiply-add still rounds in one instruction (SSE 4.1).
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name() if fma else "x86-64",
            features=llvm.get_host_cpu_features().flatten() if fma else "+sse4.1",
            opt=3,
            jit=True,
        )
        self._engine = llvm.create_mcjit_compiler(module, machine)
        self._engine.finalize_object()
        arity = vecmath.FUNCTIONS[name]
        prototype = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * (arity + 1))
        self._loop = prototype(self._engine.get_function_address("loop"))
        self._dtype, self._lanes = np.dtype(dtype), lanes

    def __call__(self, *inputs: Array) -> Array:
        n = len(inputs[0])
        padding = -n % self._lanes
        padded = [np.append(x, np.ones(padding)).astype(self._dtype) for x in inputs]
        out = np.empty(n + padding, self._dtype)
        self._loop(n + padding, *(x.ctypes.data for x in padded), out.ctypes.data)
        return out[:n]


def ulp_errors(got: Array, exact: list[Any], scale: list[Any] | None = None) -> Array:
    """Distance of each result from the exact value, in units of the last place of the latter.

    Or of the last place of the `scale`.
    """
    info = np.finfo(got.dtype)
    lowest = int(info.minexp) - int(info.nmant)
    errors = np.empty(len(got))
    for i, value in enumerate(exact):
        result = float(got[i])
        if mpmath.isnan(value) or np.isnan(result):
            errors[i] = 0.0 if mpmath.isnan(value) and np.isnan(result) else np.inf
            continue
        if mpmath.isinf(value):
            errors[i] = 0.0 if result == float(value) else np.inf
            continue
        exponent = lowest
        size = abs(value) if scale is None else scale[i]
        if size != 0:
            exponent = max(int(mpmath.floor(mpmath.log(size, 2))) - int(info.nmant), lowest)
        ulp = mpmath.ldexp(1, min(exponent, int(info.maxexp) - int(info.nmant) - 1))
        if np.isinf(result):  # right if the value rounds to infinity; else it counts as 2**maxexp
            result_mp = mpmath.ldexp(int(np.sign(result)), int(info.maxexp))
            beyond = abs(value) >= abs(result_mp) - ulp
            errors[i] = 0.0 if beyond and value * result_mp > 0 else np.inf
            continue
        errors[i] = float(abs(mpmath.mpf(result) - value) / ulp)
    return errors


def exact_values(function: Callable[..., Any], *inputs: Array) -> list[Any]:
    """The function at each point, in multiple precision."""
    return [function(*(mpmath.mpf(float(v)) for v in point)) for point in zip(*inputs, strict=True)]
