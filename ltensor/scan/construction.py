"""One call of `scan`: the step is called once, and the operation made of what it returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.errors import MissingInputError, UnsupportedError
from ltensor.function_request import fit_update
from ltensor.ir.function import Function
from ltensor.ir.graph import Constant, Variable
from ltensor.ir.types import TensorType, tensor_type
from ltensor.ir.walks import inputs_of, substitute
from ltensor.ops.scan import Scan
from ltensor.ops.shape import dimshuffle, set_flags
from ltensor.scan.arguments import Arguments, Output
from ltensor.scan.errors import state_dtype_error, state_rank_error
from ltensor.scan.step import OrderedUpdates, Step
from ltensor.shared import SharedVariable

__all__ = ["Construction"]


def _copy_test_value(source: Variable, target: Variable, index: Any) -> None:
    if config.compute_test_value == "off":
        return
    from ltensor.test_value import get_test_value

    try:
        value = get_test_value(source)
    except (AttributeError, ValueError):
        return
    target.tag.test_value = value if index is None else np.asarray(value)[index]


class Construction(Arguments):
    """Makes the operation."""

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
        step = Step(self.fn(*arguments))
        if not self.outputs:
            self.outputs = [Output(None, None) for _ in step.outputs]
            taps = [[] for _ in step.outputs]
            inits = [None] * len(step.outputs)
        if len(self.outputs) != len(step.outputs):
            raise ValueError(
                "Please provide None as outputs_info for any output that does not feed back into "
                "scan (i.e. it behaves like a map) "
            )
        return self._assemble(arrays, lengths, rows, taps, inits, step)

    def _taps(self, number: int, output: Output) -> tuple[list[Variable], Variable | None]:
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
        step = Step(self.fn(*arguments, *self.non_sequences))
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
        step: Step,
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

    def _updates(self, step: Step, inner: Sequence[Variable]) -> dict[SharedVariable, Variable]:
        """Updates of the step, and default updates of shared variables that it reads."""
        updates: dict[SharedVariable, Variable] = {}
        for key, value in step.updates.items():
            if not isinstance(key, SharedVariable):
                raise TypeError("update target must be a SharedVariable", key)
            updates[key] = fit_update(key, value)
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
        step: Step,
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
                raise state_rank_error(argument, init.type.ndim, value.type.ndim)
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
        step: Step,
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
