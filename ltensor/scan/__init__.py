"""`scan`: loops over time, in Theano's interface, as one `ltensor.ops.scan.Scan` operation.

``arguments`` reads what a call was given, ``step`` what the user's step returned, ``construction``
makes the operation of both. ``ltensor.scan`` is the function, as ``theano.scan`` is.

Source of the behaviour: Theano's documentation of scan and observations of 1.0.5. Where Theano
silently gave wrong results (too few initial rows, gradients through ``until``) this raises or is
right; see docs/theano.md.
"""

from __future__ import annotations

import inspect
from typing import Any

from ltensor.ops.scan import Scan
from ltensor.scan.construction import Construction
from ltensor.scan.step import OrderedUpdates, until

__all__ = ["OrderedUpdates", "Scan", "foldl", "foldr", "map", "reduce", "scan", "until"]


def scan(
    fn: Any,
    sequences: Any = None,
    outputs_info: Any = None,
    non_sequences: Any = None,
    n_steps: Any = None,
    truncate_gradient: int = -1,
    go_backwards: bool = False,
    mode: Any = None,
    name: str | None = None,
    profile: Any = False,
    allow_gc: bool | None = None,
    strict: bool = False,
    return_list: bool = False,
    checkpoint: int | str | None = None,
) -> tuple[Any, OrderedUpdates]:
    """Repeat a step.

    Parameters
    ----------
    fn : callable
        The step. Its arguments: taps of sequences, then taps of outputs, then ``non_sequences``,
        each in the order given; it returns outputs, then updates, then ``until``, each optional.
    sequences : list of Variable or dict(input=..., taps=[...])
        Read row by row along the first axis.
    outputs_info : list
        Per output: None (no previous value), an initial value (tap -1), or
        ``dict(initial=..., taps=[...])``.
    non_sequences : list
        Further arguments, the same in each step.
    n_steps : int or scalar
        The number of steps; the shortest sequence limits it.
    truncate_gradient : int
        Steps that the gradient walks back; -1 for all.
    go_backwards : bool
        Read sequences from their ends.
    strict : bool
        Refuse shared variables that are not among ``non_sequences``.
    return_list : bool
        Return a list even of one output.
    checkpoint : int or 'auto', optional
        The gradient keeps the states of every so many steps only, and computes the steps between
        again; ``'auto'`` takes the square root of their number, which needs the least memory.

    Returns
    -------
    outputs : Variable, list or None
        Row ``t`` of each is the result of step ``t``.
    updates : OrderedUpdates

    Raises
    ------
    ValueError, TypeError, MissingInputError
        As Theano's.
    """
    return Construction(
        fn,
        sequences,
        outputs_info,
        non_sequences,
        n_steps,
        truncate_gradient,
        go_backwards,
        name,
        strict,
        return_list,
        checkpoint,
    ).build()


def _theano_signature() -> inspect.Signature:
    """The parameters that Theano's scan has: programs look at them."""
    whole = inspect.signature(scan)
    return whole.replace(
        parameters=[p for p in whole.parameters.values() if p.name != "checkpoint"]
    )


scan.__signature__ = _theano_signature()  # type: ignore[attr-defined]


def map(
    fn: Any,
    sequences: Any,
    non_sequences: Any = None,
    truncate_gradient: int = -1,
    go_backwards: bool = False,
    mode: Any = None,
    name: str | None = None,
) -> tuple[Any, OrderedUpdates]:
    """``fn`` of every row."""
    return scan(
        fn,
        sequences=sequences,
        outputs_info=[],
        non_sequences=non_sequences,
        truncate_gradient=truncate_gradient,
        go_backwards=go_backwards,
        mode=mode,
        name=name,
    )


def reduce(
    fn: Any,
    sequences: Any,
    outputs_info: Any,
    non_sequences: Any = None,
    go_backwards: bool = False,
    mode: Any = None,
    name: str | None = None,
) -> tuple[Any, OrderedUpdates]:
    """As `scan`, returning the last row only."""
    rows, updates = scan(
        fn,
        sequences=sequences,
        outputs_info=outputs_info,
        non_sequences=non_sequences,
        go_backwards=go_backwards,
        truncate_gradient=-1,
        mode=mode,
        name=name,
    )
    if isinstance(rows, (list, tuple)):
        return [r[-1] for r in rows], updates
    return rows[-1], updates


def foldl(
    fn: Any,
    sequences: Any,
    outputs_info: Any,
    non_sequences: Any = None,
    mode: Any = None,
    name: str | None = None,
) -> tuple[Any, OrderedUpdates]:
    """`reduce` from the first row to the last."""
    return reduce(fn, sequences, outputs_info, non_sequences, False, mode, name)


def foldr(
    fn: Any,
    sequences: Any,
    outputs_info: Any,
    non_sequences: Any = None,
    mode: Any = None,
    name: str | None = None,
) -> tuple[Any, OrderedUpdates]:
    """`reduce` from the last row to the first."""
    return reduce(fn, sequences, outputs_info, non_sequences, True, mode, name)
