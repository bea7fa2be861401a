"""`graph_tools`, `compile_ops` and `OpFromGraph`."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor import OpFromGraph, function, grad
from ltensor.compile_ops import Rebroadcast, ViewOp, deep_copy_op, specify_shape, view_op
from ltensor.errors import MissingInputError
from ltensor.gradient import Rop
from ltensor.graph_tools import (
    FunctionGraph,
    ancestors,
    clone,
    clone_get_equiv,
    equal_computations,
    inputs,
    io_toposort,
    is_same_graph,
    list_of_nodes,
    ops,
    stack_search,
    variables,
    view_roots,
)
from ltensor.tensor.constant_values import shape_of_variables


def test_walking():
    x, y = T.dscalars("x", "y")
    a = x + y
    b = a * x
    assert set(inputs([b])) == {x, y}
    assert ancestors([b])[0] is b
    assert set(ancestors([b])) == {a, b, x, y}
    assert io_toposort([x, y], [b]) == [a.owner, b.owner]
    assert list_of_nodes([a, x], [b]) == [b.owner]
    assert ops([x, y], [b]) == {a.owner, b.owner}
    assert variables([x, y], [b]) == {a, b, x, y}
    assert stack_search([0], lambda k: [2 * k + 1, 2 * k + 2] if k < 3 else []) == list(range(7))
    assert view_roots(b) == [b]


def test_parents_of_variables_and_nodes():
    x = T.dvector("x")
    y = x + 1
    assert y.get_parents() == [y.owner]
    assert y.owner.get_parents() == y.owner.inputs
    assert x.get_parents() == []


def test_orderings():
    x = T.dscalar("x")
    a, b = x + 1, x * 2
    c = a + b
    nodes = io_toposort([x], [c], {a.owner: [b.owner]})
    assert nodes.index(b.owner) < nodes.index(a.owner)
    with pytest.raises(ValueError, match="cycle"):
        io_toposort([x], [c], {a.owner: [c.owner]})


def test_clone_with_replacements():
    x, y = T.dvectors("x", "y")
    z = (x * 2).sum()
    other = clone(z, replace={x: y + 1})
    assert inputs([other])[0] is not x
    assert function([y], other)(np.ones(3)) == 12
    assert function([x], clone([z], [(x, x)])[0])(np.ones(3)) == 6
    assert clone(z) is not z
    apart = clone(z, share_inputs=False)
    assert x not in ancestors([apart])
    with pytest.raises(TypeError):
        clone(z, replace={x: T.dmatrix("m")})
    as_int = clone(x + 1, replace={x: T.lvector("n")}, strict=False)
    assert as_int.dtype == "int64"


def test_clone_get_equiv():
    x = T.dscalar("x")
    y = x * 2
    table = clone_get_equiv([x], [y])
    assert table[x] is not x
    assert is_same_graph(clone(y, replace={x: table[x]}), table[y])
    assert clone_get_equiv([x], [y], copy_inputs=False)[x] is x


def test_comparing():
    x, y = T.dscalars("x", "y")
    assert is_same_graph(x + y * 2, x + y * 2)
    assert not is_same_graph(x + y * 2, y + x * 2)
    assert not is_same_graph(x + 1, x + 2)
    assert is_same_graph(x + 1, y + 1, givens={x: y})
    assert equal_computations([x * 2], [y * 2], [x], [y])
    assert not equal_computations([x * 2], [y * 2])


def test_function_graph():
    x, y = T.dscalars("x", "y")
    graph = FunctionGraph([x, y], [x + y], clone=False)
    assert [str(n.op) for n in graph.toposort()] == ["Elemwise{add,no_inplace}"]
    graph.replace(graph.outputs[0].owner.inputs[1], x)
    assert is_same_graph(graph.outputs[0], x + x)
    with pytest.raises(MissingInputError):
        FunctionGraph([x], [x + y])


def test_shapes_of_all_variables():
    """Sizes follow from those of the inputs, loops and sizes that the graph reads included."""
    a, b, n = T.matrix("a"), T.matrix("b"), T.iscalar("n")
    product = T.dot(a[2:].T, b)
    rows, _ = ltensor.scan(lambda row: row * product.shape[1], product)
    total = rows.sum()
    shapes = shape_of_variables(FunctionGraph([a, b], [total], clone=False), {a: (5, 4), b: (3, 7)})
    assert [shapes[v] for v in (a, b, product, rows, total)] == [(5, 4), (3, 7), (4, 7), (4, 7), ()]
    with pytest.raises(MissingInputError, match="depends on the value of n"):
        shape_of_variables(FunctionGraph([n], [T.arange(n)], clone=False), {n: ()})


def test_views_and_shapes():
    x = T.dmatrix("x")
    values = np.ones((2, 3))
    f = function([x], [view_op(x), deep_copy_op(x) + 1, Rebroadcast((0, False))(x)])
    assert [v.sum() for v in f(values)] == [6, 12, 6]
    y = specify_shape(x, (2, 3))
    assert function([x], y.sum())(values) == 6
    with pytest.raises(AssertionError, match=r"got shape \(3, 2\) expected \(2, 3\)"):
        function([x], y.sum())(values.T.copy())
    assert np.allclose(function([x], grad(y.sum(), x))(values), 1)


def test_gradient_of_a_view_redefined():
    class Reversed(ViewOp):
        __props__ = ()

        def grad(self, args, g_outs):
            return [-g for g in g_outs]

    x = T.dscalar("x")
    assert function([x], grad(Reversed()(x) * 3, x))(1.0) == -3


@pytest.mark.parametrize("inline", [False, True])
def test_op_from_graph(inline):
    x, y = T.dmatrices("x", "y")
    op = OpFromGraph([x, y], [x * y + 1, (x + y).sum()], inline=inline)
    a, b = op(x + 1, T.dot(x, y))
    plain_a, plain_b = (x + 1) * T.dot(x, y) + 1, (x + 1 + T.dot(x, y)).sum()
    v, w = np.arange(4.0).reshape(2, 2), np.arange(4.0).reshape(2, 2) + 3
    for got, expected in (
        ([a, b], [plain_a, plain_b]),
        (grad(a.sum() + b, [x, y]), grad(plain_a.sum() + plain_b, [x, y])),
        ([Rop(a, x, y)], [Rop(plain_a, x, y)]),
    ):
        for p, q in zip(
            function([x, y], got, on_unused_input="ignore")(v, w),
            function([x, y], expected, on_unused_input="ignore")(v, w),
            strict=True,
        ):
            assert np.allclose(p, q)


def test_op_from_graph_with_gradients_of_its_own():
    x, y = T.dvectors("x", "y")
    values = np.arange(3.0)
    whole = OpFromGraph([x], [x * 2], grad_overrides=lambda i, g: [g[0] * 100])
    assert np.allclose(function([x], grad(whole(x).sum(), x))(values), 100)
    lop = OpFromGraph([x], [x**2], lop_overrides=lambda i, o, g: [g[0] * o[0]])
    assert np.allclose(function([x], grad(lop(x).sum(), x))(values), values**2)
    listed = OpFromGraph([x, y], [x * y], grad_overrides=["default", lambda i, g: g[0] * 7])
    f = function([x, y], grad(listed(x, y).sum(), [x, y]))
    assert np.allclose(f(values, values + 1), [values + 1, np.full(3, 7.0)])
    bare = OpFromGraph([x], [x * 2], grad_overrides=lambda i, g: g[0])
    with pytest.raises(TypeError, match="should return a list"):
        grad(bare(x).sum(), x)
    with pytest.warns(UserWarning, match="grad_overrides=f"):
        bare.grad = lambda inputs, gout: [gout[0] * 3]


def test_op_from_graph_reads_shared_variables():
    w = ltensor.shared(3.0)
    x = T.dscalar("x")
    op = OpFromGraph([x], [x * w])
    f = function([x], op(x))
    assert f(2.0) == 6
    w.set_value(5.0)
    assert f(2.0) == 10
    assert function([x], grad(op(x), w))(2.0) == 2


def test_op_from_graph_in_a_loop():
    x = T.dscalar("x")
    op = OpFromGraph([x], [x * 2])
    rows, _ = ltensor.scan(lambda h: op(h), outputs_info=[x], n_steps=3)
    assert function([x], rows)(1.0).tolist() == [2, 4, 8]
    assert function([x], grad(rows[-1], x))(1.0) == 8


def test_nodes_types_and_values_of_functions():
    x, s = T.dscalar("x"), ltensor.shared(1.5, "s")
    node = (x + 1).owner
    again = node.clone()
    assert again.inputs == node.inputs
    assert again.outputs[0] is not node.outputs[0]
    f = function([ltensor.In(x, value=3.0)], x + s)
    f.value["x"] = 5.0
    assert (f.value[s], "x" in f.value, f()) == (1.5, True, 6.5)
    kind = T.TensorType("float32", (False, True), "mine", True)
    assert (kind.name, kind.sparse_grad, x.type.sparse_grad) == ("mine", True, False)
    assert kind == T.TensorType("float32", (False, True))
    same = pickle.loads(pickle.dumps(kind))
    assert (same.name, same.sparse_grad, same.broadcastable) == ("mine", True, (False, True))
    zeros = kind.value_zeros((2, 1))
    assert (zeros.dtype, zeros.shape) == ("float32", (2, 1))
    assert kind.may_share_memory(zeros, zeros[1:])
    assert not kind.may_share_memory(zeros, zeros.copy())
