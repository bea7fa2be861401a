"""Named transformations of Functions. Layer 3; one pass per file, see docs/adding_a_pass.md."""
