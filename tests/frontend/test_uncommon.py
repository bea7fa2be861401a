"""Functions of ``theano.tensor`` that few programs use, and rare ways to use the common ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor import function


@pytest.fixture
def rng() -> np.random.RandomState:
    return np.random.RandomState(5)


@pytest.mark.parametrize(
    "options",
    [{}, {"rowvar": False}, {"bias": True}, {"ddof": 2}],
    ids=["", "cols", "bias", "ddof"],
)
def test_cov(rng: Any, options: dict[str, Any]) -> None:
    x, y = rng.standard_normal((2, 4, 5))
    a, b = T.dmatrices("a", "b")
    f = function([a, b], [T.cov(a, **options), T.cov(a, b, **options)])
    alone, both = f(x, y)
    np.testing.assert_allclose(alone, np.cov(x, **options))
    np.testing.assert_allclose(both, np.cov(x, y, **options))


def test_cov_of_a_vector(rng: Any) -> None:
    x = rng.standard_normal(6)
    v = T.dvector()
    assert T.cov(v).ndim == 0
    np.testing.assert_allclose(T.cov(v).eval({v: x}), np.cov(x))
    with pytest.raises(ValueError, match="vectors and matrices"):
        T.cov(T.dtensor3())
    with pytest.raises(NotImplementedError, match="weights"):
        T.cov(v, fweights=v)


def test_permutations(rng: Any) -> None:
    orders = np.stack([rng.permutation(5) for _ in range(3)])
    p, x = T.lmatrix("p"), T.dmatrix("x")
    values = rng.standard_normal((3, 5))
    undone = T.permute_row_elements(T.permute_row_elements(x, p), T.inverse_permutation(p))
    np.testing.assert_array_equal(undone.eval({x: values, p: orders}), values)
    with pytest.raises(IndexError, match="index 5 is out of bounds for size 5"):
        T.permute_row_elements(x, p).eval({x: values, p: orders * 5 // 4})


def test_ceil_intdiv() -> None:
    a, b = T.lscalars("a", "b")
    f = function([a, b], T.ceil_intdiv(a, b))
    assert [int(f(n, 3)) for n in (0, 1, 3, 7, 9)] == [0, 1, 1, 3, 3]


def test_scalars_are_tensors() -> None:
    x = T.dscalar("x")
    assert T.tensor_from_scalar(x) is x
    assert T.scalar_from_tensor(x) is x
    with pytest.raises(TypeError, match="without dimensions"):
        T.scalar_from_tensor(T.dvector())
    assert T.AllocEmpty("float32")(2, 3).eval().shape == (2, 3)


def test_join_as_an_operation() -> None:
    """Programs compare it with the operation that made a variable."""
    a, b = T.dmatrices("a", "b")
    x = np.arange(4.0).reshape(2, 2)
    f = function([a, b], [T.join_(0, a, b), T.join_(-1, a, b)])
    for axis, result in enumerate(f(x, -x)):
        np.testing.assert_array_equal(result, np.concatenate([x, -x], axis))
    whole = T.stacklists([[a, b], [b, a]])
    assert whole.owner.op == T.join_
    assert T.join_ == T.join(1, a, b).owner.op
    assert all(isinstance(op, T.Join) for op in (whole.owner.op, T.join_))
    assert (a + b).owner.op != T.join_
    with pytest.raises(ValueError, match="empty list"):
        T.join_(0)


def test_extract_constant() -> None:
    x = T.dscalar("x")
    assert T.extract_constant(T.constant(3) + 1) == 4
    assert T.extract_constant(x) is x


def test_mgrid_is_a_list() -> None:
    rows, columns = T.mgrid[0:3, 1:2:0.5]
    np.testing.assert_array_equal(rows.eval(), np.mgrid[0:3, 1:2:0.5][0])
    np.testing.assert_array_equal(columns.eval(), np.mgrid[0:3, 1:2:0.5][1])


def test_tile_by_a_vector() -> None:
    x, reps = T.dmatrix("x"), T.ivector("reps")
    value = np.arange(6.0).reshape(2, 3)
    f = function([x, reps], T.tile(x, reps, 3))
    for counts in ([2], [2, 3], [4, 2, 3]):
        expected = np.tile(value, [1] * (3 - len(counts)) + counts)
        np.testing.assert_array_equal(f(value, counts), expected)
    with pytest.raises(AssertionError):
        f(value, [1, 1, 1, 1])
    with pytest.raises(ValueError, match="reps"):
        T.tile(x, 2.5)


def test_places_by_a_vector_of_sizes() -> None:
    dims = T.lvector("dims")
    places = T.unravel_index(np.arange(6), dims, ndim=2)
    for got, expected in zip(
        function([dims], list(places))([2, 3]), np.unravel_index(np.arange(6), (2, 3)), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    flat = T.ravel_multi_index(([0, 1], [2, 0]), dims)
    np.testing.assert_array_equal(flat.eval({dims: [2, 3]}), [2, 3])
    with pytest.raises(TypeError, match="integers"):
        T.unravel_index(T.dvector(), (2, 3))


def test_vectors_of_sizes_have_the_right_length() -> None:
    x, sizes = T.dmatrix("x"), T.lvector("sizes")
    f = function([x, sizes], x.reshape(sizes, ndim=2))
    assert f(np.ones((2, 3)), [3, 2]).shape == (3, 2)
    for wrong in ([6], [2, 3, 1]):
        with pytest.raises(ValueError, match="entries, 2 dimensions"):
            f(np.ones((2, 3)), wrong)
    g = function([x, sizes], T.specify_shape(x, sizes))
    assert g(np.ones((2, 3)), [2, 3]).shape == (2, 3)
    with pytest.raises(AssertionError, match="SpecifyShape"):
        g(np.ones((2, 3)), [2, 3, 1])


def test_operations_as_classes() -> None:
    x = T.dmatrix("x")
    value = np.arange(6.0).reshape(2, 3)
    for op, expected in [
        (T.Sum(1), value.sum(1)),
        (T.Prod(axis=-1), value.prod(-1)),
        (T.Max([-2]), value.max(0)),
        (T.CumOp(axis=-1, mode="add"), value.cumsum(-1)),
        (T.elemwise.DimShuffle((False, False), (1, "x", 0)), value.T[:, None]),
    ]:
        np.testing.assert_array_equal(op(x).eval({x: value}), expected)
    with pytest.raises(ValueError, match="twice"):
        T.DimShuffle((False, False), (0, 0))(x)


def test_axes_of_many_kinds() -> None:
    x = T.dmatrix("x")
    assert x.sum(axis=np.array(1)).ndim == 1
    assert x.max(axis=[np.array(0), np.int8(1)]).ndim == 0
    assert x.max(axis=T.NoneConst).ndim == 0
    with pytest.raises(TypeError, match="axis must be an int"):
        x.sum(axis=[0.5])


def test_flags_may_be_numbers() -> None:
    kind = T.TensorType("float64", (0, 1, 0))
    assert kind.broadcastable == (False, True, False)
    x = T.TensorType("float64", (0, 0))("x")
    np.testing.assert_array_equal(x.shape.eval({x: np.ones((1, 2))}), [1, 2])


def test_pattern_of_the_first_dimensions() -> None:
    x = T.dmatrix()
    assert T.patternbroadcast(x, ()) is x
    assert T.patternbroadcast(x, (True,)).broadcastable == (True, False)


def test_elements_of_constants_are_known() -> None:
    table = T.constant(np.arange(6.0).reshape(2, 3))
    assert T.get_scalar_constant_value(table[1, -1]) == 5
    assert T.get_scalar_constant_value(T.assert_op(T.constant(7), T.constant(1))) == 7
    with pytest.raises(T.NotScalarConstantError):
        T.get_scalar_constant_value(T.assert_op(T.constant(7), T.lscalar()))


def test_an_empty_list_has_floatx() -> None:
    with ltensor.config.change_flags(floatX="float32"):
        assert T.as_tensor_variable([]).dtype == "float32"


def test_default_output_must_exist() -> None:
    class Copy(ltensor.Op):
        __props__ = ("default_output",)

        def __init__(self, which: Any) -> None:
            self.default_output = which

        def make_node(self, x: Any) -> ltensor.Apply:
            return ltensor.Apply(self, [x], [x.type()])

    x = T.dscalar()
    assert T.as_tensor_variable(Copy(0).make_node(x)).dtype == "float64"
    for wrong in (-1, 1, [0]):
        with pytest.raises(AttributeError, match="default_output"):
            T.as_tensor_variable(Copy(wrong).make_node(x))


def _as_complex(pairs: Any) -> Any:
    return pairs[..., 0] + 1j * pairs[..., 1]


@pytest.mark.parametrize(("norm", "numpy_norm"), [(None, None), ("ortho", "ortho")])
@pytest.mark.parametrize("shape", [(3, 8), (2, 7), (2, 4, 5)])
def test_fourier_transforms(rng: Any, shape: Any, norm: Any, numpy_norm: Any) -> None:
    values = rng.standard_normal(shape)
    x = T.TensorType("float64", (False,) * len(shape))("x")
    spectrum = T.fft.rfft(x, norm)
    back = T.fft.irfft(spectrum, norm, is_odd=shape[-1] % 2 == 1)
    found, same, sizes = function([x], [spectrum, back, spectrum.shape])(values)
    axes = range(1, len(shape))
    np.testing.assert_allclose(_as_complex(found), np.fft.rfftn(values, axes=axes, norm=numpy_norm))
    np.testing.assert_allclose(same, values)
    assert sizes.tolist() == [*shape[:-1], shape[-1] // 2 + 1, 2]


def test_filter_by_fourier_transforms(rng: Any) -> None:
    """A circular convolution, in a loop, and its derivatives."""
    signal, kernel = rng.standard_normal((2, 1, 6))
    x, k = T.dmatrices("x", "k")

    def filtered(old: Any, k: Any) -> Any:
        a, b = T.fft.rfft(old), T.fft.rfft(k)
        real = a[..., 0] * b[..., 0] - a[..., 1] * b[..., 1]
        imaginary = a[..., 0] * b[..., 1] + a[..., 1] * b[..., 0]
        product = T.stack([real, imaginary], axis=2)
        return T.unbroadcast(T.tanh(T.fft.irfft(product)), 0)

    rows, _ = ltensor.scan(filtered, outputs_info=x, non_sequences=k, n_steps=3)
    expected = signal
    for _ in range(3):
        terms = [kernel[0, j] * np.roll(expected, j, axis=1) for j in range(6)]
        expected = np.tanh(sum(terms))
    np.testing.assert_allclose(rows[-1].eval({x: signal, k: kernel}), expected)
    ltensor.gradient.verify_grad(
        lambda a, b: ltensor.clone(rows[-1], {x: a, k: b}), [signal, kernel], rng=rng
    )


def test_fourier_transforms_refused() -> None:
    with pytest.raises(TypeError, match="at least 2 dimensions"):
        T.fft.rfft(T.dvector())
    with pytest.raises(TypeError, match="real numbers"):
        T.fft.irfft(T.ztensor3())
    with pytest.raises(ValueError, match="Invalid value 3 for norm"):
        T.fft.rfft(T.dmatrix(), norm=3)
    with pytest.raises(ValueError, match="is_odd"):
        T.fft.irfft(T.dtensor3(), is_odd=2)
