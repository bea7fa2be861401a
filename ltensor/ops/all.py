"""Imports every module of operations, so that all are declared."""

from ltensor.ops import (  # noqa: F401
    advanced,
    alloc,
    arithmetic,
    bits,
    cast,
    compare,
    ifelse,
    indexing,
    linalg,
    mrg,
    permute,
    philox,
    random,
    reduce,
    shape,
    subtensor,
    transcendental,
)
