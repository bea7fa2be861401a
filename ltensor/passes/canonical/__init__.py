"""Rules of the pass ``canonicalize``, by subject."""
