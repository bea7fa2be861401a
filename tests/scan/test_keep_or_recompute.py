"""What is kept of a forward loop for its gradient."""

from __future__ import annotations

import numpy as np

import ltensor as theano
import ltensor.tensor as T
from ltensor.ir.function import Function
from ltensor.ops.keep_or_recompute import values_to_keep


def keep(build, free_names: set[str], needed_names: list[str]) -> list[str]:
    """Names of the kept values of a step that ``build`` makes."""
    inputs, values = build()
    for name, v in values.items():
        v.name = name
    body = Function(inputs, list(values.values()), "body")
    free = {v for v in [*inputs, *values.values()] if v.name in free_names}
    found = values_to_keep(body, free, [values[n] for n in needed_names], lambda v: False)
    return [v.name for v in found]


def test_the_smaller_side_of_a_broadcast_is_kept() -> None:
    def build():
        a, m = T.dmatrix("a"), T.dmatrix("m")
        product = T.dot(a, m)
        largest = product.max(axis=0).dimshuffle("x", 0)
        return [a, m], {"largest": largest, "exp": T.exp(a - largest)}

    assert keep(build, {"a", "m"}, ["exp"]) == ["largest"]


def test_of_equal_values_the_last_one_is_kept() -> None:
    def build():
        a, m = T.dmatrix("a"), T.dmatrix("m")
        z = T.dot(a, m)
        return [a, m], {"z": z, "gate": T.nnet.sigmoid(z)}

    assert keep(build, {"a", "m"}, ["gate"]) == ["gate"]
    # if both are needed the gate follows from the other
    assert keep(build, {"a", "m"}, ["z", "gate"]) == ["z"]


def test_slices_come_from_what_they_are_cut_out_of() -> None:
    def build():
        a, m = T.dmatrix("a"), T.dmatrix("m")
        gates = T.nnet.sigmoid(T.dot(a, m))
        return [a, m], {"gates": gates, "first": gates[:, :8], "second": gates[:, 8:16]}

    assert keep(build, {"a", "m"}, ["gates", "first", "second"]) == ["gates"]
    assert keep(build, {"a", "m"}, ["first"]) == ["first"]


def test_nothing_is_kept_of_what_follows_from_what_is_at_hand() -> None:
    def build():
        a = T.dvector("a")
        return [a], {"b": T.exp(a), "c": T.tanh(T.exp(a))}

    assert keep(build, {"a"}, ["b", "c"]) == []


def test_dear_scalars_are_kept_and_cheap_ones_computed() -> None:
    def build():
        a = T.dscalar("a")
        return [a], {"dear": T.gammaln(a), "cheap": 2 * a + 1}

    assert keep(build, {"a"}, ["dear", "cheap"]) == ["dear"]


def test_gradient_of_a_forward_pass_in_logarithms() -> None:
    n = 4
    a, e = T.dmatrix("a"), T.dmatrix("e")

    def step(e_t, alpha, a):
        m = alpha.dimshuffle(0, "x") + a
        largest = m.max(axis=0)
        return T.log(T.exp(m - largest).sum(axis=0)) + largest + e_t

    rows, _ = theano.scan(step, sequences=e[1:], outputs_info=e[0], non_sequences=a)
    cost = rows[-1].max()
    f = theano.function([a, e], [cost, *T.grad(cost, [a, e])])
    draw = np.random.RandomState(0).randn
    av, ev = draw(n, n), draw(7, n)
    _, ga, ge = f(av, ev)
    for value, gradient in ((av, ga), (ev, ge)):
        index, step_size = (1, 2), 1e-6
        value[index] += step_size
        high = f(av, ev)[0]
        value[index] -= 2 * step_size
        low = f(av, ev)[0]
        value[index] += step_size
        np.testing.assert_allclose(gradient[index], (high - low) / (2 * step_size), rtol=1e-6)
    forward = f.explain(sizes={"a": (n, n), "e": (7, n)}).loops[0]
    # the row itself, the maximum and the sum: vectors, no matrix
    assert forward.kept_bytes_per_step <= 4 * 8 * n
