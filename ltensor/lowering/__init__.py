"""From a Function to native code: the kernel program, its builder, and the CPU's LLVM IR.

Layer 4. ``program`` is the target-neutral level (explicit loops, buffers, scalar SSA values), made
by the ``builder``. ``whole`` makes it of a Function, by a ``block`` and ``loops`` of scans;
``rewrites`` rearrange it; ``cpu`` renders it for the CPU, ``ltensor.cuda_ptx`` for a GPU.
"""
