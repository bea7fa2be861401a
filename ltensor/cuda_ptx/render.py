"""From a lowered program to the PTX text that ``ltensor dump --stage ptx`` prints."""

from __future__ import annotations

from ltensor.cuda_ptx.frame import plain_signature
from ltensor.cuda_ptx.kernel_text import KernelText, kernel_texts, module_text
from ltensor.cuda_ptx.listing import host_listing
from ltensor.cuda_ptx.plan import Plan, make_plan
from ltensor.cuda_ptx.ptx import DEFAULT_ARCH, compile_text
from ltensor.ir.function import Function
from ltensor.lowering.program import Program
from ltensor.lowering.whole import Lowered, lower


def kernel_module(plan: Plan) -> str:
    """The LLVM text of all kernels of a plan; empty if there are none."""
    texts: list[KernelText] = []
    for kernel in plan.kernels.values():
        texts.extend(kernel_texts(kernel))
    return module_text(texts) if texts else ""


def lowered(function: Function | Lowered | Program) -> Program:
    """The kernel program of whatever is given."""
    if isinstance(function, Program):
        return function
    if isinstance(function, Lowered):
        return function.program
    signature, frame = plain_signature(function)
    return lower(function, signature, frame).program


def render_program(program: Program, arch: str = DEFAULT_ARCH) -> str:
    """The PTX of a kernel program, after its launch plan as comments.

    Parameters
    ----------
    arch : str
        ``sm_70`` to ``sm_121``.
    """
    plan = make_plan(program)
    lines = [f"// @{program.name} for {arch}: {len(plan.kernels)} kernels; the host runs"]
    lines += ["//   " + line for line in host_listing(plan)]
    text = kernel_module(plan)
    if not text:
        lines.append("// (no kernels)")
        return "\n".join(lines) + "\n"
    return "\n".join(lines) + "\n" + compile_text(text, arch)


def render_function(function: Function | Lowered, arch: str = DEFAULT_ARCH) -> str:
    """The PTX of a Function (or of what lowering made of one)."""
    return render_program(lowered(function), arch)
