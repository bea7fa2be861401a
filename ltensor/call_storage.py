"""Calls in Theano's own steps: arguments are put into storage, ``f.fn()`` runs, results are read.

Programs that call a small function very often do so to pass by Theano's conversion of arguments::

    f.input_storage[0].storage[0] = x
    f.fn()
    y = f.output_storage[0].data

Here ``f(x)`` is the shorter way, and `Core` takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltensor.ir.types import Type

if TYPE_CHECKING:
    from ltensor.compiled import CompiledFunction
    from ltensor.shared import Container


class Slot:
    """The place of an argument or of a result.

    Attributes
    ----------
    type : Type
    name : str or None
    storage : list
        One element, the value; None before there is one.
    """

    def __init__(self, kind: Type, name: str | None = None) -> None:
        self.type = kind
        self.name = name
        self.storage: list[Any] = [None]

    @property
    def data(self) -> Any:
        """The value; assigning filters."""
        return self.storage[0]

    @data.setter
    def data(self, value: Any) -> None:
        self.storage[0] = None if value is None else self.type.filter(value)

    value = data

    def __repr__(self) -> str:
        return f"<{self.storage[0]!r}>"


class Core:
    """``f.fn``: runs a function on what lies in its storage.

    Attributes
    ----------
    input_storage : list of Slot or Container
        Arguments, then shared variables.
    output_storage : list of Slot
    """

    def __init__(self, owner: CompiledFunction) -> None:
        self._owner = owner
        self.arguments: list[Slot | Container] = [
            Slot(spec.variable.type, spec.name) if default is None else default
            for spec, default in zip(owner.maker.specs, owner.defaults, strict=True)
        ]
        shared = [variable.container for variable in owner.maker.request.shared]
        self.input_storage = [*self.arguments, *shared]
        self.output_storage = [Slot(out.variable.type) for out in owner.outputs]

    def __call__(self, n_calls: int = 1) -> None:
        """Run `n_calls` times in a row; the last results are kept.

        Raises
        ------
        TypeError
            If an argument has no value.
        """
        values = [place.storage[0] for place in self.arguments]
        for place, value in zip(self.arguments, values, strict=True):
            if value is None and isinstance(place, Slot):
                raise TypeError(f"Missing required input: {place.name or place.type}")
        for _ in range(n_calls):
            self._store(self._owner(*values))

    def _store(self, results: Any) -> None:
        """Put what a call returned into the storage."""
        owner = self._owner
        if owner.unpack_single:
            results = [results]
        elif owner.output_keys is not None:
            results = [results[key] for key in owner.output_keys]
        for slot, value in zip(self.output_storage, results, strict=True):
            slot.storage[0] = value
