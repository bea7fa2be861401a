"""Imports every pass, so that it registers. A new pass is one line here."""

from ltensor.passes import (  # noqa: F401
    canonicalize,
    cse,
    fills,
    fold_constants,
    inline_graphs,
    lazy_branches,
    scan_accumulate,
    scan_checkpoint,
    scan_constant_slots,
    scan_equal_slots,
    scan_history,
    scan_hoist,
    scan_merge,
    scan_outer_products,
    scan_prune,
    scan_sequence_products,
    scan_siblings,
    scan_vectorize,
    shapes,
    stabilize,
)
