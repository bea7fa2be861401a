"""Programs written with the builder: recurrences, loops of blocks, checks, the host's loops."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_ptx.ptx_tools import assemble, emulated, needs_ptxas

import ltensor  # noqa: F401 - declares all ops
from ltensor.cuda_ptx import render_program
from ltensor.cuda_ptx.emulator import Emulated, EmulatedError
from ltensor.cuda_ptx.frame import PlainFrame
from ltensor.cuda_ptx.plan import make_plan
from ltensor.cuda_ptx.ptx import compile_guarded
from ltensor.cuda_ptx.render import kernel_module
from ltensor.ir.function import Function
from ltensor.lowering.builder import Builder
from ltensor.lowering.program import View
from ltensor.lowering.whole import Lowered, Signature
from ltensor.testing import assert_close, variable_of


class Hand:
    """A program over vectors written with the builder; outputs are made by `out`."""

    def __init__(self, dtypes: Sequence[str], n_outputs: int) -> None:
        self.frame = PlainFrame((1,) * len(dtypes), n_outputs)
        self.b = Builder("hand")
        self.variables = [variable_of(np.zeros(2, d)) for d in dtypes]
        self.n_outputs = n_outputs
        self.inputs = [
            View(
                d,
                self.b.frame(self.frame.input_data(k), "ptr"),
                (self.b.frame(self.frame.input_dim(k, 0)),),
            )
            for k, d in enumerate(dtypes)
        ]

    def out(self, number: int, dtype: str, *dims: Any) -> View:
        slot = (self.frame.output_object(number), int(np.dtype(dtype).num))
        return View(dtype, self.b.effect("alloc_output", "ptr", dims, slot), dims)

    def lowered(self) -> Lowered:
        function = Function(self.variables, ())
        return Lowered(self.b.program, [], function, Signature(len(self.variables), self.n_outputs))

    def kinds(self) -> list[str]:
        return [k.kind for k in make_plan(self.b.program).kernels.values()]


def two_taps() -> Hand:
    hand = Hand(["float64"], 2)
    b, (u,) = hand.b, hand.inputs
    y, last = hand.out(0, "float64", u.dims[0]), hand.out(1, "float64")
    with b.loop(u.dims[0], carries=[b.const(0.5, "float64"), b.const(1.0, "float64")]) as loop:
        p, q = loop.carry
        value = b.add(b.add(b.mul(q, -0.3), b.load(u, (loop.index,))), b.mul(p, 0.9))
        b.store(y, (loop.index,), value)
        loop.next(value, p)
    b.store(last, (), loop.results[0])
    return hand


def two_taps_numpy(u: np.ndarray) -> list[Any]:
    p, q, y = 0.5, 1.0, []
    for x in u:
        p, q = (-0.3 * q + x) + 0.9 * p, p
        y.append(p)
    return [np.array(y), np.float64(p)]


def until() -> Hand:
    """Halve until below one; a branch whose value leaves through a local; the number of steps."""
    hand = Hand(["float64"], 2)
    b, (u,) = hand.b, hand.inputs
    y, steps = hand.out(0, "float64"), hand.out(1, "int64")
    start = b.load(u, (0,))
    with b.loop(b.const(1000), carries=[start]) as loop:
        place = b.local("float64")
        with b.if_(b.gt(loop.carry[0], 10.0)):
            b.store(place, (), b.mul(loop.carry[0], 0.25))
        with b.else_():
            b.store(place, (), b.mul(loop.carry[0], 0.5))
        value = b.load(place, ())
        loop.next(value)
        loop.stop = b.lt(value, 1.0)
    b.store(y, (), loop.results[0])
    b.store(steps, (), loop.steps)
    return hand


def until_numpy(u: np.ndarray) -> list[Any]:
    x, n = float(u[0]), 0
    while True:
        x, n = x * (0.25 if x > 10 else 0.5), n + 1
        if x < 1:
            return [np.float64(x), np.int64(n)]


def vector_state() -> Hand:
    """h = tanh(h reversed - norm / 100 + u) ten times; the norms in a second output."""
    hand = Hand(["float64"], 2)
    b, (u,) = hand.b, hand.inputs
    n = u.dims[0]
    h, norms = hand.out(0, "float64", n), hand.out(1, "float64", b.const(10))
    spare = b.temporary("float64", (n,))
    with b.loop(n, kind="vector") as loop:
        b.store(h, (loop.index,), b.const(0.0, "float64"))
    with b.loop(b.const(10), carries=[b.const(0.0, "float64")]) as steps:
        b.memcpy(spare.pointer, h.pointer, b.mul(n, 8))
        with b.loop(n, kind="vector") as loop:
            other = b.sub(b.sub(n, 1), loop.index)
            moved = b.sub(b.load(spare, (other,)), b.mul(steps.carry[0], 0.01))
            b.store(h, (loop.index,), b.math("tanh", b.add(moved, b.load(u, (loop.index,)))))
        with b.reduce(n, "add", b.const(0.0, "float64")) as loop:
            # what other threads have written
            x = b.load(h, (b.sub(b.sub(n, 1), loop.index),))
            loop.next(b.mul(x, x))
        b.store(norms, (steps.index,), loop.results[0])
        again = b.load(norms, (steps.index,))
        b.store(norms, (steps.index,), b.sqrt(again))
        steps.next(b.load(norms, (steps.index,)))
    return hand


def vector_state_numpy(u: np.ndarray) -> list[Any]:
    h, norms = np.zeros_like(u), []
    for _ in range(10):
        h = np.tanh(h[::-1] - 0.01 * (norms[-1] if norms else 0.0) + u)
        norms.append(np.sqrt(np.sum(h * h)))
    return [h, np.array(norms)]


def reversal() -> Hand:
    """Threads read what others are about to overwrite, in this step and from the last one."""
    hand = Hand(["float64"], 2)
    b, (u,) = hand.b, hand.inputs
    n = u.dims[0]
    h, y = hand.out(0, "float64", n), hand.out(1, "float64", n)
    with b.loop(n, kind="vector") as loop:
        b.store(h, (loop.index,), b.load(u, (loop.index,)))
    with b.loop(b.const(5)) as steps:
        scale = b.cast(steps.index, "float64")
        with b.loop(n, kind="vector") as loop:
            other = b.load(h, (b.sub(b.sub(n, 1), loop.index),))
            b.store(y, (loop.index,), b.add(other, b.load(u, (loop.index,))))
        with b.loop(n, kind="vector") as loop:
            b.store(h, (loop.index,), b.mul(b.load(u, (loop.index,)), scale))
    return hand


def reversal_numpy(u: np.ndarray) -> list[Any]:
    return [u * 4.0, 3.0 * u[::-1] + u]


def checked() -> Hand:
    """A map with a check and a guard inside."""
    hand = Hand(["float64"], 1)
    b, (u,) = hand.b, hand.inputs
    y = hand.out(0, "float64", u.dims[0])
    with b.loop(u.dims[0], parallel=True) as loop:
        x = b.load(u, (loop.index,))
        b.check(b.lt(x, 100.0), "too_large", None, (loop.index,))
        b.guard(b.ge(x, 0.0), "negative")
        b.store(y, (loop.index,), b.sqrt(x))
    b.flush_guards()
    return hand


HANDS: list[tuple[Callable[[], Hand], Callable[..., list[Any]], list[str]]] = [
    (two_taps, two_taps_numpy, ["serial"]),
    (until, until_numpy, ["serial"]),
    (vector_state, vector_state_numpy, ["map", "block"]),
    (reversal, reversal_numpy, ["map", "block"]),
    (checked, lambda u: [np.sqrt(u)], ["map"]),
]


@emulated
@pytest.mark.parametrize(
    ("make", "numpy_version", "kinds"), HANDS, ids=[h[0].__name__ for h in HANDS]
)
def test_emulated_loops(make: Any, numpy_version: Any, kinds: list[str]) -> None:
    u = np.abs(np.random.default_rng(7).normal(size=97)) + 30.0
    u /= 31.0 if make is not until else 1.0
    hand = make()
    assert hand.kinds() == kinds
    for got, wanted in zip(Emulated(hand.lowered())(u), numpy_version(u), strict=True):
        assert_close(got, np.asarray(wanted), 64)


@needs_ptxas
@pytest.mark.parametrize("make", [h[0] for h in HANDS], ids=[h[0].__name__ for h in HANDS])
def test_loops_assemble(make: Any, tmp_path: Path) -> None:
    assemble(compile_guarded(kernel_module(make_plan(make().b.program))), tmp_path)


@emulated
def test_checks_and_guards_are_reported() -> None:
    run = Emulated(checked().lowered())
    u = np.ones(200)
    u[150] = 1000.0
    with pytest.raises(EmulatedError, match="too_large") as caught:
        run(u)
    assert caught.value.values[0] == 150
    u[150] = -1.0
    with pytest.raises(EmulatedError, match="negative"):
        run(u)
    u[150] = 4.0
    assert run(u)[0][150] == 2.0


@emulated
def test_a_barrier_that_not_all_reach_is_found() -> None:
    from ltensor.cuda_ptx import emulator
    from ltensor.cuda_ptx.kernel_text import KernelText
    from ltensor.lowering.cpu import jit

    barrier = "@llvm.nvvm.barrier.cta.sync.aligned.all"
    text = f"""define ptx_kernel void @stuck() {{
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %zero = icmp eq i32 %t, 0
  br i1 %zero, label %end, label %wait
wait:
  call void {barrier}(i32 0)
  br label %end
end:
  ret void
}}"""
    declares = frozenset(
        (f"declare void {barrier}(i32)", "declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()")
    )
    module = emulator._kernel_module([KernelText("stuck", (), text, "", declares)])
    names = {s: emulator._runtime().address(s) for s in emulator._SPECIALS}
    compiled = jit.compile_module(module, names)
    launch = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * 3, ctypes.c_void_p)(
        compiled.address("launch")
    )
    assert launch(0, 1, 64, None) == 1


def test_calls_stay_on_the_host() -> None:
    hand = Hand(["float64"], 0)
    b, (u,) = hand.b, hand.inputs
    with b.loop(b.const(3)):
        b.call("lt_something", (u.pointer,))
        with b.loop(u.dims[0], kind="vector") as loop:
            b.store(u, (loop.index,), b.mul(b.load(u, (loop.index,)), 2.0))
    text = render_program(b.program)
    assert "on the host: calls a function of the run time (lt_something)" in text
    assert "launch hand_0" in text
    assert ".visible .entry hand_0" in text
