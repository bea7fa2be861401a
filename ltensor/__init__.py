"""ltensor: Theano's programming model on a native compiler.

``import ltensor as theano; import ltensor.tensor as T`` runs Theano programs.
"""

from __future__ import annotations

from typing import Any

from ltensor.config import change_flags, config
from ltensor.ir.graph import Apply, Constant, Op, Variable
from ltensor.ir.types import Type, generic
from ltensor.version import __version__

# isort: split
import ltensor.ops.all  # noqa: F401 - declares all operations
from ltensor import tensor
from ltensor.gradient import Lop, Rop, grad, subgraph_grad
from ltensor.compile_modes import (
    FAST_COMPILE,
    FAST_RUN,
    Mode,
    get_default_mode,
    get_mode,
    predefined_modes,
)
from ltensor.compiled import FunctionMaker
from ltensor.function import function
from ltensor.io import In, Out, Param
from ltensor.profiling import ProfileStats
from ltensor.scan import OrderedUpdates, foldl, foldr, map, reduce, scan  # noqa: A004
from ltensor.shared import SharedVariable, shared
from ltensor.tensor import dot
from ltensor import gradient, printing
from ltensor.printing import pp

__all__ = [
    "FAST_COMPILE",
    "FAST_RUN",
    "Apply",
    "Constant",
    "FunctionMaker",
    "In",
    "Lop",
    "Mode",
    "Op",
    "OrderedUpdates",
    "Out",
    "Param",
    "ProfileStats",
    "Rop",
    "SharedVariable",
    "Type",
    "Variable",
    "change_flags",
    "config",
    "dot",
    "foldl",
    "foldr",
    "function",
    "generic",
    "get_default_mode",
    "get_mode",
    "grad",
    "gradient",
    "map",
    "pp",
    "predefined_modes",
    "printing",
    "reduce",
    "scan",
    "shared",
    "subgraph_grad",
    "tensor",
]
