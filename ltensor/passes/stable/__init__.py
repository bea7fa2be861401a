"""Rules of the pass ``stabilize``, by subject."""
