"""The ``theano.tensor`` namespace: variables, constructors and all functions on them.

What is small stands here from the start; what brings much code with it (``nnet``, ``grad``, linear
algebra, ...) is imported when it is first asked for.
"""

# ruff: noqa: F401 - everything imported here is part of the namespace
from __future__ import annotations

import importlib
from types import ModuleType as _ModuleType

import ltensor.test_value
from ltensor.config import config
from ltensor.errors import (
    AdvancedIndexingError,
    AsTensorError,
    EmptyConstantError,
    NotScalarConstantError,
    ShapeError,
)
from ltensor.ir import dtypes as _dtypes
from ltensor.ir.graph import Apply, Constant, Op, Variable
from ltensor.ir.types import TensorType
from ltensor.ir.types import none_type as _none_type
from ltensor.ops.advanced import AdvancedIncSubtensor, AdvancedSubtensor
from ltensor.ops.alloc import (
    Alloc,
    ARange,
    Eye,
    MakeVector,
    alloc,
    arange,
    eye,
    fill,
    make_vector,
    ones,
    ones_like,
    second,
    zeros,
    zeros_like,
)
from ltensor.ops.arithmetic import (
    abs_,
    add,
    clip,
    int_div,
    inv,
    maximum,
    minimum,
    mod,
    mul,
    neg,
    pow,
    sgn,
    sqr,
    sub,
    switch,
    true_div,
)
from ltensor.ops.batched import BatchedDot, batched_dot, batched_tensordot
from ltensor.ops.bessel import i0, i1, j0, j1
from ltensor.ops.bits import and_, invert, or_, xor
from ltensor.ops.cast import cast
from ltensor.ops.compare import eq, ge, gt, isinf, isnan, le, lt, neq
from ltensor.ops.complexes import angle, complex_, complex_from_polar, conj, imag, real
from ltensor.ops.control import Assert, Print, assert_op
from ltensor.ops.copies import tensor_copy
from ltensor.ops.cumulative import CumOp, cumprod, cumsum
from ltensor.ops.diagonal import (
    AllocDiag,
    ExtractDiag,
    alloc_diag,
    diag,
    diagonal,
    fill_diagonal,
    fill_diagonal_offset,
)
from ltensor.ops.extrema import argmax, argmin, max_and_argmax
from ltensor.ops.identity import SpecifyShape, specify_shape
from ltensor.ops.incomplete import chi2sf, gammainc, gammaincc, gammal, gammau
from ltensor.ops.indexing import (
    choose,
    flatnonzero,
    inc_subtensor,
    nonzero,
    nonzero_values,
    set_subtensor,
    take,
)
from ltensor.ops.join import (
    Join,
    Split,
    concatenate,
    horizontal_stack,
    join,
    split,
    stack,
    stacklists,
    vertical_stack,
)
from ltensor.ops.linalg import Dot, dot, outer, tensordot
from ltensor.ops.moments import mean, std, var
from ltensor.ops.rearrange import (
    compress,
    mgrid,
    ogrid,
    ravel_multi_index,
    repeat,
    roll,
    tile,
    unravel_index,
)
from ltensor.ops.reduce import (
    All_ as All,
)
from ltensor.ops.reduce import (
    Any_ as Any,
)
from ltensor.ops.reduce import (
    Max,
    Min,
    Prod,
    Sum,
    all,
    any,
    max,
    min,
    prod,
    sum,
)
from ltensor.ops.reduce_base import ReduceOp as CAReduce
from ltensor.ops.search import SearchSorted as SearchsortedOp
from ltensor.ops.search import searchsorted
from ltensor.ops.shape import DimShuffle, Reshape, Shape, ShapeI, shape
from ltensor.ops.shape import Flags as Rebroadcast
from ltensor.ops.sort import (
    ArgSort as ArgSortOp,
)
from ltensor.ops.sort import (
    Sort as SortOp,
)
from ltensor.ops.sort import (
    argsort,
    argtopk,
    sort,
    topk,
    topk_and_argtopk,
)
from ltensor.ops.special import (
    erf,
    erfc,
    erfcinv,
    erfcx,
    erfinv,
    gamma,
    gammaln,
    psi,
    tri_gamma,
)
from ltensor.ops.subtensor import IncSubtensor, Subtensor
from ltensor.ops.transcendental import (
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    ceil,
    cos,
    cosh,
    deg2rad,
    exp,
    exp2,
    expm1,
    floor,
    log,
    log1p,
    log2,
    log10,
    rad2deg,
    round_half_away_from_zero,
    round_half_to_even,
    sin,
    sinh,
    sqrt,
    tan,
    tanh,
    trunc,
)
from ltensor.tensor import constructors as _constructors
from ltensor.tensor.constant_values import get_scalar_constant_value, get_vector_length
from ltensor.tensor.constructors import (
    as_tensor_variable,
    col,
    constant,
    matrix,
    row,
    scalar,
    tensor,
    tensor3,
    tensor4,
    tensor5,
    tensor6,
    tensor7,
    vector,
)
from ltensor.tensor.functions import (
    _allclose,
    addbroadcast,
    advanced_inc_subtensor1,
    advanced_set_subtensor1,
    advanced_subtensor1,
    allclose,
    dimshuffle,
    divmod,
    flatten,
    identity_like,
    iround,
    isclose,
    largest,
    makeKeepDims,
    moveaxis,
    patternbroadcast,
    ptp,
    reshape,
    round,
    shape_padaxis,
    shape_padleft,
    shape_padright,
    smallest,
    squeeze,
    swapaxes,
    transpose,
    tri,
    tril,
    triu,
    unbroadcast,
)
from ltensor.tensor.variable import TensorConstant, TensorVariable, _tensor_py_operators

# ``bscalar`` ... ``ztensor7``, ``scalars`` ... ``ztensor7s``
globals().update(_constructors.TYPES)
globals().update(_constructors.PLURALS)

as_tensor = as_tensor_variable
bitwise_and, bitwise_or, bitwise_xor, bitwise_not = and_, or_, xor, invert
conjugate = conj
floor_div = int_div
power = pow
square = sqr
where = switch
complex = complex_
concat = concatenate
Tensor = TensorType
MaxAndArgmax = Max
AdvancedSubtensor1 = AdvancedSubtensor
AdvancedIncSubtensor1 = AdvancedIncSubtensor
BaseAdvancedSubtensor = AdvancedSubtensor
Shape_i = ShapeI
_dot = Dot()

all_dtypes = list(_dtypes.ALL)
int_dtypes = list(_dtypes.INTEGERS)
uint_dtypes = list(_dtypes.UNSIGNED)
integer_dtypes = int_dtypes + uint_dtypes
discrete_dtypes = ["bool", *integer_dtypes]
float_dtypes = list(_dtypes.FLOATS)
complex_dtypes = list(_dtypes.COMPLEX)
continuous_dtypes = float_dtypes + complex_dtypes

NoneConst = _none_type.make_constant(None, name="NoneConst")

#: Modules that are part of the namespace.
_MODULES = {
    "basic": "ltensor.tensor",
    "elemwise": "ltensor.tensor",
    "extra_ops": "ltensor.tensor.extra_ops",
    "fft": "ltensor.tensor.fft",
    "nlinalg": "ltensor.tensor.nlinalg",
    "nnet": "ltensor.tensor.nnet",
    "printing": "ltensor.printing",
    "raw_random": "ltensor.random",
    "shared_randomstreams": "ltensor.random",
    "scal": "ltensor.scalar",
    "sharedvar": "ltensor.shared",
    "signal": "ltensor.tensor.signal",
    "slinalg": "ltensor.tensor.slinalg",
    "subtensor": "ltensor.tensor",
    "xlogx": "ltensor.tensor.xlogx",
}

#: Names that are imported when they are asked for.
_LATER = {
    name: module
    for module, names in {
        "ltensor.gradient": "grad jacobian hessian Rop Lop verify_grad consider_constant "
        "DisconnectedType",
        "ltensor.ifelse": "ifelse",
        "ltensor.printing": "pprint min_informative_str",
        "ltensor.scalar": "Elemwise",
        "ltensor.shared": "shared TensorSharedVariable ScalarSharedVariable",
        "ltensor.tensor.extra_ops": "bartlett bincount broadcast_shape broadcast_to diff "
        "to_one_hot",
        "ltensor.tensor.nlinalg": "trace",
        "ltensor.tensor.uncommon": "AllocEmpty PermuteRowElements ceil_intdiv cov extract_constant "
        "inverse_permutation join_ permute_row_elements scalar_from_tensor tensor_from_scalar",
    }.items()
    for name in names.split()
}
_LATER_AS = {"_shared": ("ltensor.shared", "shared")}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        value: object = importlib.import_module(_MODULES[name])
    elif name in _LATER:
        value = getattr(importlib.import_module(_LATER[name]), name)
    elif name in _LATER_AS:
        module, other = _LATER_AS[name]
        value = getattr(importlib.import_module(module), other)
    else:
        raise AttributeError(f"ltensor.tensor has no {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_LATER, *_LATER_AS})


__all__ = [  # what a star import takes
    *sorted(
        name
        for name in {*globals(), *_LATER} - {"annotations"}
        if not name.startswith("_") and not isinstance(globals().get(name), _ModuleType)
    ),
    "nnet",
    "signal",
]
