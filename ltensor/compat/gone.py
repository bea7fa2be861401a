"""What of Theano ltensor leaves out, and what to say to a program that asks for it.  Data only."""

from __future__ import annotations

from typing import Final

ABSENT_MODULES: Final[dict[str, str]] = {
    "theano.sparse": "there are no sparse matrices; use dense ones, or scipy.sparse in an Op",
    "theano.d3viz": "use `ltensor dump` or theano.printing.debugprint to look at a graph",
    "theano.gpuarray": "its GPU operations have no counterpart; set config.device to 'cuda'",
    "theano.sandbox.cuda": "its GPU operations have no counterpart; set config.device to 'cuda'",
    "theano.sandbox.gpuarray": "it has no counterpart; set config.device to 'cuda'",
    "theano.typed_list": "there are no symbolic lists; stack tensors, or use theano.scan",
    "theano.sandbox.multinomial": "draw with MRG_RandomStreams.multinomial or choice",
    "theano.tensor.nnet.ctc": "write its forward recursion with scan, in the log domain",
    "theano.gof.cc": "functions are always compiled as a whole, by LLVM",
    "theano.gof.optdb": "see docs/adding_a_pass.md for how to rewrite graphs",
    "theano.misc.pycuda_init": "there is no PyCUDA bridge; set config.device to 'cuda'",
    "theano.misc.pycuda_utils": "there is no PyCUDA bridge; set config.device to 'cuda'",
}
"""Modules, with all below them that the table does not list, and why."""

WHY_ABSENT: Final[dict[str, str]] = {
    "theano.d3viz": ABSENT_MODULES["theano.d3viz"],
    "theano.ProfileMode": "it was gone from Theano 1.0; pass profile=True to function",
    "theano.gof.COp": "operations in C have no place here; write perform with NumPy",
    "theano.gof.OpWiseCLinker": "functions are always compiled as a whole",
    "theano.tensor.iv": "there are i0 and i1",
    "theano.tensor.jv": "there are j0 and j1",
    "theano.tensor.hstack": "use horizontal_stack or concatenate",
    "theano.tensor.concat": "use concatenate",
}
"""Names, and why."""
