"""Benchmarks of ltensor, with its peers side by side: ``python -m benchmarks``."""
