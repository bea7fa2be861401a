"""Ops that raise: `Raise` always, `Assert` where a condition is false."""

from __future__ import annotations

from ltensor.ops.control import Assert, Raise, assert_op

__all__ = ["Assert", "Raise", "assert_op"]
