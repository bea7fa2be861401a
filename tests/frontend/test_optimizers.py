"""Theano's optimizer objects: ``mode.optimizer`` runs the passes, users' rewrites are refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from seeds.runner import child_environment

import ltensor
import ltensor.tensor as T
from ltensor import Constant, Mode, function, optimizers
from ltensor.compile_modes import get_default_mode
from ltensor.errors import UnsupportedError
from ltensor.graph_tools import FunctionGraph
from ltensor.optimizers import PassOptimizer, optdb
from ltensor.printing import debugprint


def graph_of(*outputs: Any) -> FunctionGraph:
    inputs = [v for v in ltensor.graph_tools.inputs(outputs) if not isinstance(v, Constant)]
    return FunctionGraph(inputs, list(outputs))


def test_optimizer_of_a_mode_rewrites_in_place() -> None:
    x = T.dvector("x")
    graph = graph_of((x + 0) * 1 + T.log(T.exp(x)))
    (before,) = graph.inputs
    assert get_default_mode().excluding("fusion").optimizer.optimize(graph) is None
    assert graph.inputs == [before]
    expected = graph_of(x + x)
    PassOptimizer("fast_run")(expected)
    assert debugprint(graph, file="str") == debugprint(expected, file="str")
    np.testing.assert_array_equal(function(graph.inputs, graph.outputs[0])([1.0, 2.0]), [2.0, 4.0])


def test_gradients_of_a_loop_are_computed_alike_after_it() -> None:
    x = T.dvector("x")
    rows, _ = ltensor.scan(lambda a, h: T.tanh(a + h), x, T.constant(0.0, dtype="float64"))
    graph = graph_of(T.grad(rows.sum(), x), rows[-1])
    value = np.linspace(-1, 1, 5)
    expected = function(graph.inputs, graph.outputs)(value)
    for name in ("fast_compile", "fast_run"):
        copy = graph.clone()
        optdb.query(f"+{name}").optimize(copy)
        for result, wanted in zip(
            function(copy.inputs, copy.outputs)(value), expected, strict=True
        ):
            np.testing.assert_allclose(result, wanted)


def test_nothing_is_done_without_optimizer() -> None:
    x = T.dvector("x")
    graph = graph_of(x + 0)
    for optimizer in (None, "None"):
        Mode(optimizer=optimizer).optimizer.optimize(graph)
    assert len(graph.apply_nodes) > 0


def test_modes_take_each_others_optimizers() -> None:
    plain = Mode(optimizer=Mode(optimizer=None).optimizer)
    assert plain.level == "none"
    assert str(plain) == "Mode(linker = None, optimizer = None)"
    assert Mode(optimizer=optdb.query("fast_compile")).clone().level == "fast_compile"
    assert Mode("vm", "fast_compile").optimizer == optdb.query("+fast_compile", "-fusion")


def test_an_optimizer_of_ones_own() -> None:
    class Halved(optimizers.Optimizer):
        def apply(self, fgraph: Any) -> None:
            fgraph.replace(fgraph.outputs[0], fgraph.outputs[0] / 2)

    x = T.dvector("x")
    graph = graph_of(x * 3)
    Halved().optimize(graph)
    assert function(graph.inputs, graph.outputs[0])([2.0]) == [3.0]
    assert Mode(optimizer=Halved()).level == "fast_run"


PROGRAM = """
import numpy as np, theano, theano.tensor as T
from theano import gof

class ConsiderConstant(theano.compile.ViewOp):
    def grad(self, args, g_outs):
        return [T.zeros_like(g) for g in g_outs]

consider_constant = ConsiderConstant()
T.opt.register_canonicalize(gof.OpRemove(consider_constant), name='remove_constant')

@T.opt.register_specialize('fast_compile')
@gof.local_optimizer([T.Elemwise])
def local_mine(node):
    return False

@T.opt.register_stabilize
@gof.local_optimizer(None)
def local_other(node):
    return False

both = gof.opt.in2out(local_mine, gof.PatternSub((T.log, 'x'), (T.exp, 'x'), name='pattern'))
theano.compile.optdb.register('mine', both, 99, 'fast_run')
theano.compile.optdb['canonicalize'].register('sub', gof.OpSub(T.exp, T.log), 'fast_run')

x = T.dvector()
f = theano.function([x], T.grad((x * T.exp(consider_constant(x))).sum(), x))
assert np.allclose(f([1.0, 2.0]), np.exp([1.0, 2.0]))
print(local_mine(None), local_other.__name__, both)
"""


def test_rewrites_that_programs_register_are_named_and_ignored() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import ltensor.compat; ltensor.compat.install()\n" + PROGRAM],
        capture_output=True,
        text=True,
        env=child_environment(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "False local_other local_mine_pattern\n"
    said = [line for line in done.stderr.splitlines() if "UserWarning" in line]
    assert [
        line.partition("UserWarning: ")[2].partition(" is not applied")[0] for line in said
    ] == [
        "register_canonicalize: the rewrite 'remove_constant'",
        "register_specialize: the rewrite 'local_mine'",
        "register_stabilize: the rewrite 'local_other'",
        "optdb.register: the rewrite 'mine'",
        "optdb.register: the rewrite 'sub'",
    ]
    assert all("ltensor runs its own passes" in line for line in said)


def test_a_rewrite_can_be_tried_by_itself() -> None:
    x = T.dvector("x")
    node = T.exp(x).owner
    assert optimizers.OpRemove(T.exp).transform(node) == [x]
    (result,) = optimizers.OpSub(T.exp, T.log).transform(node)
    assert result.owner.op == T.log
    assert result.owner.inputs == [x]
    assert optimizers.OpSub(T.sin, T.log).transform(node) is False
    with pytest.raises(NotImplementedError, match="does not define transform"):
        optimizers.LocalOptimizer().transform(node)


def test_walks_over_graphs_can_be_registered() -> None:
    walk = optimizers.TopoOptimizer(optimizers.OpRemove(T.exp), order="in_to_out")
    both = optimizers.SeqOptimizer(walk, optimizers.EquilibriumOptimizer([], max_use_ratio=10))
    assert str(both).startswith("SeqOptimizer(TopoOptimizer(OpRemove(")
    with pytest.warns(UserWarning, match="the rewrite 'mine' is not applied"):
        optimizers.optdb.register("mine", both, 10, "fast_run")
    with pytest.raises(UnsupportedError, match="no rewrites of users"):
        walk.optimize(None)
