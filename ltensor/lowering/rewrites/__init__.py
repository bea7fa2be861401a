"""Finished kernel programs rearranged for a CPU: blocks of rows, shared memory, threads."""
