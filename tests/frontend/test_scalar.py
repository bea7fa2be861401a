"""``theano.scalar``: types, functions, and functions of one's own."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor import scalar
from ltensor.errors import UnsupportedError


class Cube(scalar.UnaryScalarOp):
    """A function of one's own."""

    def impl(self, x: Any) -> Any:
        return x**3

    def grad(self, inputs: Any, gout: Any) -> Any:
        return [gout[0] * 3 * inputs[0] ** 2]


class Hypotenuse(scalar.BinaryScalarOp):
    def impl(self, x: Any, y: Any) -> Any:
        return math.hypot(x, y)

    def grad(self, inputs: Any, gout: Any) -> Any:
        r = hypotenuse(*inputs)
        return [gout[0] * x / r for x in inputs]


cube = T.Elemwise(Cube(scalar.upgrade_to_float, name="cube"))
hypotenuse = T.Elemwise(Hypotenuse(scalar.upgrade_to_float), name="hypotenuse")


def test_types() -> None:
    assert scalar.float32 == T.fscalar
    assert scalar.Scalar("int8") is scalar.int8
    assert scalar.upcast("float32", "int32") == "float64"
    assert len(scalar.all_types) == 14
    assert scalar.upgrade_to_float(scalar.int8) == [scalar.float32]
    assert scalar.as_scalar(3).ndim == 0
    with pytest.raises(TypeError):
        scalar.as_scalar([1, 2])


def test_functions_are_those_of_tensors() -> None:
    assert scalar.add is T.add
    x = T.dvector("x")
    assert isinstance((x + 1).owner.op.scalar_op, scalar.Add)
    assert not isinstance((x * 2).owner.op.scalar_op, scalar.Add)
    assert isinstance(T.cast(x, "int8").owner.op, scalar.Cast)
    assert isinstance((x + 1).owner.op, T.Elemwise)
    assert not isinstance(x.sum().owner.op, T.Elemwise)
    assert T.Elemwise(scalar.tanh) is T.tanh
    with pytest.raises(AttributeError):
        scalar.no_such_thing  # noqa: B018


def test_own_function() -> None:
    x = T.dvector("x")
    assert str(cube(x)) == "Elemwise{cube,no_inplace}.0"
    assert cube(T.bvector()).dtype == "float32"
    f = ltensor.function([x], [cube(x), T.grad(cube(x).sum(), x)])
    value, gradient = f([1.0, 2.0])
    assert value.tolist() == [1, 8]
    assert gradient.tolist() == [3, 12]


def test_own_function_of_two() -> None:
    x, y = T.dmatrix("x"), T.drow("y")
    z = hypotenuse(x, y)
    f = ltensor.function([x, y], [z, T.grad(z.sum(), y)])
    value, gradient = f([[3.0], [6.0]] * np.ones(2), [[4.0, 8.0]])
    np.testing.assert_allclose(value, [[5, np.hypot(3, 8)], [np.hypot(6, 4), 10]])
    assert gradient.shape == (1, 2)


def test_own_function_without_a_gradient() -> None:
    class Plain(scalar.UnaryScalarOp):
        def impl(self, x: Any) -> Any:
            return -x

    x = T.dscalar("x")
    z = Plain()(x)
    assert ltensor.function([x], z)(2.0) == -2
    with pytest.raises(NotImplementedError):
        T.grad(z, x)


def test_own_function_in_c_alone() -> None:
    class Round(scalar.UnaryScalarOp):
        def c_code(self, node: Any, name: str, x: Any, z: Any, sub: Any) -> str:
            return f"{z[0]} = round({x[0]});"

    z = Round(scalar.same_out)(T.dscalar("x"))
    with pytest.raises(UnsupportedError, match=r"Round, .* without impl .* define impl\(self, x\)"):
        z.eval({z.owner.inputs[0]: 1.5})


def test_equality_and_pickling() -> None:
    assert cube == T.Elemwise(Cube(scalar.upgrade_to_float, name="cube"))
    assert cube != hypotenuse
    assert pickle.loads(pickle.dumps(cube)) == cube
    with pytest.raises(TypeError):
        T.Elemwise("tanh")


def test_classes_of_known_functions_make_them() -> None:
    """As ``Elemwise(GammaLn(upgrade_to_float, name="gammaln"))`` in programs."""
    for name in ("GammaLn", "Psi", "Abs", "Identity", "Add", "Tanh"):
        kind = getattr(scalar, name)
        assert isinstance(kind(scalar.upgrade_to_float, name="mine"), kind)
    x = T.dvector("x")
    gammaln = T.Elemwise(scalar.GammaLn(scalar.upgrade_to_float, name="g"), name="gammaln")
    np.testing.assert_allclose(gammaln(x).eval({x: [1.0, 5.0]}), [0, np.log(24)], atol=1e-15)


def test_every_known_function_has_its_class() -> None:
    x, n = T.dvector("x"), T.ivector("n")
    for y, kind in [
        (T.nnet.sigmoid(x), "ScalarSigmoid"),
        (T.nnet.softplus(x), "ScalarSoftplus"),
        (T.cos(x), "Cos"),
        (T.arctan2(x, x), "ArcTan2"),
        (n & n, "AND"),
        (T.isnan(x), "IsNan"),
        (T.erfc(x), "Erfc"),
        (T.round(x), "RoundHalfToEven"),
    ]:
        assert isinstance(y.owner.op.scalar_op, getattr(scalar, kind)), kind
    for name in scalar._CLASSES:
        kind = getattr(scalar, name)
        assert isinstance(kind(), kind), name


def test_classes_of_variables() -> None:
    assert isinstance(T.dscalar(), scalar.ScalarVariable)
    assert not isinstance(T.dvector(), scalar.ScalarVariable)
    assert isinstance(T.constant(1), scalar.ScalarConstant)
    assert not isinstance(T.dscalar(), scalar.ScalarConstant)
    assert not isinstance(1, scalar.ScalarVariable)


# ------------------------------------------------------------------------- classes of one's own


class Blocked(T.Elemwise):
    """Lets no gradient through."""

    def connection_pattern(self, node: Any) -> Any:
        return [[False]]

    def grad(self, inputs: Any, gout: Any) -> Any:
        return [ltensor.gradient.DisconnectedType()()]


class Steep(T.Elemwise):
    """An exponential whose gradient is a number."""

    def __init__(self, slope: float) -> None:
        super().__init__(scalar.exp)
        self.slope = slope

    def grad(self, inputs: Any, gout: Any) -> Any:
        return [gout[0] * self.slope]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.slope == other.slope  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), self.slope))


class Tripled(T.Elemwise):
    """Another function."""

    def perform(self, node: Any, inputs: Any, output_storage: Any) -> None:
        output_storage[0][0] = inputs[0] * 3.0


def test_gradients_that_subclasses_of_elemwise_define() -> None:
    x, values = T.dvector("x"), np.array([0.1, 0.5])
    blocked = Blocked(scalar.identity)
    f = ltensor.function([x], T.grad((x * blocked(T.exp(x))).sum(), x))
    np.testing.assert_allclose(f(values), np.exp(values))
    with pytest.raises(ltensor.gradient.DisconnectedInputError):
        T.grad(blocked(x).sum(), x)
    cost = (Steep(5.0)(x) + Steep(7.0)(x) + T.exp(x)).sum()
    f = ltensor.function([x], [cost, T.grad(cost, x)])
    np.testing.assert_allclose(f(values)[0], 3 * np.exp(values).sum())
    np.testing.assert_allclose(f(values)[1], 12 + np.exp(values))
    steep = type("SteepCube", (T.Elemwise,), {"grad": lambda self, inputs, gout: [gout[0] * 9]})
    y = steep(Cube(scalar.upgrade_to_float, name="cube"))(x)
    np.testing.assert_allclose(T.grad(y.sum(), x).eval({x: values}), 9)
    np.testing.assert_allclose(y.eval({x: values}), values**3)


def test_what_subclasses_of_elemwise_are() -> None:
    x = T.dvector("x")
    tripled, blocked = Tripled(scalar.identity), Blocked(scalar.identity)
    np.testing.assert_array_equal(tripled(x).eval({x: [1.0, 2.0]}), [3.0, 6.0])
    np.testing.assert_array_equal(T.grad(blocked(x)[0] * x[1], x).eval({x: [3.0, 2.0]}), [0, 3])
    assert isinstance(blocked, T.Elemwise)
    assert isinstance(blocked, Blocked)
    assert not isinstance(T.exp, Blocked)
    assert not isinstance(tripled, Blocked)
    assert issubclass(Blocked, T.Elemwise)
    assert T.Elemwise(scalar.exp) is T.exp
    assert blocked == Blocked(scalar.identity) == pickle.loads(pickle.dumps(blocked))
    assert blocked != T.tensor_copy
    assert T.tensor_copy != blocked
    assert blocked.scalar_op == scalar.identity

    class Mine(scalar.Exp):
        pass

    with pytest.raises(UnsupportedError, match="derive from UnaryScalarOp"):
        Mine(scalar.upgrade_to_float)


def test_operands_of_one_rank() -> None:
    """`get_output_info`, which programs that make nodes of their own call."""
    row, cube_, number = T.row(), T.TensorType("float32", (False, True, False))(), T.lscalar()
    made: list[tuple[Any, ...]] = []

    def pad(pattern: Any, order: Any) -> Any:
        made.append((tuple(pattern), tuple(order)))
        return T.DimShuffle(pattern, order)

    dtypes, patterns, operands = T.add.get_output_info(pad, row, cube_, number)
    assert dtypes == ["float64"]
    assert patterns == [(False, True, False)]
    assert [x.ndim for x in operands] == [3, 3, 3]
    assert operands[1] is cube_
    assert made == [((True, False), ("x", 0, 1)), ((), ("x", "x", "x"))]


def test_a_class_of_variables_of_ones_own() -> None:
    class Signal(T.TensorVariable):
        rate = 8000

    class Marked(T.Elemwise):
        def make_node(self, *inputs: Any) -> Any:
            inputs = tuple(T.as_tensor_variable(x) for x in inputs)
            dtypes, patterns, operands = self.get_output_info(T.DimShuffle, *inputs)
            kinds = zip(dtypes, patterns, strict=True)
            return ltensor.Apply(self, operands, [Signal(T.TensorType(*kind)) for kind in kinds])

    x = T.dvector()
    signal = Marked(scalar.identity, name="marked")(2 * x)
    assert signal.rate == 8000
    function = ltensor.function([x], [signal, T.grad((signal**2).sum(), x)])
    for found, wanted in zip(function([1.0, 3.0]), ([2, 6], [8, 24]), strict=True):
        np.testing.assert_array_equal(found, wanted)
