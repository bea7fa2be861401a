"""Slot numbers of a call frame, for lowering a Function without the run time's entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ltensor.ir.function import Function
from ltensor.ir.types import TensorType
from ltensor.lowering.whole import Signature


@dataclass(frozen=True)
class PlainFrame:
    """Word 0 is the error record; then per input its data and sizes; then per output two words.

    Examples
    --------
    >>> frame = PlainFrame((2, 0), 1)
    >>> frame.input_data(1), frame.input_dim(0, 1), frame.output_object(0), frame.size
    (4, 3, 5, 7)
    """

    input_ndims: tuple[int, ...]
    n_outputs: int

    def input_data(self, number: int) -> int:
        """The word with the address of an input's data."""
        return 1 + sum(1 + n for n in self.input_ndims[:number])

    def input_dim(self, number: int, axis: int) -> int:
        """The word with one size of an input."""
        return self.input_data(number) + 1 + axis

    def output_object(self, number: int) -> int:
        """The word that says which array an output is."""
        return 1 + sum(1 + n for n in self.input_ndims) + 2 * number

    @property
    def size(self) -> int:
        """Words of the frame."""
        return self.output_object(self.n_outputs)


def plain_signature(function: Function) -> tuple[Signature, PlainFrame]:
    """How a Function meets the outside when nobody says: tensors by call, all else in cells.

    Inputs that are no tensors (random states) count as shared variables, and outputs of such types
    as their new values, in order.
    """

    def leading(variables: Sequence[object]) -> int:
        count = 0
        for variable in variables:
            if not isinstance(getattr(variable, "type", None), TensorType):
                break
            count += 1
        return count

    n_arguments, n_results = leading(function.inputs), leading(function.outputs)
    cells = [
        k for k, v in enumerate(function.inputs[n_arguments:]) if not isinstance(v.type, TensorType)
    ]
    updated = cells[: len(function.outputs) - n_results]
    signature = Signature(n_arguments, n_results, updated)
    ndims = tuple(v.type.ndim for v in function.inputs[:n_arguments])
    return signature, PlainFrame(ndims, n_results)
