"""Theano's names resolve, to ltensor's own objects."""

from __future__ import annotations

import subprocess
import sys

import pytest
from compat import names
from seeds.runner import child_environment

from ltensor import compat


def run(program: str) -> str:
    """Run a program in which ``import theano`` means ltensor; gives what it prints."""
    return names.run("import ltensor.compat; ltensor.compat.install()\n" + program)


def test_names_that_programs_use() -> None:
    """All names that at least three of 129 public projects use, bar GPU and sparse ones."""
    missing = run(
        "import importlib\n"
        f"for full in {names.NAMES!r}:\n"
        "    path, _, name = full.rpartition('.')\n"
        "    try:\n"
        "        getattr(importlib.import_module(path), name)\n"
        "    except (ImportError, AttributeError) as error:\n"
        "        print(full, '|', error)\n"
    )
    assert not missing, missing


def test_the_table_points_at_modules_that_exist() -> None:
    """A name may be missing (it then says so); a module would be a slip in the table."""
    paths = {target.partition(":")[0] for _, target in compat.unresolved()}
    assert [path for path in sorted(paths) if compat._resolve(path) is compat._MISSING] == []
    own = ("ltensor.compat.", "ltensor.config:", "ltensor.errors:", "ltensor.ir.")
    assert [pair for pair in compat.unresolved() if pair[1].startswith(own)] == []


def test_same_objects() -> None:
    assert (
        run(
            "import theano, theano.tensor as T, ltensor, ltensor.tensor as LT\n"
            "from theano.tensor.nnet import sigmoid\n"
            "assert T.hashtype(1) == theano.gof.hashtype(2) == theano.gof.utils.hashtype(3)\n"
            "from theano.sandbox.rng_mrg import MRG_RandomStreams\n"
            "from theano.compile.nanguardmode import NanGuardMode\n"
            "assert theano.function is ltensor.function and theano.scan is ltensor.scan\n"
            "assert theano.config is ltensor.config and T.config is ltensor.config\n"
            "assert T.dscalar is LT.dscalar and sigmoid is LT.nnet.sigmoid\n"
            "assert T.nnet.sigmoid is sigmoid and theano.tensor is T\n"
            "import theano.tensor.sort, theano.compile.function, theano.tensor.var\n"
            "assert T.sort is LT.sort and T.var is LT.var\n"
            "assert theano.compile.function is ltensor.function\n"
            "assert theano.gof.Op is theano.Op is ltensor.Op\n"
            "print('same')\n"
        )
        == "same\n"
    )


def test_star_import() -> None:
    assert run(
        "from theano import *\n"
        "from theano.tensor import *\n"
        "print(function([], ()) is not None, shared.__name__, pp is not None, dot is not None)\n"
    ).startswith("True shared True True")


@pytest.mark.parametrize(
    ("statement", "error", "says"),
    [
        ("import theano.sparse.basic", "ModuleNotFoundError", "there are no sparse matrices"),
        ("import theano.typed_list as t; t.TypedListType", "AttributeError", "no symbolic lists"),
        ("import theano; theano.sparse.dot", "AttributeError", "there are no sparse matrices"),
        ("from theano.sparse import SparseType as S; S('csr')", "UnsupportedError", "dense arrays"),
        ("import theano.tensor.downsample", "ModuleNotFoundError", "theano.tensor.downsample"),
        ("from theano.tensor.nnet.ctc import ctc", "ModuleNotFoundError", "with scan"),
        ("from theano.gof.optdb import Query", "ModuleNotFoundError", "adding_a_pass"),
        ("import theano; theano.nonsense", "AttributeError", "ltensor has no theano.nonsense"),
        ("import theano; theano.gof.COp", "AttributeError", "write perform with NumPy"),
        ("from theano.sandbox.cuda import GpuOp", "ModuleNotFoundError", "GpuOp"),
        ("import theano.sandbox.cuda.blas", "ModuleNotFoundError", "no counterpart"),
        ("from theano.gpuarray.dnn import GpuDnnConv", "ModuleNotFoundError", "no counterpart"),
        ("from theano.gpuarray import GpuArrayType as G; G()", "UnsupportedError", "TensorType"),
    ],
)
def test_what_is_not_there(statement: str, error: str, says: str) -> None:
    out = run(
        f"try:\n    {statement}\nexcept Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    assert out.startswith(error)
    assert says in out


def test_what_theanos_modules_import_themselves() -> None:
    """Programs take it from there."""
    assert (
        run(
            "from theano.gof import graph\n"
            "from theano.gradient import np\n"
            "print(graph.deque([1]), np.__name__)\n"
        )
        == "deque([1]) numpy\n"
    )


def test_tools_for_graphs() -> None:
    assert (
        run(
            "import theano, theano.tensor as T\n"
            "from theano.gof.graph import as_string\n"
            "from theano.scan_module.scan_utils import map_variables\n"
            "from theano.tensor.utils import shape_of_variables\n"
            "x = T.dmatrix('x')\n"
            "(y,) = map_variables(lambda v: T.exp(v) if v is x else v, [x.T])\n"
            "shapes = shape_of_variables(theano.gof.FunctionGraph([x], [y], clone=False),"
            " {x: (2, 3)})\n"
            "print(shapes[y], *as_string([x], [T.tanh(x)]))\n"
            "print(T.basic.join_ is T.join_, theano.gof.opt.OpRemove is theano.gof.OpRemove)\n"
        )
        == "(3, 2) Elemwise{tanh,no_inplace}(x)\nTrue True\n"
    )


def test_list_of_flags() -> None:
    """Programs look for a flag by its full name, and read and write it as a property."""
    assert (
        run(
            "import theano\n"
            "(flag,) = [f for f in theano.configparser._config_var_list\n"
            "    if f.fullname == 'scan.allow_gc']\n"
            "old = flag.__get__(True, None)\n"
            "flag.__set__(None, not old)\n"
            "print(old, theano.config.scan.allow_gc)\n"
        )
        == "False True\n"
    )


def test_sparse_says_no() -> None:
    """As without SciPy: the import works, so that programs which only ask go on."""
    assert (
        run(
            "import theano.sparse as sparse, theano.tensor as T\n"
            "print(sparse.enable_sparse, isinstance(T.matrix().type, sparse.SparseType))\n"
        )
        == "False False\n"
    )


def test_gpu_flags_say_no() -> None:
    assert (
        run(
            "from theano.sandbox import cuda\n"
            "from theano.sandbox.cuda.dnn import dnn_available\n"
            "import theano.gpuarray\n"
            "print(cuda.cuda_available, cuda.cuda_enabled, dnn_available(),"
            " theano.gpuarray.pygpu_activated)\n"
        )
        == "False False False False\n"
    )


def test_gpu_names_mean_the_same_on_every_device() -> None:
    """Moves are nothing, cuDNN's functions are those of nnet, and no variable is of a GPU type."""
    assert (
        run(
            "import numpy as np, theano, theano.tensor as T\n"
            "from theano.gpuarray.basic_ops import gpu_contiguous, host_from_gpu\n"
            "from theano.gpuarray.dnn import dnn_conv, dnn_pool\n"
            "from theano.sandbox.cuda.var import CudaNdarraySharedVariable\n"
            "x, w = T.tensor4(), theano.shared(np.arange(4.0).reshape(1, 1, 2, 2))\n"
            "y = host_from_gpu(dnn_conv(gpu_contiguous(x), w, conv_mode='cross'))\n"
            "f = theano.function([x], [y, dnn_pool(x, (2, 2)), dnn_conv(x, w)])\n"
            "print(*[v.tolist() for v in f(np.arange(6.0).reshape(1, 1, 2, 3))])\n"
            "print(isinstance(w, CudaNdarraySharedVariable))\n"
        )
        == "[[[[19.0, 25.0]]]] [[[[4.0, 5.0]]]] [[[[5.0, 11.0]]]]\nFalse\n"
    )


def test_remnants_of_python_2() -> None:
    assert (
        run(
            "from theano.compat.python2x import OrderedDict\n"
            "from theano.compat import exc_message, imap, get_unbound_function\n"
            "from theano.compat.six import iteritems, string_types, with_metaclass\n"
            "from theano.compat.six.moves import xrange, reduce, cPickle\n"
            "import theano.version\n"
            "print(exc_message(ValueError('a')), list(imap(abs, [-1])), list(iteritems({1: 2})),"
            " sum(xrange(4)), theano.version.short_version, theano.__version__)\n"
        )
        == "a [1] [(1, 2)] 6 1.0.5 1.0.5\n"
    )


def test_small_tools() -> None:
    assert (
        run(
            "import numpy as np, theano, theano.tensor as T\n"
            "from theano.compile.nanguardmode import contains_inf, contains_nan\n"
            "from theano.gof.utils import give_variables_names, memoize, uniq\n"
            "from theano.printing import hex_digest\n"
            "from theano.tensor.sharedvar import tensor_constructor\n"
            "theano.theano_logger.setLevel(40)\n"
            "a = np.array([[1.0, np.nan, 3.0]])\n"
            "print(contains_nan(a), contains_inf(a), contains_nan(np.array([1])))\n"
            "print(hex_digest(a)[64:], hex_digest(a) == hex_digest(a.copy()))\n"
            "x, y, z = T.dscalar(), T.dscalar('a'), T.dscalar('a')\n"
            "print(give_variables_names([x, y, z]), uniq([2, 1, 2]))\n"
            "calls = []\n"
            "f = memoize(calls.append)\n"
            "f(1), f(2), f(1), print(calls)\n"
            "w = tensor_constructor(np.zeros((9, 2)), target='cpu')\n"
            "rows = theano.sparse_grad(w[[3, 5, 3]])\n"
            "theano.function([], updates=[(w, w - T.grad(rows.sum(), w))])()\n"
            "print(*w.get_value()[:, 0].astype(int))\n"
        )
        == "True False False\n"
        "|strides=[24,8]|shape=[1,3] True\n"
        "[_0, a_1, a_2] [2, 1]\n"
        "[1, 2]\n"
        "0 0 0 -2 0 -1 0 0 0\n"
    )


def test_sandbox_linalg() -> None:
    assert (
        run(
            "import numpy as np, theano, theano.tensor as T\n"
            "from theano.sandbox.linalg.ops import Det, psd, spectral_radius_bound\n"
            "x = T.dmatrix()\n"
            "f = theano.function([x], [Det()(psd(x)), spectral_radius_bound(x, 4)])\n"
            "print(*[v.round(5) for v in f(np.diag([3.0, 2.0]))])\n"
        )
        == "6.0 3.00029\n"
    )


def test_another_theano_is_not_replaced() -> None:
    program = (
        "import sys, types\n"
        "sys.modules['theano'] = types.ModuleType('theano')\n"
        "import ltensor.compat\n"
        "ltensor.compat.install()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=child_environment()
    )
    assert "another module named theano" in done.stderr


def test_install_and_uninstall() -> None:
    run(
        "import sys, theano.tensor\n"
        "ltensor.compat.install()\n"
        "ltensor.compat.uninstall()\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'theano']\n"
        "ltensor.compat.install()\n"
        "import theano\n"
    )
