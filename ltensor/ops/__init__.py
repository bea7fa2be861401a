"""Operations, each declared once: types, shape, NumPy reference, gradient, lowering, tests' domain.

Layer 2. Lowerings are written against the emitter protocol of `ltensor.ops.opdef`; nothing here
knows LLVM, CUDA or the front end.
"""
