"""The gradient of a scan: a scan that runs backwards.

The body is differentiated once. A tap with lag k has an adjoint that is again a tap with lag k;
carries and refs have adjoints that are carries (refs' accumulate). Of the forward values that the
backward body reads

* rows of sequences, taps, new rows, outs and refs are at hand (their traces are read backwards),
* what follows from these by pointwise operations is computed again,
* everything else (products, draws, nested loops, values that depend on carries) is kept: the
  forward loop gets further outs. The pass ``scan_merge`` makes it one loop with the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import constant, constant_value
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import DisconnectedType, TensorType, disconnected_type, tensor_type
from ltensor.ir.walks import substitute
from ltensor.ops.alloc import alloc, zeros_like
from ltensor.ops.arithmetic import add, minimum, sub, switch
from ltensor.ops.cast import cast
from ltensor.ops.compare import eq
from ltensor.ops.differentiate import pullback
from ltensor.ops.indexing import inc_subtensor
from ltensor.ops.join import concatenate
from ltensor.ops.keep_or_recompute import forward_values
from ltensor.ops.last_row import split_last_row
from ltensor.ops.scan import Scan
from ltensor.ops.scan_blocks import windows
from ltensor.ops.scan_checkpoint import checkpointed_pullback, given_size, size_within_budget
from ltensor.ops.scan_sizes import use_known_shapes
from ltensor.ops.scan_undefined import mark_undefined, split_undefined
from ltensor.ops.shape import dims_of, restore_flags, shape_i


def _connected(g: Any) -> bool:
    return isinstance(g, Variable) and not isinstance(g.type, DisconnectedType)


def _is_float(variable: Variable) -> bool:
    return isinstance(variable.type, TensorType) and not dt.is_discrete(variable.type.dtype)


def _with_dtype(variable: Variable, dtype: str) -> Variable:
    return variable if variable.type.dtype == dtype else cast(variable, dtype)


def _like(variable: Variable, dtype: str, name: str) -> Variable:
    kind: Any = variable.type
    return tensor_type(dtype, kind.shape).make_variable(name)


class _Backward:
    """Builds the backward scan of one node."""

    def __init__(
        self,
        op: Scan,
        inputs: Sequence[Variable],
        outputs: Sequence[Variable],
        grads: Sequence[Any],
    ) -> None:
        self.op = op
        self.n, self.seqs, self.inits, self.carries, self.refs = op.split(inputs)
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        a, b = op.n_taps, op.n_taps + op.n_carries
        self.tap_grads = list(grads[:a])
        self.carry_grads = list(grads[a:b])
        self.out_grads = list(grads[b : b + op.n_outs])
        #: traces of the forward loop that the backward one reads
        self.read_traces: list[Variable] = []
        #: forward values computed again: name, op, source
        self.again: list[tuple[str | None, Any, Any]] = []
        #: by slot, the part of its gradient that belongs to the last row alone
        self.last_grads: dict[int, Variable] = {}
        #: by slot, its initial rows and its trace in one array
        self.histories: dict[int, Variable] = {}
        self.traces = list(outputs[:a])
        self.out_traces = list(outputs[b : b + op.n_outs])
        steps = outputs[-1] if op.has_stop else cast(self.n, "int64")
        self.steps = steps
        self.walked = steps
        if op.truncate >= 0:
            self.walked = minimum(steps, constant(op.truncate, dtype="int64"))

    # ------------------------------------------------------------- pieces

    def backwards(self, trace: Variable) -> Variable:
        """Rows of a forward array in the order of the backward loop."""
        return trace[::-1]

    def forward_rows(self, array: Variable) -> Variable:
        """The first ``steps`` rows of a sequence (it may be longer than the loop)."""
        return array[: self.steps]

    def lagged(self, slot: int, lag: int) -> Variable:
        """``y[t - lag]`` for every step, out of the initial rows and the trace in one array."""
        depth = self.op.depth(slot)
        whole = self.histories.get(slot)
        if whole is None:
            first = self.inits[slot][:depth]
            whole = self.histories[slot] = concatenate([first, self.traces[slot]], axis=0)
        start = constant(depth - lag, dtype="int64")
        return whole[depth - lag : add(start, self.steps)]

    # ------------------------------------------------------------- the loop

    def build(self) -> list[Any]:
        """Gradients with respect to the node's inputs."""
        op = self.op
        inner_taps, inner_carries = op.inner_taps(), op.inner_carries()
        rows, news, outs = op.inner_rows(), op.inner_news(), op.inner_outs()
        # cotangents of the body's outputs, as inputs of the backward body
        adjoint_types = self._adjoint_dtypes()
        starts: list[Variable] = []
        cotangents: list[Variable] = []
        seq_args: list[Variable] = []
        seq_values: list[Variable] = []
        states: list[tuple[int, int, Variable]] = []  # slot, lag, body variable
        for slot, row in enumerate(rows):
            if not _is_float(row):
                continue
            dtype = adjoint_types[slot]
            terms: list[Variable] = []
            g, last = split_last_row(self.tap_grads[slot])
            if last is not None:
                self.last_grads[slot] = _with_dtype(last, dtype)
            if _connected(g):
                variable = _like(row, dtype, f"g{slot}")
                seq_args.append(variable)
                seq_values.append(self.backwards(_with_dtype(g, dtype)))
                terms.append(variable)
            for lag in op.lags[slot]:
                variable = _like(row, dtype, f"adjoint{slot}_{lag}")
                states.append((slot, lag, variable))
                terms.append(variable)
            starts.append(row)
            cotangents.append(terms[0] if len(terms) == 1 else add(*terms))
        for number, out in enumerate(outs):
            g = self.out_grads[number]
            if _is_float(out) and _connected(g):
                variable = _like(out, g.type.dtype, f"gout{number}")
                seq_args.append(variable)
                seq_values.append(self.backwards(g))
                starts.append(out)
                cotangents.append(variable)
        moving: list[tuple[int, Variable]] = []
        for number, new in enumerate(news):
            if _is_float(new):
                g = self.carry_grads[number]
                dtype = g.type.dtype if _connected(g) else new.type.dtype
                variable = _like(new, dt.upcast(dtype, new.type.dtype), f"gcarry{number}")
                moving.append((number, variable))
                starts.append(new)
                cotangents.append(variable)
        wrt_seqs = [v for v in op.inner_seqs() if _is_float(v)]
        # of arrays that each step reads a part of its own of, the parts are differentiated
        self.windows = {v: w for v, w in windows(op, self.seqs).items() if _is_float(v)}
        parts = [node.outputs[0] for w in self.windows.values() for node in w.nodes]
        wrt_refs = [v for v in op.inner_refs() if _is_float(v) and v not in self.windows]
        wrt_taps = [v for slot, row in enumerate(rows) if _is_float(row) for v in inner_taps[slot]]
        wrt_carries = [inner_carries[number] for number, _ in moving]
        wrt = [*wrt_seqs, *wrt_taps, *wrt_carries, *wrt_refs, *parts]
        found = dict(zip(wrt, pullback(starts, cotangents, wrt), strict=True))
        found, self.undefined = split_undefined(found)
        next_states = [
            self._contribution(found[v], variable)
            for v, (_, _, variable) in zip(wrt_taps, states, strict=True)
        ]
        next_moving = [
            self._contribution(found[v], variable)
            for v, (_, variable) in zip(wrt_carries, moving, strict=True)
        ]
        live_seqs = [v for v in wrt_seqs if found[v] is not None]
        live_refs = [v for v in wrt_refs if found[v] is not None]
        seq_results = [self._shaped(found[v], v) for v in live_seqs]
        for v, window in self.windows.items():
            rows = [g for node in window.nodes if (g := found[node.outputs[0]]) is not None]
            if rows:
                live_seqs.append(v)
                seq_results.append(window.of_gradient(rows[0] if len(rows) == 1 else add(*rows)))
        totals: list[Variable] = []
        sums: list[Variable] = []
        for v in live_refs:
            g = self._shaped(found[v], v)
            total = _like(v, g.type.dtype, "total")
            totals.append(total)
            sums.append(add(total, g))
        body_outputs = [*next_states, *next_moving, *sums, *seq_results]
        return self._assemble(
            body_outputs, seq_args, seq_values, states, moving, live_refs, totals, live_seqs
        )

    def _adjoint_dtypes(self) -> list[str]:
        result = []
        for slot, row in enumerate(self.op.inner_rows()):
            if not _is_float(row):
                result.append("")
                continue
            dtype = row.type.dtype
            g = self.tap_grads[slot]
            if _connected(g):
                dtype = dt.upcast(dtype, g.type.dtype)
            result.append(dtype)
        return result

    def _contribution(self, g: Variable | None, like: Variable) -> Variable:
        if g is None:
            return zeros_like(like)
        return restore_flags(_with_dtype(g, like.type.dtype), like)

    def _shaped(self, g: Any, like: Variable) -> Variable:
        return restore_flags(g, like)

    def _assemble(
        self,
        body_outputs: list[Variable],
        seq_args: list[Variable],
        seq_values: list[Variable],
        states: list[tuple[int, int, Variable]],
        moving: list[tuple[int, Variable]],
        live_refs: list[Variable],
        totals: list[Variable],
        live_seqs: list[Variable],
    ) -> list[Any]:
        op = self.op
        body_outputs = use_known_shapes(op.body, body_outputs)
        kept, self.again = forward_values(op, body_outputs)
        kept_traces = self._keep(kept)
        free = [*op.inner_rows(), *op.inner_outs()]
        free_traces = [*self.traces, *self.out_traces]
        # forward values at hand become rows of sequences of the backward loop
        replacements: dict[Variable, Variable] = {}
        used = _reads(body_outputs, {*kept, *free, *op.body.inputs})
        for value, trace in zip([*kept, *free], [*kept_traces, *free_traces], strict=True):
            if value in used and value not in replacements and value not in op.body.inputs:
                variable = _like(value, value.type.dtype, "kept")
                replacements[value] = variable
                seq_args.append(variable)
                seq_values.append(self.backwards(trace))
                self.read_traces.append(trace)
        body_outputs = substitute(body_outputs, replacements)
        used = _reads(body_outputs, set(op.body.inputs))
        extra_args: list[Variable] = []
        for variable, array in zip(op.inner_seqs(), self.seqs, strict=True):
            if variable in used:
                extra_args.append(variable)
                seq_values.append(self.backwards(self.forward_rows(array)))
        for slot, variables in enumerate(op.inner_taps()):
            for lag, variable in zip(op.lags[slot], variables, strict=True):
                if variable in used:
                    extra_args.append(variable)
                    seq_values.append(self.backwards(self.lagged(slot, lag)))
                    self.read_traces.append(self.traces[slot])
        for variable, trace in zip(kept, kept_traces, strict=True):
            if variable in op.inner_carries() and variable in used:
                extra_args.append(variable)
                seq_values.append(self.backwards(trace))
                self.read_traces.append(trace)
        self.read_traces = list(dict.fromkeys(self.read_traces))
        ref_args = [v for v in op.inner_refs() if v in used]
        ref_values = [
            outer for v, outer in zip(op.inner_refs(), self.refs, strict=True) if v in used
        ]
        body_inputs = [
            *seq_args,
            *extra_args,
            *[v for _, _, v in states],
            *[v for _, v in moving],
            *totals,
            *ref_args,
        ]
        body, arguments = Function(body_inputs, body_outputs, f"grad_of_{op.name}").clone()
        del arguments
        free_inside = body.free_variables()
        if free_inside:
            raise UnsupportedError(
                f"the gradient of scan {op.name} needs {free_inside[0]}, which is not kept. "
                "Return it from the step as an output."
            )
        backward = Scan(
            body,
            n_seqs=len(seq_args) + len(extra_args),
            lags=[(lag,) for _, lag, _ in states],
            n_carries=len(moving) + len(totals),
            n_outs=len(live_seqs),
            name=f"grad_of_{op.name}",
        )
        backward.computed_again = tuple(self.again)
        backward.checkpoint = op.checkpoint
        inits = []
        last_grads = dict(self.last_grads)
        for slot, lag, variable in states:
            inits.append(self._first_rows(slot, lag, variable, last_grads.pop(slot, None)))
        carry_inits = []
        for number, variable in moving:
            g = self.carry_grads[number]
            if _connected(g):
                carry_inits.append(restore_flags(_with_dtype(g, variable.type.dtype), variable))
            else:
                carry_inits.append(
                    _with_dtype(zeros_like(self.carries[number]), variable.type.dtype)
                )
        positions = {v: k for k, v in enumerate(op.inner_refs())}
        for ref, total in zip(live_refs, totals, strict=True):
            outer = self.refs[positions[ref]]
            carry_inits.append(restore_flags(zeros_like(outer, dtype=total.type.dtype), total))
        node = backward.make_node(self.walked, *seq_values, *inits, *carry_inits, *ref_values)
        self._mark(node)
        return self._collect(node, backward, states, moving, live_refs, live_seqs)

    def _mark(self, node: Apply) -> None:
        owner = self.outputs[0].owner
        if owner is not None:
            node.source = owner.source

    def _first_rows(self, slot: int, lag: int, like: Variable, last: Variable | None) -> Variable:
        """What the steps after the last one pass back: nothing, but a gradient of the last row.

        It is what one tap reads in the first backward step, and so needs no trace of zeros.
        """
        sizes = dims_of(self.inits[slot])[1:]
        zero = constant(0, dtype=like.type.dtype)
        rows = alloc(zero, lag, *sizes)
        if last is not None:
            rows = inc_subtensor(rows[0], last)
        return restore_rows(rows, like)

    def _keep(self, kept: list[Variable]) -> list[Variable]:
        """Traces of forward values: further outs of the forward loop."""
        if not kept:
            return []
        op = self.op
        body = op.body
        outputs = list(body.outputs)
        end = len(outputs) - int(op.has_stop)
        outputs[end:end] = kept
        wider = Scan(
            Function(body.inputs, outputs, body.name),
            op.n_seqs,
            op.lags,
            op.n_carries,
            op.n_outs + len(kept),
            op.has_stop,
            (*op.keep, *[None] * len(kept)),
            op.truncate,
            op.name,
        )
        wider.checkpoint = op.checkpoint
        node = wider.make_node(*self.inputs)
        self._mark(node)
        start = op.n_taps + op.n_carries + op.n_outs
        return list(node.outputs[start : start + len(kept)])

    # ------------------------------------------------------------- results

    def _collect(
        self,
        node: Apply,
        backward: Scan,
        states: list[tuple[int, int, Variable]],
        moving: list[tuple[int, Variable]],
        live_refs: list[Variable],
        live_seqs: list[Variable],
    ) -> list[Any]:
        op = self.op
        seq_grads: dict[Variable, Variable] = {}
        first_out = backward.n_taps + backward.n_carries
        for number, variable in enumerate(live_seqs):
            seq_grads[variable] = node.outputs[first_out + number]
        results: list[Any] = [disconnected_type.make_variable()]
        for variable, array in zip(op.inner_seqs(), self.seqs, strict=True):
            rows = seq_grads.get(variable)
            if rows is None:
                results.append(_nothing(array))
                continue
            whole = zeros_like(array, dtype=rows.type.dtype)
            place = whole[sub(self.steps, self.walked) : self.steps]
            results.append(restore_flags(inc_subtensor(place, rows[::-1]), array))
        for slot, init in enumerate(self.inits):
            if not _is_float(init):
                results.append(_nothing(init))
                continue
            depth = op.depth(slot)
            total: Variable | None = None
            for number, (owner, lag, _) in enumerate(states):
                if owner != slot:
                    continue
                # y[-j] was read at step t = lag - j by this tap: the last rows of its adjoint
                part = node.outputs[number][-lag:][::-1]
                if op.truncate >= 0:
                    reached = eq(self.walked, self.steps)
                    part = switch(reached, part, zeros_like(part))
                if total is None:
                    total = zeros_like(init, dtype=part.type.dtype)
                begin = depth - lag
                end = add(constant(begin, dtype="int64"), shape_i(part, 0))
                total = inc_subtensor(total[begin:end], part)
            last = self.last_grads.get(slot)
            if last is not None and total is not None and not _some_steps(self.steps):
                # without a step the last row is that of the initial state
                none = eq(self.steps, constant(0, dtype="int64"))
                total = inc_subtensor(total[depth - 1], switch(none, last, zeros_like(last)))
            results.append(_nothing(init) if total is None else restore_flags(total, init))
        finals = node.outputs[backward.n_taps : backward.n_taps + backward.n_carries]
        numbers = [number for number, _ in moving]
        for number, carry in enumerate(self.carries):
            if number in numbers:
                results.append(finals[numbers.index(number)])
            else:
                results.append(_nothing(carry))
        ref_grads = dict(zip(live_refs, finals[len(moving) :], strict=True))
        outer = dict(zip(op.inner_refs(), self.refs, strict=True))
        for variable, window in self.windows.items():
            if variable in seq_grads:
                blocks = seq_grads[variable]
                ref_grads[variable] = window.gradient(blocks, outer[variable], outer[window.n])
        for variable, ref in zip(op.inner_refs(), self.refs, strict=True):
            results.append(ref_grads.get(variable, _nothing(ref)))
        return mark_undefined(op, self.outputs[0].owner, results, self.undefined, self.windows)


def _some_steps(steps: Variable) -> bool:
    """Whether at least one step is known to be run."""
    known = constant_value(steps)
    return known is not None and int(known) > 0


def _nothing(variable: Variable) -> Variable:
    return disconnected_type.make_variable()


def restore_rows(rows: Variable, like: Variable) -> Variable:
    """``rows`` with the flags of ``like`` behind a first axis that is not broadcastable."""
    from ltensor.ops.shape import set_flags

    return set_flags(rows, (False, *like.type.broadcastable))


def _reads(outputs: Sequence[Variable], among: set[Variable]) -> set[Variable]:
    """Which of ``among`` the outputs read, not looking behind them."""
    seen: set[Variable] = set()
    stack = list(outputs)
    found: set[Variable] = set()
    while stack:
        v = stack.pop()
        if v in seen:
            continue
        seen.add(v)
        if v in among:
            found.add(v)
            continue
        if v.owner is not None:
            stack.extend(v.owner.inputs)
    return found


def scan_pullback(
    op: Scan, inputs: list[Variable], outputs: list[Variable], output_grads: list[Any]
) -> list[Any]:
    """Gradients of a scan node with respect to its inputs."""
    size = given_size(op, inputs[0])
    if size is None:
        plain = _Backward(op, inputs, outputs, output_grads)
        gradients = plain.build()
        size = size_within_budget(op, inputs[0], plain.read_traces)
        if size is None:
            return gradients
    return checkpointed_pullback(op, inputs, output_grads, size)
