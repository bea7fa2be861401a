"""The CPU's side: LLVM IR of a kernel program, machine code, the object cache, threads, memory."""
