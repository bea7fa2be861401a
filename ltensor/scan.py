"""`scan`: loops over time, in Theano's interface, as one `ltensor.ops.scan.Scan` operation.

Source of the behaviour: Theano's documentation of scan and observations of 1.0.5. Where Theano
silently gave wrong results (too few initial rows, gradients through ``until``) this raises or is
right; see docs/theano.md.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.errors import MissingInputError, UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.function import Function
from ltensor.ir.graph import Constant, Variable, inputs_of, substitute
from ltensor.ir.types import TensorType, tensor_type
from ltensor.ops.arithmetic import minimum
from ltensor.ops.cast import cast
from ltensor.ops.scan import Scan
from ltensor.ops.shape import dimshuffle, set_flags, shape_i
from ltensor.ops.warn_steps import WarnSteps
from ltensor.scan_errors import state_dtype_error
from ltensor.shared import SharedVariable

__all__ = ["OrderedUpdates", "Scan", "foldl", "foldr", "map", "reduce", "scan", "until"]


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
    return _Builder(
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


def _listed(value: Any, what: str, strict: bool = False) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return list(value)
    if strict and isinstance(value, Variable):
        # Theano iterates here, which a variable does not allow
        return list(value)  # type: ignore[call-overload]
    return [value]


def _copy_test_value(source: Variable, target: Variable, index: Any) -> None:
    if config.compute_test_value == "off":
        return
    from ltensor.test_value import get_test_value

    try:
        value = get_test_value(source)
    except (AttributeError, ValueError):
        return
    target.tag.test_value = value if index is None else np.asarray(value)[index]


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


class _Output:
    """One entry of outputs_info."""

    def __init__(self, initial: Any, taps: list[int] | None) -> None:
        self.initial = initial
        self.taps = taps

    @property
    def depth(self) -> int:
        """Rows of initial state."""
        assert self.taps is not None
        return -min(self.taps)


class _Builder:
    """One call of `scan`."""

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
    def _output(entry: Any) -> _Output:
        if entry is None:
            return _Output(None, None)
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
                return _Output(None, None)
            if taps is None:
                return _Output(None, None)
            if len(taps) == 0:
                return _Output(None, None)
            if max(taps) > -1:
                raise ValueError("All the tap values must be smaller than 0.", entry)
            return _Output(as_tensor(initial), [int(t) for t in taps])
        return _Output(as_tensor(entry), [-1])

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

    # ------------------------------------------------------------- the whole

    def build(self) -> tuple[Any, OrderedUpdates]:
        """Call the step once, make the operation."""
        arrays, lengths = self._slices()
        once = isinstance(self.n_steps, (int, np.integer)) and int(self.n_steps) == 1
        if once:
            return self._single(arrays)
        rows: list[Variable] = []
        for array in arrays:
            kind: Any = array.type
            row = tensor_type(kind.dtype, kind.shape[1:]).make_variable(
                None if array.name is None else f"{array.name}[t]"
            )
            _copy_test_value(array, row, 0)
            rows.append(row)
        taps: list[list[Variable]] = []
        inits: list[Variable | None] = []
        for number, output in enumerate(self.outputs):
            variables, init = self._taps(number, output)
            taps.append(variables)
            inits.append(init)
        arguments = [*rows, *[v for slot in taps for v in slot], *self.non_sequences]
        step = _Step(self.fn(*arguments))
        if not self.outputs:
            self.outputs = [_Output(None, None) for _ in step.outputs]
            taps = [[] for _ in step.outputs]
            inits = [None] * len(step.outputs)
        if len(self.outputs) != len(step.outputs):
            raise ValueError(
                "Please provide None as outputs_info for any output that does not feed back into "
                "scan (i.e. it behaves like a map) "
            )
        return self._assemble(arrays, lengths, rows, taps, inits, step)

    def _taps(self, number: int, output: _Output) -> tuple[list[Variable], Variable | None]:
        if output.taps is None:
            return [], None
        initial = output.initial
        variables = []
        if output.taps == [-1]:
            init = dimshuffle(initial, ("x", *range(initial.type.ndim)))
            init = set_flags(init, (False, *initial.type.broadcastable))
            row = initial.type
        else:
            if initial.type.ndim == 0:
                raise IndexError("the initial state of several taps needs a first axis")
            init = initial[: output.depth]
            row = tensor_type(initial.type.dtype, initial.type.shape[1:])
        for tap in output.taps:
            name = None if initial.name is None else f"{initial.name}[t{tap}]"
            variable = tensor_type(row.dtype, row.shape).make_variable(name)
            index = None if output.taps == [-1] else output.depth + tap
            _copy_test_value(initial, variable, index)
            variables.append(variable)
        del number
        return variables, init

    def _single(self, arrays: list[Variable]) -> tuple[Any, OrderedUpdates]:
        """One step, written out."""
        arguments: list[Variable] = [a[0] for a in arrays]
        for output in self.outputs:
            if output.taps == [-1]:
                arguments.append(output.initial)
            elif output.taps is not None:
                arguments += [output.initial[output.depth + tap] for tap in output.taps]
        step = _Step(self.fn(*arguments, *self.non_sequences))
        results = []
        for value in step.outputs:
            # nothing is fed back, so that the dtype of the initial state does not matter
            row = dimshuffle(value, ("x", *range(value.type.ndim)))
            results.append(set_flags(row, (False, *value.type.broadcastable)))
        updates = OrderedUpdates()
        for key, value in step.updates.items():
            updates[key] = value
        # a draw outside the loop that the step uses advances as if it were inside
        for variable in inputs_of(step.outputs):
            default = getattr(variable, "default_update", None)
            if (
                isinstance(variable, SharedVariable)
                and default is not None
                and variable not in updates
            ):
                updates[variable] = default
        return self._present(results), updates

    def _present(self, results: list[Variable]) -> Any:
        if self.return_list:
            return results
        if len(results) == 1:
            return results[0]
        return results if results else None

    # ------------------------------------------------------------- making the operation

    def _assemble(
        self,
        arrays: list[Variable],
        lengths: list[Variable],
        rows: list[Variable],
        taps: list[list[Variable]],
        inits: list[Variable | None],
        step: _Step,
    ) -> tuple[Any, OrderedUpdates]:
        self._fit_states(rows, taps, inits, step)
        updates = self._updates(step, [*rows, *[v for slot in taps for v in slot]])
        shared = list(updates)
        # shared variables that are updated become carries
        carry_args = [v.type.make_variable(v.name) for v in shared]
        tap_slots = [k for k, o in enumerate(self.outputs) if o.taps is not None]
        out_slots = [k for k, o in enumerate(self.outputs) if o.taps is None]
        body_outputs: list[Variable] = [step.outputs[k] for k in tap_slots]
        body_outputs += [updates[v] for v in shared]
        body_outputs += [step.outputs[k] for k in out_slots]
        if step.condition is not None:
            body_outputs.append(step.condition)
        body_outputs = substitute(body_outputs, dict(zip(shared, carry_args, strict=True)))
        inner = {*rows, *carry_args, *[v for slot in taps for v in slot]}
        explicit = [
            v for v in self.non_sequences if not isinstance(v, Constant) and v not in shared
        ]
        explicit = list(dict.fromkeys(explicit))
        found = [
            v
            for v in inputs_of(body_outputs, blockers=explicit)
            if v not in inner and not isinstance(v, Constant)
        ]
        if self.strict:
            for v in found:
                if isinstance(v, SharedVariable) and v not in explicit:
                    raise MissingInputError(f"ScanOp is missing an input: {v}")
        # Those that the step does not use stay as well: they count as used by the function, and
        # simplification drops them.
        refs = list(dict.fromkeys([*explicit, *found]))
        ref_args = [v.type.make_variable(v.name) for v in refs]
        for outer, argument in zip(refs, ref_args, strict=True):
            _copy_test_value(outer, argument, None)
        body_outputs = substitute(body_outputs, dict(zip(refs, ref_args, strict=True)))
        body_inputs = [
            *rows,
            *[v for k in tap_slots for v in taps[k]],
            *carry_args,
            *ref_args,
        ]
        op = Scan(
            Function(body_inputs, body_outputs, self.name),
            n_seqs=len(rows),
            lags=[[-t for t in self.outputs[k].taps or ()] for k in tap_slots],
            n_carries=len(shared),
            n_outs=len(out_slots),
            has_stop=step.condition is not None,
            truncate=-1 if self.truncate is None else int(self.truncate),
            name=self.name,
        )
        if self.checkpoint is not None and step.condition is not None:
            raise UnsupportedError(
                f"scan {self.name}: checkpoint needs a number of steps that is known before the "
                "loop, which until has not. Leave checkpoint out; the gradient of until keeps all "
                "states."
            )
        op.checkpoint = self.checkpoint
        results = op(
            self._count(lengths),
            *arrays,
            *[inits[k] for k in tap_slots],
            *shared,
            *refs,
            return_list=True,
        )
        n_taps, n_shared = len(tap_slots), len(shared)
        table: dict[int, Variable] = dict(zip(tap_slots, results[:n_taps], strict=True))
        outs = results[n_taps + n_shared : n_taps + n_shared + len(out_slots)]
        table.update(zip(out_slots, outs, strict=True))
        final = OrderedUpdates()
        for variable, value in zip(shared, results[n_taps : n_taps + n_shared], strict=True):
            final[variable] = value
        ordered = [table[k] for k in range(len(self.outputs))]
        return self._present(ordered), final

    def _updates(self, step: _Step, inner: Sequence[Variable]) -> dict[SharedVariable, Variable]:
        """Updates of the step, and default updates of shared variables that it reads."""
        updates: dict[SharedVariable, Variable] = {}
        for key, value in step.updates.items():
            if not isinstance(key, SharedVariable):
                raise TypeError("update target must be a SharedVariable", key)
            from ltensor.function import _fit_update

            updates[key] = _fit_update(key, value)
        blockers = [*inner, *self.non_sequences]
        while True:
            start = [*step.outputs, *updates.values()]
            if step.condition is not None:
                start.append(step.condition)
            fresh = [
                v
                for v in inputs_of(start, blockers=blockers)
                if isinstance(v, SharedVariable)
                and v.default_update is not None
                and v not in updates
                and v not in self.non_sequences
            ]
            if not fresh:
                return updates
            for v in fresh:
                updates[v] = v.default_update

    def _fit_states(
        self,
        rows: list[Variable],
        taps: list[list[Variable]],
        inits: list[Variable | None],
        step: _Step,
    ) -> None:
        """States must keep dtype and rank; flags that a step loses are lost from the start."""
        for number, (output, value) in enumerate(zip(self.outputs, step.outputs, strict=True)):
            if output.taps is None:
                continue
            init = inits[number]
            assert init is not None
            argument = len(rows) + sum(len(t) for t in taps[:number])
            if value.type.dtype != init.type.dtype:
                name = self._state_name(number)
                raise state_dtype_error(argument, name, init.type.dtype, value, taps[number])
            if value.type.ndim != init.type.ndim - 1:
                raise ValueError(
                    "When compiling the inner function of scan (the function called by scan in "
                    "each of its iterations) the following error has been encountered: The initial "
                    "state (`outputs_info` in scan nomenclature) of variable "
                    f"IncSubtensor{{Set;:int64:}}.0 (argument number {argument}) has "
                    f"{init.type.ndim} dimension(s), while the corresponding variable in the "
                    f"result of the inner function of scan (`fn`) has {value.type.ndim} "
                    "dimension(s) (it should be one less than the initial state). For example, if "
                    "the inner function of scan returns a vector of size d and scan uses the "
                    "values of the previous time-step, then the initial state in scan should be a "
                    "matrix of shape (1, d). The first dimension of this matrix corresponds to the "
                    "number of previous time-steps that scan uses in each of its iterations. In "
                    "order to solve this issue if the two variable currently have the same "
                    "dimensionality, you can increase the dimensionality of the variable in the "
                    "initial state of scan by using dimshuffle or shape_padleft. "
                )
            have, want = init.type.broadcastable[1:], value.type.broadcastable
            if have == want:
                continue
            if all(h or not w for h, w in zip(have, want, strict=True)):
                # a flag of the initial state that the result does not have: forget it
                self._forget_flags(number, taps, inits, want, step)
            else:
                step.outputs[number] = set_flags(value, have)

    def _state_name(self, number: int) -> str:
        """What an error calls a state."""
        name = self.outputs[number].initial.name
        return f"outputs_info[{number}]" if name is None else f"{name} (outputs_info[{number}])"

    def _forget_flags(
        self,
        number: int,
        taps: list[list[Variable]],
        inits: list[Variable | None],
        flags: Sequence[bool],
        step: _Step,
    ) -> None:
        init = inits[number]
        assert init is not None
        inits[number] = set_flags(init, (False, *flags))
        fresh: list[Variable] = []
        replacements: dict[Variable, Variable] = {}
        for variable in taps[number]:
            kind: Any = variable.type
            new = TensorType(kind.dtype, tuple(flags)).make_variable(variable.name)
            fresh.append(new)
            replacements[variable] = set_flags(new, kind.broadcastable)
        taps[number] = fresh
        step.outputs[:] = substitute(step.outputs, replacements)
        for key in list(step.updates):
            step.updates[key] = substitute([step.updates[key]], replacements)[0]
        if step.condition is not None:
            step.condition = substitute([step.condition], replacements)[0]


class _Step:
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


# --------------------------------------------------------------------------------- views


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
