"""LLVM text written by hand, in which words stand for numbers."""

from __future__ import annotations

from collections.abc import Iterable


def filled(text: str, numbers: Iterable[tuple[str, object]]) -> str:
    """Put numbers for words, in this order: a word that begins others comes after them."""
    for word, number in numbers:
        text = text.replace(word, str(number))
    return text
