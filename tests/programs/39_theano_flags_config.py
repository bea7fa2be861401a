"""config: reading, setting, context manager, casting with floatX, old-style guards for a GPU."""

import os

import numpy as np
import theano
import theano.tensor as T
from theano import config

try:
    from theano.sandbox.cuda import cuda_available

    GPU = cuda_available and "gpu" in config.device
except ImportError:
    GPU = False
try:
    import pygpu
except ImportError:
    pygpu = None
try:
    from theano.sandbox.cuda.dnn import dnn_conv
except ImportError:
    dnn_conv = None


def floatX(X):
    return np.asarray(X, dtype=theano.config.floatX)


def main():
    assert not GPU
    flags = os.environ.get("THEANO_FLAGS", "")
    if "floatX=float32" in flags:
        assert config.floatX == "float32"
    assert config.device in ("cpu", "gpu", "cuda", "cuda0")
    assert tuple(int(p) for p in theano.__version__.split(".")[:2]) >= (0, 7)
    assert T.matrix().dtype == T.vector().dtype == T.scalar().dtype == config.floatX
    assert T.fmatrix().dtype == "float32" and T.dmatrix().dtype == "float64"

    # The dtype rules with floatX.
    x = T.vector("x")
    fx, ix = T.fvector("fx"), T.ivector("ix")
    assert (x * 2).dtype == (x * 0.5).dtype == config.floatX
    assert (fx * 2).dtype == "float32"
    assert (fx * 0.1).dtype == ("float32" if config.floatX == "float32" else "float64")
    assert (fx * np.float32(0.1)).dtype == "float32"
    assert (fx * ix).dtype == "float64"
    assert (ix / 2).dtype == config.floatX or (ix / 2).dtype == "float64"
    assert (ix // 2).dtype == "int32" and (ix * 2).dtype == "int32"
    assert T.cast(ix, "floatX").dtype == T.cast(ix, config.floatX).dtype == config.floatX
    assert T.zeros((2,)).dtype == T.ones((2,)).dtype == config.floatX
    assert T.arange(3).dtype == "int64"
    assert T.mean(ix).dtype == "float64" and fx.mean().dtype == "float32"
    assert T.eq(fx, 1).dtype == "bool" and ix.sum().dtype == "int64"
    assert theano._asarray([1, 2], dtype="float32").dtype == np.float32
    assert T.alloc(floatX(0.0), 2, 3).dtype == config.floatX

    # config.floatX for a block, as a context and as a decorator.
    with theano.configparser.change_flags(floatX="float32"):
        assert T.matrix().dtype == "float32"

    @theano.change_flags(floatX="float64")
    def build():
        return T.matrix("m")

    assert build().dtype == "float64"
    old = config.floatX
    theano.config.floatX = "float32"
    assert T.matrix().dtype == "float32"
    theano.config.floatX = old
    assert T.matrix().dtype == old

    # Options that programs set without a thought.
    for name, value in [
        ("exception_verbosity", "high"),
        ("optimizer", "fast_compile"),
        ("optimizer", "fast_run"),
        ("on_unused_input", "warn"),
        ("on_unused_input", "raise"),
        ("warn_float64", "ignore"),
        ("openmp", False),
        ("profile", False),
        ("allow_gc", True),
        ("scan.allow_gc", False),
        ("warn.sum_div_dimshuffle_bug", False),
        ("warn.subtensor_merge_bug", False),
        ("compute_test_value", "off"),
        ("gcc.cxxflags", "-O2"),
        ("blas.ldflags", ""),
        ("on_opt_error", "warn"),
        ("cast_policy", "custom"),
    ]:
        parts = name.split(".")
        target = config
        for part in parts[:-1]:
            target = getattr(target, part)
        setattr(target, parts[-1], value)
        assert getattr(target, parts[-1]) == value, name
    try:
        config.floatX = "float99"
    except ValueError:
        pass
    else:
        raise AssertionError("a wrong floatX was taken")
    assert config.floatX == old
    assert "floatX" in str(config) or True

    # warn_float64 and a function in each mode.
    for mode in (
        None,
        "FAST_RUN",
        "FAST_COMPILE",
        theano.Mode(optimizer=None),
        theano.compile.get_default_mode(),
    ):
        f = theano.function([x], T.nnet.sigmoid(x) * 2, mode=mode)
        np.testing.assert_allclose(f(floatX([0.0])), [1.0])
        assert f(floatX([0.0])).dtype == config.floatX
    no = theano.compile.mode.get_mode("FAST_RUN").excluding("fusion")
    assert theano.function([x], x + 1, mode=no)(floatX([1])) == 2
    assert (
        theano.function([x], x + 1, mode=theano.compile.get_mode(None).including("inplace"))(
            floatX([1])
        )
        == 2
    )


if __name__ == "__main__":
    main()
