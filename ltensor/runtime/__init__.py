"""What runs when a compiled function is called: native entries, object layouts, callables.

Layer 4, beside ``lowering``, whose ``jit`` it uses; ``lowering`` knows nothing of it.
"""
