"""Descriptions of a function's inputs and outputs: `In`, `Out` and the older `Param`."""

from __future__ import annotations

from typing import Any

from ltensor.ir.graph import Variable


class In:
    """An input of a function with its options.

    Parameters
    ----------
    variable : Variable
    name : str, optional
        The keyword; default the variable's name.
    value : object, optional
        The default value (or a shared container).
    update : Variable, optional
        Expression whose value replaces the default after every call.
    mutable, borrow : bool
        Whether the function may write to the argument. Accepted; arguments are never written.
    strict : bool
        Refuse arguments that would have to be converted.
    allow_downcast : bool or None
        Whether arguments may lose precision.
    """

    def __init__(
        self,
        variable: Variable,
        name: str | None = None,
        value: Any = None,
        update: Any = None,
        mutable: bool | None = None,
        strict: bool = False,
        allow_downcast: bool | None = None,
        autoname: bool = True,
        implicit: bool | None = None,
        borrow: bool | None = None,
        shared: bool = False,
    ) -> None:
        self.variable = variable
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of an input must be a string, not {name!r}")
        self.name = name if name is not None or not autoname else variable.name
        self.value = value
        self.update = None if update is None else variable.type.filter_variable(update)
        self.mutable = bool(mutable)
        self.strict = strict
        self.allow_downcast = allow_downcast
        self.implicit = implicit
        self.borrow = bool(borrow)
        self.shared = shared

    def __str__(self) -> str:
        if self.update is not None:
            return f"In({self.variable} -> {self.update})"
        return f"In({self.variable})"

    __repr__ = __str__


def Param(
    variable: Variable,
    default: Any = None,
    name: str | None = None,
    mutable: bool = False,
    strict: bool = False,
    allow_downcast: bool | None = None,
    implicit: bool | None = None,
    borrow: bool | None = None,
) -> In:
    """Theano's older form of `In`."""
    return In(
        variable,
        name=name,
        value=default,
        mutable=mutable,
        strict=strict,
        allow_downcast=allow_downcast,
        implicit=implicit,
        borrow=borrow,
    )


class Out:
    """An output of a function.

    Parameters
    ----------
    variable : Variable
    borrow : bool
        Whether the result may share memory with internal buffers: a shared variable that the
        function does not update is then returned itself, without a copy. All other results are
        fresh arrays anyhow.
    """

    def __init__(self, variable: Variable, borrow: bool = False) -> None:
        self.variable = variable
        self.borrow = borrow

    def __str__(self) -> str:
        return f"Out({self.variable},{self.borrow})"

    __repr__ = __str__
