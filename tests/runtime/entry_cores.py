"""Hand-written cores for the tests of entries: small enough to be seen to be right."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from ltensor.lowering.cpu import jit
from ltensor.runtime.callable import NativeCallable
from ltensor.runtime.entry import (
    FrameLayout,
    InputSpec,
    OutputSpec,
    Returns,
    ensure_support,
    entry_text,
    module_text,
)

_numbers = itertools.count()

VECTOR = [InputSpec("float64", 1, (False,))]
SCALAR = [InputSpec("float64", 0)]

PREAMBLE = """define internal i32 @core(ptr %frame) nounwind {
  %x.slot = getelementptr i64, ptr %frame, i64 1
  %x = load ptr, ptr %x.slot
  %dims = getelementptr i64, ptr %frame, i64 2
"""


def add_one_core(*slots: int) -> str:
    """Outputs x+1, x+2, ... for a float64 vector, with the object of output j in slots[j]."""
    lines = [PREAMBLE, "  %n = load i64, ptr %dims"]
    for j, slot in enumerate(slots):
        lines += [
            f"  %o.{j} = call ptr @lt_alloc_output(ptr %frame, i64 {slot}, i32 12, i32 1, "
            "ptr %dims)",
            f"  %bad.{j} = icmp eq ptr %o.{j}, null",
            f"  br i1 %bad.{j}, label %fail, label %start.{j}",
            f"start.{j}:",
            f"  br label %head.{j}",
            f"head.{j}:",
            f"  %k.{j} = phi i64 [ 0, %start.{j} ], [ %next.{j}, %body.{j} ]",
            f"  %go.{j} = icmp slt i64 %k.{j}, %n",
            f"  br i1 %go.{j}, label %body.{j}, label %end.{j}",
            f"body.{j}:",
            f"  %from.{j} = getelementptr double, ptr %x, i64 %k.{j}",
            f"  %v.{j} = load double, ptr %from.{j}",
            f"  %w.{j} = fadd double %v.{j}, {j + 1}.0",
            f"  %to.{j} = getelementptr double, ptr %o.{j}, i64 %k.{j}",
            f"  store double %w.{j}, ptr %to.{j}",
            f"  %next.{j} = add i64 %k.{j}, 1",
            f"  br label %head.{j}",
            f"end.{j}:",
        ]
    lines += ["  ret i32 0", "fail:", "  ret i32 1", "}"]
    text = "\n".join(lines)
    return text if slots else text.replace("fail:\n  ret i32 1\n", "")


def scalar_core(llvm: str, add: str, type_number: int) -> str:
    """Output x+1 for an array without dimensions of the LLVM type *llvm*."""
    return f"""define internal i32 @core(ptr %frame) nounwind {{
  %x.slot = getelementptr i64, ptr %frame, i64 1
  %x = load ptr, ptr %x.slot
  %o = call ptr @lt_alloc_output(ptr %frame, i64 2, i32 {type_number}, i32 0, ptr null)
  %bad = icmp eq ptr %o, null
  br i1 %bad, label %fail, label %go
go:
  %v = load {llvm}, ptr %x
  %w = {add}
  store {llvm} %w, ptr %o
  ret i32 0
fail:
  ret i32 1
}}"""


SCALAR_CORE = scalar_core("double", "fadd double %v, 1.0", 12)

FAILING_CORE = """define internal i32 @core(ptr %frame) nounwind {
  %dims = getelementptr i64, ptr %frame, i64 2
  %o = call ptr @lt_alloc_output(ptr %frame, i64 3, i32 12, i32 1, ptr %dims)
  %record = load ptr, ptr %frame
  store i64 77, ptr %record
  %second = getelementptr i64, ptr %record, i64 1
  store i64 -5, ptr %second
  ret i32 1
}"""


class Compiled(NativeCallable):
    """A callable whose slow path says that it was taken, and with what."""

    def __init__(self, name: str = "f") -> None:
        self.name = name

    def _call_slow(self, *args: Any, **kwargs: Any) -> Any:
        return "slow", args, kwargs

    def _raise_error(self, record: tuple[int, ...], args: tuple[Any, ...]) -> Any:
        raise ValueError(record, args)


def compiled(
    core: str,
    inputs: Sequence[InputSpec],
    outputs: Sequence[OutputSpec],
    returns: Returns,
    cls: type[Compiled] = Compiled,
) -> Compiled:
    """Compile a core with its entry into a callable."""
    ensure_support()
    name = f"entry{next(_numbers)}"
    module = jit.compile_module(module_text(core, entry_text(name, inputs, outputs, returns)))
    function = cls()
    assert function._install_entry(module.address(name), module)
    return function


def add_one(cls: type[Compiled] = Compiled) -> Compiled:
    """Compile f(x) = x + 1 for float64 vectors."""
    outputs = [OutputSpec("float64", 1)]
    slot = FrameLayout.of(VECTOR, outputs).output_object(0)
    return compiled(add_one_core(slot), VECTOR, outputs, "value", cls)
