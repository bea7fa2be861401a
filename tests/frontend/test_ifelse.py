"""``ifelse``: only the side that is chosen runs."""

from __future__ import annotations

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor import Apply, Op, function, grad
from ltensor.ifelse import IfElse, ifelse
from ltensor.ops.ifelse import Branches


class Spy(Op):
    """Its operand; notes that it ran."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def make_node(self, x):
        return Apply(self, [x], [x.type()])

    def perform(self, node, inputs, output_storage):
        self.log.append(self.name)
        output_storage[0][0] = inputs[0] * 1

    def grad(self, inputs, output_grads):
        return output_grads


@pytest.mark.parametrize("mode", ["FAST_RUN", "FAST_COMPILE"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
def test_lazy(mode, shape):
    log = []
    x = T.TensorType("float64", (False,) * len(shape))("x")
    c = T.dscalar("c")
    y = ifelse(T.lt(c, 0), Spy("then", log)(x * 2), Spy("else", log)(x + 10))
    f = function([c, x], [y, y + 1], mode=mode)
    values = np.ones(shape)
    assert np.allclose(f(-1.0, values), [values * 2, values * 2 + 1])
    assert log == ["then"]
    assert np.allclose(f(1.0, values), [values + 10, values + 11])
    assert log == ["then", "else"]


def test_shared_work_runs_once_and_outside():
    log = []
    x, c = T.dvector("x"), T.bscalar("c")
    common = Spy("common", log)(x)
    f = function([c, x], ifelse(c, common + 1, common * 5))
    assert np.allclose(f(1, np.ones(2)), 2)
    assert np.allclose(f(0, np.ones(2)), 5)
    assert log == ["common"] * 2


def test_sizes_that_differ():
    c, a, b = T.bscalar("c"), T.dmatrix("a"), T.dmatrix("b")
    y = ifelse(c, a * 2, b)
    f = function([c, a, b], [y, y.sum(axis=0), y.shape, y.T])
    for flag, expected in ((1, np.full((2, 3), 2.0)), (0, np.ones((4, 1)))):
        value, total, sizes, turned = f(flag, np.ones((2, 3)), np.ones((4, 1)))
        assert np.array_equal(value, expected)
        assert np.array_equal(total, expected.sum(axis=0))
        assert tuple(sizes) == expected.shape
        assert np.array_equal(turned, expected.T)


def test_several_values_keep_their_form():
    c, x = T.bscalar("c"), T.dvector("x")
    pair = ifelse(c, (x, x[0]), (x * 3, x[1]))
    assert isinstance(pair, tuple)
    assert isinstance(ifelse(c, [x], [x]), list)
    f = function([c, x], list(pair))
    assert [np.asarray(v).tolist() for v in f(1, [1.0, 2.0])] == [[1.0, 2.0], 1.0]
    assert [np.asarray(v).tolist() for v in f(0, [1.0, 2.0])] == [[3.0, 6.0], 2.0]


def test_nested():
    log = []
    c, x = T.dscalar("c"), T.dvector("x")
    inner = ifelse(T.gt(c, 10), Spy("big", log)(x), Spy("middle", log)(x * 2))
    f = function([c, x], ifelse(T.gt(c, 0), inner, Spy("negative", log)(-x)))
    for value, factor, name in ((20.0, 1, "big"), (5.0, 2, "middle"), (-1.0, -1, "negative")):
        log.clear()
        assert np.allclose(f(value, np.ones(3)), factor)
        assert log == [name]


def test_joined_choices_share_their_work():
    log = []
    c, x = T.bscalar("c"), T.dvector("x")
    work = Spy("work", log)(x)
    f = function([c, x], [ifelse(c, work, x), ifelse(c, work.sum(), x[0])])
    f(0, np.ones(2))
    assert log == []
    f(1, np.ones(2))
    assert log == ["work"]
    choices = [n for n in f.maker.fgraph.toposort() if isinstance(n.op, (IfElse, Branches))]
    assert len(choices) == 1


def test_gradient():
    c, x, y = T.bscalar("c"), T.dmatrix("x"), T.dmatrix("y")
    cost = (ifelse(c, T.dot(x, y), x * y) ** 2).sum()
    f = function([c, x, y], grad(cost, [x, y]))
    a, b = np.arange(4.0).reshape(2, 2), np.arange(4.0).reshape(2, 2) + 2
    g = 2 * a @ b
    assert np.allclose(f(1, a, b), [g @ b.T, a.T @ g])
    assert np.allclose(f(0, a, b), [2 * a * b**2, 2 * a**2 * b])


def test_shared_variables_and_updates():
    c = T.bscalar("c")
    first, second = ltensor.shared(np.ones(3)), ltensor.shared(np.zeros(3))
    f = function([c], [], updates=[
        (first, ifelse(c, second, first)), (second, ifelse(c, first, second + 1)),
    ])  # fmt: skip
    f(0)
    assert (first.get_value()[0], second.get_value()[0]) == (1, 1)
    f(0)
    f(1)
    assert (first.get_value()[0], second.get_value()[0]) == (2, 1)


def test_inside_a_loop():
    x = T.dvector("x")
    rows, _ = ltensor.scan(
        lambda v, h: ifelse(T.gt(v, 0), h + v, h * 2),
        sequences=[x],
        outputs_info=[T.constant(1.0, dtype="float64")],
    )
    assert function([x], rows)(np.array([1.0, -1.0, 3.0])).tolist() == [2.0, 4.0, 7.0]
    g = function([x], grad(rows[-1], x))
    assert g(np.array([1.0, -1.0, 3.0])).tolist() == [2.0, 0.0, 1.0]


def test_errors_when_building():
    c, x, m = T.bscalar("c"), T.dvector("x"), T.dmatrix("m")
    with pytest.raises(TypeError, match="identical types"):
        ifelse(c, x, m)
    with pytest.raises(ValueError, match="same number"):
        ifelse(c, [x, x], [x])
    with pytest.raises(TypeError, match="scalar"):
        ifelse(x, x, x)


def test_error_of_the_other_side_does_not_happen():
    c, x = T.bscalar("c"), T.dvector("x")
    f = function([c, x], ifelse(c, T.dot(x, x[1:]), x.sum()))
    assert f(0, np.ones(3)) == 3
    with pytest.raises(ValueError, match="Shape mismatch"):
        f(1, np.ones(3))


def test_branches_whose_known_sizes_differ() -> None:
    i, m = T.lscalar("i"), T.dmatrix("m")
    chosen = ifelse(i, T.exp(T.zeros((3, 4))), T.exp(m))
    f = function([i, m], [chosen, chosen.shape, chosen.sum(axis=0)])
    for flag, shape in ((0, (5, 2)), (1, (3, 4))):
        value, sizes, total = f(flag, np.zeros((5, 2)))
        assert value.shape == tuple(sizes) == shape
        assert total.shape == shape[1:]
        assert (value == 1).all()
        assert (total == shape[0]).all()
