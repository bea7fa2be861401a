"""What the tests of updates share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ltensor as theano
import ltensor.tensor as T
from ltensor.ir.graph import Apply

LARGE = 40_000  # elements of a value that is exchanged rather than copied


def ways(f: Any) -> list[str]:
    return [u.way for u in f.explain().updates]


def address(s: Any) -> int:
    return int(s.get_value(borrow=True).ctypes.data)


class Raises(theano.Op):
    """Hands its operand on until it is told to fail; may do something besides."""

    __props__ = ()
    action: Callable[[], Any] = staticmethod(lambda: None)

    def make_node(self, value: Any) -> Any:
        value = T.as_tensor_variable(value)
        return Apply(self, [value], [value.type()])

    def perform(self, node: Any, inputs: Any, output_storage: Any) -> None:
        self.action()
        output_storage[0][0] = inputs[0].copy()

    def infer_shape(self, node: Any, shapes: Any) -> Any:
        return shapes
