"""What a compiled loop is made of: what stands inside, what is kept, how it is named and stored."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scan.checks import compiled, names, scans

import ltensor as theano
import ltensor.tensor as T
from ltensor.random import RandomStreams
from ltensor.scan_module import until

x, y = T.dvectors("x", "y")
s, w = T.dscalars("s", "w")
m = T.dmatrix("m")
n = T.iscalar("n")
X = np.array([0.3, -0.7, 1.1, 0.4])


def loop(function: Any) -> Any:
    """The only scan of a function."""
    (node,) = scans(function)
    return node.op


def body(function: Any) -> list[str]:
    return names(loop(function).body.nodes)


# ----------------------------------------------------------------------------- names


def test_names() -> None:
    rows, _ = theano.scan(lambda a, h: h + a, sequences=x, outputs_info=s)
    assert str(rows.owner.op) == "for{cpu,scan_fn}"
    named, _ = theano.scan(lambda a, h: h + a, sequences=x, outputs_info=s, name="myscan")
    assert str(named.owner.op) == "for{cpu,myscan}"
    f = compiled([x, s], named)
    assert any(str(node.op) == "for{cpu,myscan}" for node in f.maker.fgraph.toposort())


def test_results() -> None:
    one, updates = theano.scan(lambda a: [a], sequences=x)
    assert isinstance(one, theano.Variable)
    assert isinstance(updates, theano.OrderedUpdates)
    assert isinstance(updates, dict)
    listed, _ = theano.scan(lambda a: a, sequences=x, return_list=True)
    assert isinstance(listed, list)
    two, _ = theano.scan(lambda a: (a, a), sequences=x)
    assert isinstance(two, list)
    assert one.broadcastable == (False,)


@pytest.mark.parametrize("form", ["variable", "list", "tuple", "none", "array", "number"])
def test_forms_of_non_sequences(form: str) -> None:
    given: Any = {
        "variable": w, "list": [w], "tuple": (w,), "none": None, "array": np.array(2.0),
        "number": 2.0,
    }[form]  # fmt: skip

    def step(a: Any, *rest: Any) -> Any:
        return a * (rest[0] if rest else w)

    rows, _ = theano.scan(step, sequences=x, non_sequences=given)
    np.testing.assert_allclose(compiled([x, w], rows)(X, 2.0), X * 2)


@pytest.mark.parametrize(
    "returned",
    [
        lambda a, c: ([a], {c: c + 1}),
        lambda a, c: (a, [(c, c + 1)]),
        lambda a, c: ([a], [(c, c + 1)], until(T.gt(a, 1e9))),
        lambda a, c: (a, {c: c + 1}, until(T.gt(a, 1e9))),
        lambda a, c: ((a,), {c: c + 1}),
    ],
    ids=["list-dict", "bare-pairs", "list-pairs-until", "bare-dict-until", "tuple-dict"],
)
def test_forms_of_what_a_step_returns(returned: Any) -> None:
    counter = theano.shared(np.float64(0))
    rows, updates = theano.scan(lambda a: returned(a, counter), sequences=x)
    f = theano.function([x], rows, updates=updates)
    np.testing.assert_array_equal(f(X), X)
    assert counter.get_value() == 4


def test_strict_with_everything_listed() -> None:
    weight = theano.shared(np.float64(2))
    rows, _ = theano.scan(lambda a, k: a * k, sequences=x, non_sequences=[weight], strict=True)
    np.testing.assert_array_equal(theano.function([x], rows)(X), X * 2)


# ----------------------------------------------------------------------------- passes


def test_invariants_are_computed_outside() -> None:
    rows, _ = theano.scan(lambda a, h: h * T.exp(w) + a * y.sum(), sequences=x, outputs_info=s)
    f = compiled([x, s, w, y], rows)
    outside = names(f.maker.fgraph.toposort())
    assert "exp" in outside
    assert "sum" in outside
    assert "exp" not in body(f)
    assert "sum" not in body(f)


def test_invariant_products_are_computed_outside() -> None:
    rows, _ = theano.scan(lambda h: T.tanh(h + T.dot(m, y)), outputs_info=x, n_steps=n)
    f = compiled([m, x, y, n], rows)
    assert not any(name.startswith(("dot", "gemv", "gemm")) for name in body(f))


def test_invariants_of_nested_loops_go_all_the_way_out() -> None:
    rows, _ = theano.scan(
        lambda row: theano.scan(lambda a: a * T.exp(w), sequences=row)[0], sequences=m
    )
    f = compiled([m, w], rows)
    assert "exp" in names(f.maker.fgraph.toposort())


def test_outer_expressions_are_captured_not_copied_into_the_body() -> None:
    outside = T.exp(y)
    rows, _ = theano.scan(lambda a: a * outside.sum(), sequences=x)
    assert "exp" in names(compiled([x, y], rows).maker.fgraph.toposort())


def test_draws_and_states_are_not_hoisted() -> None:
    rng = RandomStreams(seed=1)
    rows, updates = theano.scan(lambda: rng.uniform(size=(2,)) * T.exp(w), n_steps=3)
    f = theano.function([w], rows, updates=updates)
    assert len(np.unique(f(0.0))) == 6


def test_a_division_that_would_fail_is_not_run_without_steps() -> None:
    i, k = T.lscalars("i", "k")
    rows, _ = theano.scan(lambda h: h + i // k, outputs_info=np.int64(0), n_steps=n)
    f = compiled([i, k, n], rows)
    assert f(1, 1, 2).tolist() == [1, 2]
    assert f(1, 0, 0).tolist() == []


def test_the_last_row_is_all_that_is_kept() -> None:
    rows, _ = theano.scan(lambda row, h: T.tanh(h + row), sequences=m, outputs_info=x)
    assert loop(compiled([m, x], rows[-1])).keep == (1,)
    assert loop(compiled([m, x], rows)).keep == (None,)
    assert loop(compiled([m, x], [rows[-1], rows[-1].sum()])).keep == (1,)
    assert loop(compiled([m, x], [rows[-1], rows[0]])).keep == (None,)


def test_the_last_row_of_a_map_is_all_that_is_kept() -> None:
    rows, _ = theano.scan(lambda row: row * 2, sequences=m)
    f = compiled([m], rows[-1])
    np.testing.assert_array_equal(f(np.ones((3, 2))), [2.0, 2.0])


def test_rows_of_taps_are_all_that_is_kept() -> None:
    rows, _ = theano.scan(
        lambda p, q: p + q, outputs_info=dict(initial=m, taps=[-3, -1]), n_steps=n
    )
    assert loop(compiled([m, n], rows[-2:])).keep == (2,)
    start = np.arange(6.0).reshape(3, 2)
    history = list(start)
    for _ in range(5):
        history.append(history[-3] + history[-1])
    for count in (2, 3):
        f = compiled([m, n], rows[-count:])
        for steps in range(6):
            wanted = np.reshape(history[3 : 3 + steps][-count:], (-1, 2))
            np.testing.assert_array_equal(f(start, steps), wanted)


def test_an_unused_update_is_not_computed() -> None:
    counter = theano.shared(np.float64(0))
    rows, _ = theano.scan(
        lambda a, h: (a * h, {counter: T.exp(counter)}), sequences=x, outputs_info=s
    )
    assert "exp" not in body(theano.function([x, s], rows))


def test_pruned_and_unpruned_agree_on_zero_width_taps() -> None:
    """The deepest tap is not read any more, but its rows are still there."""
    rows, _ = theano.scan(
        lambda p, q: q + 0 * p, outputs_info=dict(initial=x, taps=[-3, -1]), n_steps=n
    )
    f = compiled([x, n], rows)
    np.testing.assert_array_equal(f(X[:3], 2), [X[2], X[2]])


# ----------------------------------------------------------------------------- memory


MEMORY = """
import gc, json
import numpy as np
import ltensor as theano, ltensor.tensor as T
x, n = T.dvector("x"), T.iscalar("n")
rows, _ = theano.scan(lambda h: T.tanh(h * 0.999 + 0.001), outputs_info=x, n_steps=n)
{what}
f = theano.function([x, n], result)
start = np.zeros(1000)
f(start, 10)
gc.collect()


def status(word):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if word in line)


with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts again from here
before = status("VmRSS")
f(start, {steps})
print(json.dumps(status("VmHWM") - before))
"""


linux = pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="cannot measure the peak of one call"
)


def growth(what: str, steps: int) -> int:
    """Growth of the peak memory of one call, in kilobytes."""
    code = MEMORY.format(what=what, steps=steps)
    here = Path(theano.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=120, cwd=here, check=True,
        # the code that threads share is compiled by the first long call
        env={**os.environ, "LTENSOR_NUM_THREADS": "1"},
    )  # fmt: skip
    return int(json.loads(run.stdout))


@linux
def test_the_last_row_of_a_long_loop_needs_no_memory() -> None:
    assert growth("result = rows[-1]", 100_000) < 1000


@linux
def test_all_rows_need_their_memory() -> None:
    # what the test above would see if rows were kept
    assert growth("result = rows.sum() + rows[0].sum()", 2_000) > 15_000


# ----------------------------------------------------------------------------- storing


def test_pickled_functions_with_loops() -> None:
    counter = theano.shared(np.float64(1), name="counter")
    rows, updates = theano.scan(
        lambda a, h: (T.tanh(h * counter + a), {counter: counter + 1}),
        sequences=x,
        outputs_info=s,
    )
    f = theano.function([x, s], [rows, theano.grad(rows.sum(), x)], updates=updates)
    again = pickle.loads(pickle.dumps(f))
    for a, b in zip(f(X, 0.1), again(X, 0.1), strict=True):
        np.testing.assert_array_equal(a, b)


def test_pickled_variables_with_loops() -> None:
    rows, _ = theano.scan(lambda a, h: (h + a, until(h > 1)), sequences=x, outputs_info=s)
    a, b, c = pickle.loads(pickle.dumps((x, s, rows)))
    np.testing.assert_array_equal(
        theano.function([a, b], c)(np.ones(9), 0.0), compiled([x, s], rows)(np.ones(9), 0.0)
    )


def test_cloned_loops() -> None:
    rows, _ = theano.scan(lambda a, h: h * w + a, sequences=x, outputs_info=s)
    other = theano.clone(rows, replace={w: w * 2})
    np.testing.assert_allclose(
        compiled([x, s, w], other)(X, 0.1, 1.0), compiled([x, s, w], rows)(X, 0.1, 2.0)
    )


def test_givens_reach_into_loops() -> None:
    rows, _ = theano.scan(lambda a, h: h * w + a, sequences=x, outputs_info=s)
    f = theano.function([y, s], rows, givens={x: y * 2, w: T.constant(np.float64(0.5))})
    np.testing.assert_allclose(f(X, 0.1), compiled([x, s, w], rows)(X * 2, 0.1, 0.5))


def test_loops_that_a_gradient_asks_for_are_merged() -> None:
    """The forward loop keeps what the backward one needs, and is run once."""
    rows, _ = theano.scan(lambda row, h: T.tanh(T.dot(m, h) + row), sequences=m, outputs_info=x)
    cost = (rows**2).sum()
    f = compiled([m, x], [cost, *theano.grad(cost, [m, x])])
    assert len(scans(f)) == 2


def test_loops_with_different_bodies_are_not_merged() -> None:
    one, _ = theano.scan(lambda a, h: h + a, sequences=x, outputs_info=s)
    two, _ = theano.scan(lambda a, h: h * a, sequences=x, outputs_info=s)
    got = compiled([x, s], [one, two])(X, 1.0)
    np.testing.assert_allclose(got[0], 1 + np.cumsum(X))
    np.testing.assert_allclose(got[1], np.cumprod(X))


def test_loops_over_different_lengths_stay_apart() -> None:
    one, _ = theano.scan(lambda a: a * 2, sequences=x)
    two, _ = theano.scan(lambda a: a * 2, sequences=y)
    got = compiled([x, y], [one, two])(X, X[:2])
    assert [len(v) for v in got] == [4, 2]
