"""User ops: ``perform`` called back from native code."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor import Apply, Op, function, grad
from ltensor.compile_ops import as_op
from ltensor.errors import UnsupportedError


class Double(Op):
    """Twice its operand."""

    __props__ = ()

    def make_node(self, x):
        x = T.as_tensor_variable(x)
        return Apply(self, [x], [x.type()])

    def perform(self, node, inputs, output_storage):
        output_storage[0][0] = np.asarray(inputs[0] * 2, dtype=inputs[0].dtype)

    def grad(self, inputs, output_grads):
        return [output_grads[0] * 2]


class WithShape(Double):
    def infer_shape(self, node, shapes):
        return shapes


class Custom(Op):
    """An op of a function of its input arrays."""

    def __init__(self, function, *types):
        self.function, self.types = function, types

    def make_node(self, *inputs):
        inputs = [T.as_tensor_variable(x) for x in inputs]
        return Apply(self, inputs, [t() for t in self.types])

    def perform(self, node, inputs, output_storage):
        results = self.function(*inputs)
        for cell, value in zip(output_storage, results, strict=True):
            cell[0] = value


@pytest.mark.parametrize("op", [Double(), WithShape()])
@pytest.mark.parametrize("shape", [(), (3,), (2, 5), (0, 4), (200, 300)])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int8", "complex128", "bool"])
def test_values(op, shape, dtype):
    x = T.TensorType(dtype, (False,) * len(shape))("x")
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    f = function([x], [op(x), op(op(x))])
    for got, factor in zip(f(values), (2, 4), strict=True):
        assert got.dtype == dtype
        assert np.array_equal(got, (values * factor).astype(dtype))


def test_fused_with_native_code():
    x = T.dmatrix("x")
    y = (Double()(x + 1) * 3).sum(axis=0) + Double()(x.T).T[0]
    values = np.arange(6.0).reshape(2, 3)
    expected = ((values + 1) * 6).sum(axis=0) + values[0] * 2
    assert np.allclose(function([x], y)(values), expected)


@pytest.mark.parametrize("op", [Double(), WithShape()])
def test_gradient(op):
    x = T.dvector("x")
    f = function([x], grad((op(x) ** 2).sum(), x))
    assert np.allclose(f(np.arange(3.0)), 8 * np.arange(3.0))


def test_exception_is_the_users_own():
    error = KeyError("mine", 3)

    def fail(x):
        raise error

    f = function([x := T.dvector("x")], Custom(fail, T.dvector)(x) + 1)
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            f(np.ones(3))
        assert caught.value is error
    assert np.allclose(function([x], x + 1)(np.ones(3)), 2)


def test_keyboard_interrupt_passes_through():
    def stop(x):
        raise KeyboardInterrupt

    x = T.dscalar("x")
    with pytest.raises(KeyboardInterrupt):
        function([x], Custom(stop, T.dscalar)(x))(1.0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones(3, "complex128"), "complex128"),
        (np.ones((3, 3)), "Wrong number of dimensions"),
        ("text", "cannot store|could not|Cannot"),
    ],
)
def test_wrong_result(value, message):
    x = T.dvector("x")
    f = function([x], Custom(lambda a: [value], T.dvector)(x))
    with pytest.raises((TypeError, ValueError), match=message):
        f(np.ones(3))


def test_unset_result():
    x = T.dvector("x")
    with pytest.raises(ValueError, match="unset"):
        function([x], Custom(lambda a: [None], T.dvector)(x))(np.ones(3))


def test_results_are_converted_without_loss():
    x = T.dscalar("x")
    results = function([x], [
        Custom(lambda a: [3], T.dscalar)(x),
        Custom(lambda a: [np.float32(0.5)], T.dscalar)(x),
        Custom(lambda a: [[1, 2]], T.dvector)(x),
        Custom(lambda a: [np.arange(6.0)[::2]], T.dvector)(x),
    ])(1.0)  # fmt: skip
    assert [r.tolist() for r in results] == [3.0, 0.5, [1.0, 2.0], [0.0, 2.0, 4.0]]


def test_a_result_of_which_the_whole_is_replaced():
    x, y = T.dvectors("xy")
    z = Double()(x)
    results = function([x, y], [T.inc_subtensor(z[:], y), T.set_subtensor(z[:], y)])([1.0], [5.0])
    assert [r.tolist() for r in results] == [[7.0], [5.0]]


def test_infer_shape_that_lies():
    class Lies(Custom):
        def infer_shape(self, node, shapes):
            return shapes

    x = T.dvector("x")
    f = function([x], Lies(lambda a: [np.ones(1000)], T.dvector)(x) + x)
    with pytest.raises(ValueError, match="infer_shape"):
        f(np.ones(3))


def test_several_outputs_of_several_kinds():
    x, n = T.fmatrix("x"), T.lscalar("n")
    op = Custom(lambda a, k: [a.sum(axis=0), k * 2, np.arange(k)], T.fvector, T.lscalar, T.lvector)
    f = function([x, n], op(x, n))
    a, b, c = f(np.ones((3, 2), "float32"), 4)
    assert a.tolist() == [3, 3]
    assert b == 8
    assert c.tolist() == [0, 1, 2, 3]


def test_operands_may_be_kept_and_changed():
    kept = []

    def keep(a):
        kept.append(a)
        a += 1
        return [a]

    x = T.dvector("x")
    f = function([x], [x * 1, Custom(keep, T.dvector)(x * 1)])
    values = np.arange(3.0)
    for _ in range(50):
        same, more = f(values)
        assert np.array_equal(same, [0, 1, 2])
        assert np.array_equal(more, [1, 2, 3])
    assert all(np.array_equal(k, [1, 2, 3]) for k in kept)


def test_large_results_are_not_held():
    made = []

    class Held(np.ndarray):
        pass

    def make(a):
        result = np.ones(10**5).view(Held)
        made.append(weakref.ref(result))
        return [result]

    x = T.dscalar("x")
    function([x], Custom(make, T.dvector)(x).sum())(1.0)
    gc.collect()
    assert made[0]() is None


def test_nested_calls_and_threads():
    x = T.dvector("x")
    inner = function([x], x * 2)

    def call(a):
        if a[0] < 0:
            raise ValueError(a[0])
        return [inner(a)]

    outer = function([x], Custom(call, T.dvector)(x) + 1)
    wrong = []

    def work(number):
        for _ in range(100):
            if not np.array_equal(outer(np.full(50, number)), np.full(50, 2 * number + 1)):
                wrong.append(number)
            try:
                outer(np.full(5, -number - 1))
                wrong.append("no error")
            except ValueError as error:
                if error.args[0] != -number - 1:
                    wrong.append(error)

    threads = [threading.Thread(target=work, args=(float(k),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_in_a_loop():
    calls = []

    def step(a):
        calls.append(float(a[0]))
        return [a + 1]

    x = T.dvector("x")
    op = Custom(step, T.dvector)
    rows, _ = ltensor.scan(lambda h: op(h) * 2, outputs_info=[x], n_steps=4)
    assert np.allclose(function([x], rows)(np.zeros(2))[:, 0], [2, 6, 14, 30])
    assert calls == [0, 2, 6, 14]


def test_exception_in_a_loop():
    def step(a):
        if a > 2:
            raise StopAsyncIteration("enough")
        return [a + 1]

    x = T.dscalar("x")
    rows, _ = ltensor.scan(lambda h: Custom(step, T.dscalar)(h), outputs_info=[x], n_steps=9)
    f = function([x], rows)
    for _ in range(2):
        with pytest.raises(StopAsyncIteration, match="enough"):
            f(0.0)


def test_as_op():
    @as_op(itypes=[T.dmatrix, T.dvector], otypes=[T.dvector])
    def product(a, b):
        return a @ b

    m, v = T.dmatrix("m"), T.dvector("v")
    assert str(product) == "FromFunctionOp{product}"
    assert np.allclose(function([m, v], product(m, v))(np.ones((2, 3)), np.ones(3)), [3, 3])
    with pytest.raises((TypeError, ValueError)):
        product(m, m)
    with pytest.raises(TypeError):
        as_op(itypes=["x"], otypes=[T.dvector])


def test_as_op_with_shape():
    @as_op(itypes=[T.dvector], otypes=[T.dvector], infer_shape=lambda node, shapes: shapes)
    def same(a):
        return a * 3

    v = T.dvector("v")
    f = function([v], [same(v).shape, same(v) + v])
    shape, value = f(np.ones(4))
    assert shape.tolist() == [4]
    assert value.tolist() == [4, 4, 4, 4]


def test_without_perform():
    class Empty(Op):
        def make_node(self, x):
            return Apply(self, [x], [x.type()])

    x = T.dvector("x")
    with pytest.raises(UnsupportedError, match="perform"):
        function([x], Empty()(x))


def test_call_of_the_base_class() -> None:
    """Programs prepare the operands in ``__call__`` and go on with the class above Op."""

    class Prepared(Double):
        def __call__(self, x, **kwargs):
            assert self._get_test_value(T.constant(3.0)) == 3.0
            return super(Op, self).__call__(T.as_tensor_variable(x) + 1, **kwargs)

    x = T.dvector()
    np.testing.assert_array_equal(function([x], Prepared()(x))([1.0, 2.0]), [4.0, 6.0])
