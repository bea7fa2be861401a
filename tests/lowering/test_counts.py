"""Sweeps over memory, exponentials and temporaries of common expressions, counted and not timed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering.program import Loop, Scope, Value, walk

# what is counted is the form for long rows
pytestmark = pytest.mark.usefixtures("only_long_rows")


@dataclass
class Counts:
    """What a function does with its matrix.

    Attributes
    ----------
    outer : int
        Loops of the outermost scope over data: how often memory is gone through.
    sweeps : int
        Loops in lanes that read the argument.
    powers : int
        Calls of exp.
    matrices : int
        Temporaries as large as the argument.
    """

    outer: int
    sweeps: int
    powers: int
    matrices: int


def leaves(scope: Scope) -> list[Loop]:
    """The innermost loops."""
    found = []
    for entry in scope.body:
        if isinstance(entry, Loop):
            inner = leaves(entry.body)
            found += inner or [entry]
    return found


def count(inputs, outputs) -> Counts:
    f = theano.function(inputs, outputs, mode="FAST_RUN")
    program = f._linked.lowered.program
    root = program.root

    def reads(loop: Loop) -> bool:
        return any(
            isinstance(e, Value)
            and e.op == "load"
            and e.args[0].op == "frame"
            and e.dtype[0] == "f"
            for e in walk(loop.body)
        )

    outer = [e for e in root.body if isinstance(e, Loop) and reads(e)]
    wide = [
        buffer
        for buffer in program.buffers
        if buffer.reason[0] == "value"
        and len(buffer.dims) == inputs[0].ndim
        and not any(d.op == "const" for d in buffer.dims)
    ]
    exps = sum(isinstance(e, Value) and e.op == "math" and e.attr == "exp" for e in walk(root))
    return Counts(
        len(outer),
        len([e for e in leaves(root) if reads(e)]),
        exps,
        len(wide),
    )


m, label = T.fmatrix("m"), T.lvector("label")
v = T.fvector("v")


def layer_norm():
    centered = m - m.mean(1, keepdims=True)
    return centered / T.sqrt(T.sqr(centered).mean(1, keepdims=True) + np.float32(1e-5))


def cross_entropy():
    loss = T.nnet.categorical_crossentropy(T.nnet.softmax(m), label).mean()
    return [loss, T.grad(loss, m)]


@pytest.mark.parametrize(
    ("inputs", "outputs", "wanted"),
    [
        # one loop over blocks of rows: the mean, then the squares
        ([m], m.var(1), Counts(1, 2, 0, 0)),
        ([m], T.nnet.softmax(m), Counts(1, 2, 1, 0)),
        ([m], T.exp(m) / T.exp(m).sum(1, keepdims=True), Counts(1, 2, 1, 0)),
        ([m], T.log(T.exp(m).sum(1)), Counts(1, 2, 1, 0)),
        ([m], layer_norm(), Counts(1, 3, 0, 0)),
        # two separate sweeps: the mean must be known first
        ([v], v.var(), Counts(2, 2, 0, 0)),
        ([v], T.sqr(v).sum(), Counts(1, 1, 0, 0)),
        # all outputs of one loop
        ([v], [T.nnet.sigmoid(v) * T.tanh(v), T.tanh(v), v + 1], Counts(1, 1, 0, 0)),
    ],
    ids=[
        "variance of rows",
        "softmax",
        "softmax by hand",
        "logsumexp",
        "layer norm",
        "variance",
        "sum of squares",
        "several outputs",
    ],
)
def test_sweeps(inputs, outputs, wanted):
    assert count(inputs, outputs) == wanted


def test_cross_entropy_and_gradient():
    """The matrix is gone through once, and once more at a place per row; one exponential."""
    found = count([m, label], cross_entropy())
    assert (found.outer, found.powers) == (2, 1)
    # the softmax, in blocks that stay in the cache
    assert found.matrices <= 1


def test_elementwise_needs_no_memory():
    f = theano.function([v], [T.nnet.sigmoid(v) * T.tanh(v), T.exp(-v) * T.log(v + 1)])
    reasons = [b.reason[0] for b in f._linked.lowered.program.buffers]
    assert reasons == ["output", "output"]
