"""What the user's step returned: outputs, updates of shared variables, a condition to end at."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Variable
from ltensor.shared import SharedVariable

__all__ = ["OrderedUpdates", "Step", "until"]


class OrderedUpdates(OrderedDict):
    """Updates of shared variables, in order (Theano's class)."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, SharedVariable):
            raise TypeError("OrderedUpdates keys must inherit from SharedVariable", key)
        super().__setitem__(key, key.filter_update(value))

    def update(self, other: Any = None, **_: Any) -> None:  # type: ignore[override]
        """Join; a variable with two different updates is an error."""
        for key, value in dict(other or {}).items():
            if key in self and self[key] is not value:
                raise KeyError("Collision", key)
            self[key] = value

    def __add__(self, other: Any) -> OrderedUpdates:
        joined = OrderedUpdates()
        joined.update(self)
        joined.update(other)
        return joined


class until:
    """The loop ends after the first step for which ``condition`` is true."""

    def __init__(self, condition: Any) -> None:
        self.condition = as_tensor(condition)
        if self.condition.type.ndim != 0:
            raise TypeError("until expects a scalar condition")


class Step:
    """What a step returned: outputs, updates, condition."""

    def __init__(self, returned: Any) -> None:
        self.outputs: list[Variable] = []
        self.updates: dict[Any, Any] = {}
        self.condition: Variable | None = None
        if isinstance(returned, until):
            self.condition = returned.condition
        elif returned is None:
            raise ValueError(_RESTRICTED)
        elif isinstance(returned, dict) or _is_updates(returned):
            self.updates = dict(returned)
        elif isinstance(returned, (list, tuple)):
            self._read(list(returned))
        else:
            self.outputs = [_output(returned)]
        self.updates = dict(self.updates)

    def _read(self, parts: list[Any]) -> None:
        if parts and isinstance(parts[-1], until):
            self.condition = parts.pop().condition
        if len(parts) >= 1 and (isinstance(parts[-1], dict) or _is_updates(parts[-1])):
            self.updates = dict(parts.pop())
        if any(isinstance(p, (until, dict)) or _is_updates(p) for p in parts):
            raise ValueError(
                "The return value of the lambda function has been restricted. you have to always "
                "return first the outputs (if any), afterwards the updates (if any) and at the end "
                "the conclusion"
            )
        for part in parts:
            if isinstance(part, (list, tuple)):
                self.outputs += [_output(p) for p in part]
            else:
                self.outputs.append(_output(part))


_RESTRICTED = (
    "The return value of your scan lambda expression may only be made of lists, tuples, or "
    "dictionaries containing Theano variables (or `theano.scan_module.until` objects for "
    "conditions). In particular if you need to use constant values, you can use "
    "`tensor.constant` to turn them into Theano variables."
)


def _is_updates(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(
            isinstance(pair, (list, tuple))
            and len(pair) == 2
            and isinstance(pair[0], SharedVariable)
            for pair in value
        )
    )


def _output(value: Any) -> Variable:
    if not isinstance(value, Variable):
        raise ValueError(_RESTRICTED)
    return value
