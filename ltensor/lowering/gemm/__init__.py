"""Matrix products: own micro-kernels as LLVM IR text, BLAS by address, and the choice between them.

Lowering layer. The rest of the compiler talks to `dispatch` only.
"""
