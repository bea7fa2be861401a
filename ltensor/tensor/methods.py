"""The methods and properties of tensor variables: ``x.sum(axis=0)``, ``x.shape``, ``x.T``, ..."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# Names of this package are looked up when a method runs: the package imports this module.
import ltensor.tensor as T
from ltensor.ir.types import TensorType
from ltensor.ops import arithmetic, moments, reduce, transcendental
from ltensor.ops import shape as shapes
from ltensor.ops.cast import cast


def _unary(name: str) -> Any:
    op = getattr(transcendental, name)

    def method(self: Any) -> Any:
        return op(self)

    method.__name__ = name
    method.__doc__ = op.doc
    return method


class Methods:
    """The methods; mixed into every class of tensor variables."""

    type: TensorType

    # ----------------------------------------------------------------- what it is

    @property
    def dtype(self) -> str:
        """The dtype's name."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.type.ndim

    @property
    def broadcastable(self) -> tuple[bool, ...]:
        """For every dimension whether it is known to be 1."""
        return self.type.broadcastable

    @property
    def shape(self) -> Any:
        """The sizes, a symbolic int64 vector."""
        return shapes.shape(self)

    @property
    def size(self) -> Any:
        """The number of elements."""
        if self.type.ndim == 1:
            return self.shape[0]
        return reduce.prod(self.shape)

    @property
    def T(self) -> Any:
        """The transpose (axes reversed)."""
        return T.transpose(self)

    @property
    def real(self) -> Any:
        """The real part."""
        return T.real(self)

    @property
    def imag(self) -> Any:
        """The imaginary part."""
        return T.imag(self)

    # ----------------------------------------------------------------- elementwise

    arccos = _unary("arccos")
    arccosh = _unary("arccosh")
    arcsin = _unary("arcsin")
    arcsinh = _unary("arcsinh")
    arctan = _unary("arctan")
    arctanh = _unary("arctanh")
    ceil = _unary("ceil")
    cos = _unary("cos")
    cosh = _unary("cosh")
    deg2rad = _unary("deg2rad")
    exp = _unary("exp")
    exp2 = _unary("exp2")
    expm1 = _unary("expm1")
    floor = _unary("floor")
    log = _unary("log")
    log10 = _unary("log10")
    log1p = _unary("log1p")
    log2 = _unary("log2")
    rad2deg = _unary("rad2deg")
    sin = _unary("sin")
    sinh = _unary("sinh")
    sqrt = _unary("sqrt")
    tan = _unary("tan")
    tanh = _unary("tanh")
    trunc = _unary("trunc")

    def conj(self) -> Any:
        """The complex conjugate."""
        return T.conj(self)

    conjugate = conj

    def round(self, mode: str | None = None) -> Any:
        """The nearest integers; ties by ``mode``, to even by default."""
        return T.round(self, mode)

    def clip(self, a_min: Any, a_max: Any) -> Any:
        """Values limited to [a_min, a_max]."""
        return T.clip(self, a_min, a_max)

    def astype(self, dtype: Any) -> Any:
        """The elements converted to ``dtype``."""
        return cast(self, dtype)

    def fill(self, value: Any) -> Any:
        """``value`` in every element, in the size of this variable (a new variable)."""
        return T.fill(self, value)

    def zeros_like(self, dtype: Any = None) -> Any:
        """Zeros of the same size."""
        return T.zeros_like(self, dtype=dtype)

    def ones_like(self, dtype: Any = None) -> Any:
        """Ones of the same size."""
        return T.ones_like(self, dtype=dtype)

    def copy(self, name: str | None = None) -> Any:
        """A copy under another name."""
        result = T.tensor_copy(self)
        result.name = name
        return result

    # ----------------------------------------------------------------- reductions

    def any(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Whether any element is true."""
        return reduce.any(self, axis=axis, keepdims=keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Whether all elements are true."""
        return reduce.all(self, axis=axis, keepdims=keepdims)

    def sum(
        self, axis: Any = None, dtype: Any = None, keepdims: bool = False, acc_dtype: Any = None
    ) -> Any:
        """Sum over ``axis``."""
        return reduce.sum(self, axis=axis, dtype=dtype, keepdims=keepdims, acc_dtype=acc_dtype)

    def prod(
        self, axis: Any = None, dtype: Any = None, keepdims: bool = False, acc_dtype: Any = None
    ) -> Any:
        """Product over ``axis``."""
        return reduce.prod(self, axis=axis, dtype=dtype, keepdims=keepdims, acc_dtype=acc_dtype)

    def mean(
        self, axis: Any = None, dtype: Any = None, keepdims: bool = False, acc_dtype: Any = None
    ) -> Any:
        """Mean over ``axis``."""
        return moments.mean(self, axis=axis, dtype=dtype, keepdims=keepdims, acc_dtype=acc_dtype)

    def var(
        self, axis: Any = None, ddof: int = 0, keepdims: bool = False, corrected: bool = False
    ) -> Any:
        """Variance over ``axis``."""
        return moments.var(self, axis=axis, ddof=ddof, keepdims=keepdims, corrected=corrected)

    def std(
        self, axis: Any = None, ddof: int = 0, keepdims: bool = False, corrected: bool = False
    ) -> Any:
        """Standard deviation over ``axis``."""
        return moments.std(self, axis=axis, ddof=ddof, keepdims=keepdims, corrected=corrected)

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Smallest element over ``axis``."""
        return reduce.min(self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Largest element over ``axis``."""
        return reduce.max(self, axis=axis, keepdims=keepdims)

    def argmin(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Place of the smallest element along ``axis``."""
        return T.argmin(self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Place of the largest element along ``axis``."""
        return T.argmax(self, axis=axis, keepdims=keepdims)

    def ptp(self, axis: Any = None) -> Any:
        """Maximum minus minimum over ``axis``."""
        return T.ptp(self, axis)

    def norm(self, L: Any, axis: Any = None, keepdims: bool = False) -> Any:
        """``sum(abs(x) ** L) ** (1 / L)``."""
        if L in (0, np.inf, -np.inf):
            raise NotImplementedError(f"norm of order {L}: use (x != 0).sum() or abs(x).max()")
        powers = reduce.sum(arithmetic.pow(arithmetic.abs_(self), L), axis=axis, keepdims=keepdims)
        return arithmetic.pow(powers, 1.0 / L)

    def dot(self, other: Any) -> Any:
        """Matrix product."""
        return T.dot(self, other)

    __dot__ = dot

    def __rdot__(self, other: Any) -> Any:
        return T.dot(other, self)

    def trace(self) -> Any:
        """Sum of the diagonal."""
        from ltensor.tensor.nlinalg import trace

        return trace(self)

    def cumsum(self, axis: Any = None) -> Any:
        """Cumulative sum."""
        return T.cumsum(self, axis)

    def cumprod(self, axis: Any = None) -> Any:
        """Cumulative product."""
        return T.cumprod(self, axis)

    # ----------------------------------------------------------------- shape

    def reshape(self, shape: Any, ndim: int | None = None) -> Any:
        """The same elements under another shape."""
        return T.reshape(self, shape, ndim=ndim)

    def dimshuffle(self, *pattern: Any) -> Any:
        """Axes permuted, dropped or added (``'x'``)."""
        return shapes.dimshuffle(self, *pattern)

    def flatten(self, ndim: int = 1) -> Any:
        """The first ``ndim - 1`` axes kept, the others joined into one."""
        return T.flatten(self, ndim)

    def ravel(self) -> Any:
        """All elements in a vector."""
        return T.flatten(self)

    def transpose(self, *axes: Any) -> Any:
        """Axes permuted; reversed by default."""
        if not axes:
            return T.transpose(self)
        if len(axes) == 1 and isinstance(axes[0], (list, tuple)):
            axes = tuple(axes[0])
        return T.transpose(self, axes)

    def swapaxes(self, axis1: int, axis2: int) -> Any:
        """Two axes exchanged."""
        return T.swapaxes(self, axis1, axis2)

    def squeeze(self) -> Any:
        """Without the broadcastable axes."""
        return T.squeeze(self)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
        """The diagonal of a matrix (or of two axes)."""
        return T.diagonal(self, offset, axis1, axis2)

    def repeat(self, repeats: Any, axis: int | None = None) -> Any:
        """Every element repeated."""
        return T.repeat(self, repeats, axis)

    # ----------------------------------------------------------------- picking

    def take(self, indices: Any, axis: int | None = None, mode: str = "raise") -> Any:
        """Elements at ``indices`` along ``axis``."""
        return T.take(self, indices, axis, mode)

    def nonzero(self, return_matrix: bool = False) -> Any:
        """Places of the elements that are not zero."""
        return T.nonzero(self, return_matrix=return_matrix)

    def nonzero_values(self) -> Any:
        """The elements that are not zero."""
        return T.nonzero_values(self)

    def sort(self, axis: Any = -1, kind: str = "quicksort", order: Any = None) -> Any:
        """The elements in ascending order (a new variable)."""
        return T.sort(self, axis, kind, order)

    def argsort(self, axis: Any = -1, kind: str = "quicksort", order: Any = None) -> Any:
        """The places of the elements in ascending order."""
        return T.argsort(self, axis, kind, order)

    def searchsorted(self, v: Any, side: str = "left", sorter: Any = None) -> Any:
        """Where to insert ``v`` so that this vector stays sorted."""
        return T.searchsorted(self, v, side, sorter)

    def choose(self, choices: Any, out: Any = None, mode: str = "raise") -> Any:
        """Elements of ``choices``, picked by this variable."""
        return T.choose(self, choices, out=out, mode=mode)

    def compress(self, a: Any, axis: int | None = None) -> Any:
        """The slices of ``a`` where this vector is true."""
        return T.compress(self, a, axis=axis)

    # ----------------------------------------------------------------- values

    def eval(self, inputs_to_values: Mapping[Any, Any] | None = None) -> Any:
        """Compute the value.

        The function is compiled at the first call with a set of inputs and kept.

        Parameters
        ----------
        inputs_to_values : dict, optional
            Values of the inputs, by variable.

        Examples
        --------
        >>> x = T.dscalar("x")
        >>> (x + 1).eval({x: 2.0})                              # doctest: +SKIP
        array(3.)
        """
        given = {} if inputs_to_values is None else inputs_to_values
        inputs = tuple(sorted(given, key=id))
        functions = self.__dict__.setdefault("_fn_cache", {})
        if inputs not in functions:
            from ltensor.function import function

            functions[inputs] = function(list(inputs), self)
        return functions[inputs](*[given[variable] for variable in inputs])

    def get_scalar_constant_value(self) -> Any:
        """The value, if it is a constant scalar (or one value throughout)."""
        return T.get_scalar_constant_value(self)

    def transfer(self, target: Any) -> Any:
        """This variable itself: there is one device per function."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()  # type: ignore[misc]
        # Compiled functions are made again where they are needed.
        state.pop("_fn_cache", None)
        return state
