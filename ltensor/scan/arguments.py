"""Reading the arguments of `scan`: sequences, initial states, the number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Variable
from ltensor.ops.arithmetic import minimum
from ltensor.ops.cast import cast
from ltensor.ops.shape import shape_i
from ltensor.ops.warn_steps import WarnSteps

__all__ = ["Arguments", "Output", "check_checkpoint"]


def _listed(value: Any, what: str, strict: bool = False) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return list(value)
    if strict and isinstance(value, Variable):
        # Theano iterates here, which a variable does not allow
        return list(value)  # type: ignore[call-overload]
    return [value]


def check_checkpoint(value: Any) -> int | str | None:
    """``checkpoint`` as it may be.

    Raises
    ------
    ValueError
        If it is none of None, 'auto' and a positive number.
    """
    if value is None or value == "auto":
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) > 0:
        return int(value)
    raise ValueError(f"checkpoint is None, 'auto' or a positive number of steps, not {value!r}")


class Output:
    """One entry of outputs_info."""

    def __init__(self, initial: Any, taps: list[int] | None) -> None:
        self.initial = initial
        self.taps = taps

    @property
    def depth(self) -> int:
        """Rows of initial state."""
        assert self.taps is not None
        return -min(self.taps)


class Arguments:
    """What one call of `scan` was given, checked."""

    def __init__(
        self,
        fn: Any,
        sequences: Any,
        outputs_info: Any,
        non_sequences: Any,
        n_steps: Any,
        truncate: int,
        go_backwards: bool,
        name: str | None,
        strict: bool,
        return_list: bool,
        checkpoint: int | str | None,
    ) -> None:
        self.fn = fn
        self.checkpoint = check_checkpoint(checkpoint)
        self.n_steps = n_steps
        self.truncate = truncate
        self.go_backwards = go_backwards
        self.name = name or "scan_fn"
        self.strict = strict
        self.return_list = return_list
        self.non_sequences = [
            v if isinstance(v, Variable) else as_tensor(v)
            for v in _listed(non_sequences, "non_sequences", strict)
        ]
        self.sequences = [self._sequence(s) for s in _listed(sequences, "sequences")]
        self.outputs = [self._output(o) for o in _listed(outputs_info, "outputs_info")]
        self._check_steps()

    # ------------------------------------------------------------- reading arguments

    @staticmethod
    def _sequence(entry: Any) -> tuple[Variable, list[int]]:
        taps: Any = [0]
        if isinstance(entry, dict):
            if entry.get("input") is None:
                raise ValueError("sequences given as dicts need an 'input'", entry)
            taps = entry.get("taps", [0])
            taps = [0] if taps is None else taps
            entry = entry["input"]
        if isinstance(taps, (int, np.integer)):
            taps = [int(taps)]
        if not hasattr(entry, "type") and isinstance(entry, (list, tuple)):
            raise AttributeError(
                f"'{type(entry).__name__}' object has no attribute 'type': "
                "sequences must be variables or arrays"
            )
        variable = as_tensor(entry)
        if variable.type.ndim == 0:
            raise IndexError("too many indices for array: a sequence needs at least one dimension")
        return variable, [int(t) for t in taps]

    @staticmethod
    def _output(entry: Any) -> Output:
        if entry is None:
            return Output(None, None)
        if isinstance(entry, dict):
            known = {"initial", "taps", "return_steps", "inplace", "store_steps", "membuf"}
            if not set(entry) <= known:
                raise ValueError(f"unknown keys in outputs_info: {sorted(set(entry) - known)}")
            initial, taps = entry.get("initial"), entry.get("taps", [-1])
            if initial is None:
                if entry.get("taps") is not None:
                    raise ValueError(
                        "If you are using slices of an output you need to provide a initial state "
                        "for it",
                        entry,
                    )
                return Output(None, None)
            if taps is None:
                return Output(None, None)
            if len(taps) == 0:
                return Output(None, None)
            if max(taps) > -1:
                raise ValueError("All the tap values must be smaller than 0.", entry)
            return Output(as_tensor(initial), [int(t) for t in taps])
        return Output(as_tensor(entry), [-1])

    def _check_steps(self) -> None:
        n = self.n_steps
        if n is None:
            if not self.sequences:
                raise ValueError(
                    "No information about the number of steps provided. Either provide a value for "
                    "n_steps argument of scan or provide an input sequence"
                )
            return
        if isinstance(n, (int, np.integer)) and not isinstance(n, bool):
            if int(n) < 0:
                raise ValueError(f"n_steps must not be negative: {int(n)}")
            return
        n = as_tensor(n)
        if not dt.is_integer(n.type.dtype):
            raise ValueError(f" n_steps must be an int. dtype provided is {n.type.dtype}")
        self.n_steps = n if n.type.ndim == 0 else n[0]

    # ------------------------------------------------------------- sequences

    def _slices(self) -> tuple[list[Variable], list[Variable]]:
        """Arrays whose row t the step reads, tap by tap, and their lengths."""
        arrays: list[Variable] = []
        lengths: list[Variable] = []
        for variable, taps in self.sequences:
            high, low = max(0, *taps), min(0, *taps)
            length = shape_i(variable, 0)
            if high != low:
                length = length - (high - low)
            lengths.append(length)
            for tap in taps:
                start, end = tap - low, high - tap
                if start == 0 and end == 0:
                    array = variable
                elif end == 0:
                    array = variable[start:]
                else:
                    array = variable[start:-end]
                if self.go_backwards:
                    array = array[::-1]
                arrays.append(array)
        return arrays, lengths

    def _count(self, lengths: Sequence[Variable]) -> Variable:
        shortest: Variable | None = None
        for length in lengths:
            shortest = length if shortest is None else minimum(shortest, length)
        if self.n_steps is None:
            assert shortest is not None  # checked before
            return shortest
        n = self.n_steps
        n = constant(int(n), dtype="int64") if not isinstance(n, Variable) else cast(n, "int64")
        if shortest is None:
            return n
        if config.scan.warn_short:
            n = WarnSteps(self.name)(n, shortest)
        return minimum(n, shortest)
