"""Small things that Theano programs import and that have no other place in ltensor.

Mostly remnants: helpers for Python 2, GPU flags that say no, locks that nothing needs.
"""

from __future__ import annotations

import logging
import struct
import sys
import warnings
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NoReturn

import numpy as np

from ltensor.config import config
from ltensor.errors import UnsupportedError

__all__ = [
    "GIT_REVISION",
    "THEANO_VERSION",
    "DefaultOrderedDict",
    "OrderedDict",
    "PY3",
    "cmp",
    "decode",
    "decode_iter",
    "decode_with",
    "defaultdict",
    "exc_message",
    "get_unbound_function",
    "imap",
    "izip",
]

theano_logger = logging.getLogger("theano")
"""What programs silence; ltensor says nothing by it."""

THEANO_VERSION = "1.0.5"
"""The version whose behaviour ltensor follows; programs compare against it."""
GIT_REVISION = ""


# ------------------------------------------------------------------------- Python 2

PY3 = True
imap = map
izip = zip


def cmp(a: Any, b: Any) -> int:
    """-1, 0 or 1, as Python 2 had it."""
    return int(a > b) - int(a < b)


def decode(text: bytes | str) -> str:
    """Give text for bytes, leave text alone."""
    return text if isinstance(text, str) else text.decode("utf-8")


def decode_with(text: bytes | str, encoding: str) -> str:
    """Do the same with an encoding."""
    return text if isinstance(text, str) else text.decode(encoding)


def decode_iter(items: Iterable[bytes | str]) -> Iterator[str]:
    """Decode each item."""
    return (decode(item) for item in items)


def exc_message(error: BaseException) -> Any:
    """Give an exception's argument, or all of them when there are several."""
    return error.args[0] if len(error.args) == 1 else error.args


def get_unbound_function(unbound: Any) -> Any:
    """Give the function of a method."""
    return getattr(unbound, "__func__", unbound)


class DefaultOrderedDict(OrderedDict):
    """A dict with a default, in order of insertion: any defaultdict, nowadays."""

    def __init__(self, default_factory: Callable[[], Any] | None = None, *args: Any) -> None:
        super().__init__(*args)
        self.default_factory = default_factory

    def __missing__(self, key: Any) -> Any:
        if self.default_factory is None:
            raise KeyError(key)
        self[key] = value = self.default_factory()
        return value


# ------------------------------------------------------------------------- arrays, flags


def _asarray(a: Any, dtype: Any = None, order: Any = None) -> np.ndarray:
    """`numpy.asarray` that knows the dtype ``"floatX"``."""
    dtype = config.floatX if isinstance(dtype, str) and dtype == "floatX" else dtype
    return np.asarray(a, dtype=dtype, order=order)


def hash_from_ndarray(data: np.ndarray) -> str:
    """Give a text that differs for arrays that differ in dtype, shape or contents."""
    import hashlib

    digest = hashlib.sha256(np.ascontiguousarray(data).tobytes())
    digest.update(f"{data.dtype.str}{data.shape}".encode())
    return digest.hexdigest()


def hex_digest(x: np.ndarray) -> str:
    """Give a text for the contents, strides and sizes of an array."""
    import hashlib

    assert isinstance(x, np.ndarray)
    strides, sizes = (",".join(map(str, numbers)) for numbers in (x.strides, x.shape))
    return f"{hashlib.sha256(x.tobytes()).hexdigest()}|strides=[{strides}]|shape=[{sizes}]"


def local_bitwidth() -> int:
    """Bits of an address on this machine."""
    return struct.calcsize("P") * 8


def python_int_bitwidth() -> int:
    """Bits of a C long on this machine."""
    return struct.calcsize("l") * 8


class ConfigVariable:
    """A flag as Theano's list of all of them holds it: with a full name, and read as a property."""

    def __init__(self, fullname: str) -> None:
        self.fullname = fullname

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return attrgetter(self.fullname)(config)

    def __set__(self, instance: object, value: Any) -> None:
        setattr(config, self.fullname.replace(".", "__"), value)


class _AllFlags(Sequence[ConfigVariable]):
    def __len__(self) -> int:
        return len(list(config))

    def __getitem__(self, index: Any) -> Any:
        names = list(config)[index]
        return [*map(ConfigVariable, names)] if isinstance(index, slice) else ConfigVariable(names)


config_var_list = _AllFlags()


# ------------------------------------------------------------------------- GPU, C compiler

cuda_available = False
cuda_enabled = False
cuda_disabled = True
pygpu_activated = False


def dnn_available(*args: Any) -> bool:
    """Say that there is no cuDNN; ``dnn_available.msg`` says why."""
    return False


dnn_available.msg = "ltensor does not use cuDNN"  # type: ignore[attr-defined]
dnn_present = dnn_available


def use(device: str, *args: Any, **kwargs: Any) -> None:
    """Take Theano's way of choosing a GPU, and stay where ``config.device`` says."""
    warnings.warn(
        f"theano.sandbox.cuda.use({device!r}) has no effect: ltensor runs on {config.device!r}; "
        "set config.device to 'cuda' for a GPU",
        stacklevel=2,
    )


def list_contexts() -> list[str]:
    """Give the GPU contexts of Theano's kind: none."""
    return []


def ldflags(*args: Any, **kwargs: Any) -> list[str]:
    """Give the options that link a BLAS: none are needed."""
    return []


def blas_header_text() -> str:
    """Give C declarations of BLAS: there is no C code to use them."""
    return ""


def get_lib_extension() -> str:
    """Give the suffix of shared libraries here, without the dot."""
    return {"win32": "pyd", "darwin": "so"}.get(sys.platform, "so")


def get_lock(*args: Any, **kwargs: Any) -> None:
    """Do nothing: the cache needs no lock."""


def release_lock(*args: Any, **kwargs: Any) -> None:
    """Do nothing: the cache needs no lock."""


# ------------------------------------------------------------------------- Theano's innards


class scratchpad:
    """An object for attributes, as ``tag`` is."""

    def clear(self) -> None:
        """Forget them."""
        self.__dict__.clear()

    def __update__(self, other: scratchpad) -> scratchpad:
        self.__dict__.update(other.__dict__)
        return self


class object2:
    """The base class of Theano's graph classes; a plain object here."""

    __slots__ = ()


class Node:
    """The common base that Theano gives variables and Apply nodes; nothing derives from it."""


class ParamsType:
    """Parameters for C code; ltensor has no C code to hand them to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedError("gof.ParamsType", "keep parameters as attributes of the Op")


DEPRECATED_ARG = object()
"""The default of arguments that Theano no longer takes."""


def flatten(nested: Any) -> list[Any]:
    """Give the leaves of nested lists, tuples and sets in one list."""
    if isinstance(nested, (list, tuple, set)):
        return [leaf for item in nested for leaf in flatten(item)]
    return [nested]


def uniq(seq: Sequence[Any]) -> list[Any]:
    """Give what a sequence holds, each once."""
    return [item for k, item in enumerate(seq) if item not in seq[:k]]


def unique(x: Sequence[Any]) -> bool:
    """Tell whether all items differ; they are hashable."""
    return len(set(x)) == len(x)


def memoize(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the results of a function by its arguments."""
    known: dict[Any, Any] = {}

    def call(*args: Any, **kwargs: Any) -> Any:
        key = (args, tuple(sorted(kwargs.items())))
        if key not in known:
            known[key] = function(*args, **kwargs)
        return known[key]

    return call


def give_variables_names(variables: Sequence[Any]) -> Sequence[Any]:
    """Number the variables that have no name, or share theirs; give all back."""
    met = Counter(v.name for v in variables)
    lacking = [v for v in variables if not v.name or met[v.name] > 1]
    for number, variable in enumerate(lacking):
        variable.name = f"{variable.name or ''}_{number}"
    if not unique([str(v) for v in variables]):
        raise ValueError("Not all variables have unique names.")
    return variables


def sparse_grad(var: Any) -> Any:
    """Give the rows ``matrix[indices]`` back.

    Theano stores their gradient as a sparse matrix then. Here it costs no more than those rows
    anyway where it is only added to the matrix in an update.
    """
    from ltensor.ops.advanced import AdvancedSubtensor

    assert var.owner is not None
    assert isinstance(var.owner.op, AdvancedSubtensor)
    return var


def contains_nan(arr: Any, node: Any = None, var: Any = None) -> bool:
    """Tell whether an array of floats holds a NaN."""
    array = np.asarray(arr)
    return array.dtype.kind in "fc" and bool(np.isnan(array).any())


def contains_inf(arr: Any, node: Any = None, var: Any = None) -> bool:
    """Tell whether an array of floats holds an infinity."""
    array = np.asarray(arr)
    return array.dtype.kind in "fc" and bool(np.isinf(array).any())


def tensor_constructor(value: Any, *args: Any, **kwargs: Any) -> Any:
    """Make a shared variable of an array, and of nothing else."""
    from ltensor.shared import shared

    if not isinstance(value, np.ndarray):
        raise TypeError("a shared variable of a tensor takes an array")
    kwargs.pop("target", None)
    return shared(value, *args, **kwargs)


def debug_assert(condition: Any, msg: str | None = None) -> None:
    """Raise, as Theano does under test values, when the condition is false."""
    if not condition:
        raise AssertionError(msg or "debug_assert failed")


def debug_error_message(msg: str) -> None:
    """Report a problem found with test values, according to ``config.compute_test_value``."""
    action = config.compute_test_value
    if action in ("raise", "ignore", "pdb"):
        raise ValueError("compute_test_value: " + msg)
    if action == "warn":
        warnings.warn("compute_test_value: " + msg, stacklevel=2)


def raise_with_op(node: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """Raise the current exception again, as it is."""
    raise


def detect_nan(fgraph: Any, i: int, node: Any, fn: Any) -> None:
    """Print and stop at the first NaN: a monitor for ``MonitorMode(post_func=detect_nan)``."""
    for output in fn.outputs:
        value = output[0]
        if isinstance(value, np.ndarray) and value.dtype.kind in "fc" and np.isnan(value).any():
            raise ValueError(f"NaN detected in an output of {node}")


def hashtype(self: Any) -> int:
    """Hash the type of an object: what ops without attributes give as their hash."""
    kind = type(self)
    return hash((kind.__name__, kind.__module__))


def render_string(string: str, sub: dict[str, Any]) -> str:
    """Fill in a template of C code."""
    return string % sub


# ------------------------------------------------------------------------- sparse matrices

enable_sparse = False


class SparseType:
    """The type of no variable: programs ask whether one is sparse."""

    dtype_set: frozenset[str] = frozenset()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedError("theano.sparse", "use dense arrays, or scipy.sparse in an Op")


class SparseVariable(SparseType):
    """The class of no variable."""


class SparseConstant(SparseVariable):
    """The class of no constant."""


class SparseSharedVariable(SparseVariable):
    """The class of no shared variable."""


def _is_sparse(x: Any) -> bool:
    """Whether ``x`` is a matrix of scipy.sparse."""
    kinds = sys.modules.get("scipy.sparse")
    return kinds is not None and bool(kinds.issparse(x))


# ------------------------------------------------------------------------- tests


def disturb_mem() -> None:
    """Do nothing: results do not depend on where memory lies."""
