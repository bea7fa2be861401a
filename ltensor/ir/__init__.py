"""The typed SSA graph: types, variables, operations, functions with regions, and their text.

Layer 1. Knows nothing of particular operations, of gradients or of targets.
"""
