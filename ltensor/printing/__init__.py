"""Printing graphs (`pp`, `debugprint`, `pydotprint`) and values while a function runs (`Print`)."""

from __future__ import annotations

from ltensor.ops.control import Print
from ltensor.printing.brief import _TagGenerator, min_informative_str, var_descriptor
from ltensor.printing.dot import pydotprint
from ltensor.printing.expression import (
    DefaultPrinter,
    FunctionPrinter,
    IgnorePrinter,
    LeafPrinter,
    MemberPrinter,
    OperatorPrinter,
    PatternPrinter,
    PPrinter,
    PrinterState,
    default_printer,
    leaf_printer,
    pp,
    pprint,
)
from ltensor.printing.tree import debugprint

__all__ = [
    "DefaultPrinter",
    "FunctionPrinter",
    "IgnorePrinter",
    "LeafPrinter",
    "MemberPrinter",
    "OperatorPrinter",
    "PPrinter",
    "PatternPrinter",
    "Print",
    "PrinterState",
    "_TagGenerator",
    "debugprint",
    "default_printer",
    "leaf_printer",
    "min_informative_str",
    "pp",
    "pprint",
    "pydotprint",
    "var_descriptor",
]
