"""Classes of variables under the names of Theano's modules.

Programs tell variables from arrays by ``"theano" in str(type(x))`` or by
``type(x).__module__.startswith("theano")``; a wrong answer sends them the wrong way in silence.
Pickles go on naming the classes' real places (`Variable.__reduce_ex__`): they can be loaded
without `ltensor.compat.install`.
"""

from __future__ import annotations

from typing import Final

from ltensor.ir.graph import Constant, Variable
from ltensor.shared import (
    RandomStateSharedVariable,
    ScalarSharedVariable,
    SharedVariable,
    TensorSharedVariable,
)
from ltensor.tensor.variable import TensorConstant, TensorVariable

__all__ = ["hide", "show"]

_MODULES: Final[dict[type[Variable], str]] = {
    Variable: "theano.gof.graph",
    Constant: "theano.gof.graph",
    TensorVariable: "theano.tensor.var",
    TensorConstant: "theano.tensor.var",
    SharedVariable: "theano.compile.sharedvalue",
    TensorSharedVariable: "theano.tensor.sharedvar",
    ScalarSharedVariable: "theano.tensor.sharedvar",
    RandomStateSharedVariable: "theano.tensor.shared_randomstreams",
}


def show() -> None:
    """Give the classes the names of Theano's modules."""
    for cls, module in _MODULES.items():
        cls.__module__ = module


def hide() -> None:
    """Give them their own names again."""
    for cls in _MODULES:
        cls.__module__ = cls._home
