"""ltensor: Theano's programming model on a native compiler.

``import ltensor as theano; import ltensor.tensor as T`` runs Theano programs.
"""

from __future__ import annotations

from ltensor.config import change_flags, config
from ltensor.ir.graph import Apply, Constant, Op, Variable
from ltensor.ir.types import Type, generic
from ltensor.version import __version__ as __version__

# isort: split
import ltensor.ops.all  # noqa: F401 - declares all operations
from ltensor import gradient, printing, scan_module, tensor
from ltensor.builders import OpFromGraph
from ltensor.compile_modes import (
    FAST_COMPILE,
    FAST_RUN,
    Mode,
    get_default_mode,
    get_mode,
    predefined_modes,
)
from ltensor.compile_ops import as_op
from ltensor.compiled import CompiledFunction as Function
from ltensor.function import function
from ltensor.function_maker import FunctionMaker
from ltensor.gradient import Lop, Rop, grad, hessian, jacobian, subgraph_grad, verify_grad
from ltensor.graph_tools import clone
from ltensor.io import In, Out, Param
from ltensor.printing import pp
from ltensor.profiling import ProfileStats
from ltensor.scan import OrderedUpdates, foldl, foldr, map, reduce, scan
from ltensor.scan.checkpoints import scan_checkpoints
from ltensor.shared import SharedVariable, shared
from ltensor.tensor import dot

# isort: split
from ltensor import theano_names

__all__ = [
    "FAST_COMPILE",
    "FAST_RUN",
    "Apply",
    "Constant",
    "Function",
    "FunctionMaker",
    "In",
    "Lop",
    "Mode",
    "Op",
    "OpFromGraph",
    "OrderedUpdates",
    "Out",
    "Param",
    "ProfileStats",
    "Rop",
    "SharedVariable",
    "Type",
    "Variable",
    "as_op",
    "change_flags",
    "clone",
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
    "hessian",
    "jacobian",
    "map",
    "pp",
    "predefined_modes",
    "printing",
    "reduce",
    "scan",
    "scan_checkpoints",
    "scan_module",
    "shared",
    "subgraph_grad",
    "tensor",
    "verify_grad",
]

theano_names.install()
