"""The loop: one operation with a region and named slots.

===== =============================== ===================================================
slot  in the body                     outside
===== =============================== ===================================================
seq   a row ``x[t]``                  an array
tap   ``y[t-k]`` for each lag k       the rows before the first step -> the trace of all rows
carry the value of the last step      the initial value -> the final value
ref   itself                          anything that does not change
out   a result                        the trace of all results
stop  a bool, tested after the step   the number of steps that were run
===== =============================== ===================================================

Accumulated gradients are carries; no slot is both read and written elsewhere, so the gradient of a
scan is a scan again (`ltensor.ops.scan_gradient`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltensor.ir.aside import built_aside
from ltensor.ir.build import constant
from ltensor.ir.function import Function
from ltensor.ir.graph import Apply, Constant, Op, Variable, evaluate
from ltensor.ir.types import TensorType
from ltensor.ir.walks import inputs_of, substitute
from ltensor.ops.differentiate import connections
from ltensor.ops.opdef import Declaration, DeclaredOp, declare, new_tensor
from ltensor.source import Source


class Scan(DeclaredOp):
    """A loop over time.

    Parameters
    ----------
    body : Function
        Inputs: rows of sequences, taps (slot by slot, lags in the order of ``lags``), carries,
        refs. Outputs: new rows of taps, new carries, outs, then the stop condition if any.
    n_seqs : int
    lags : tuple of tuple of int
        For every tap slot its lags, positive.
    n_carries, n_outs : int
    has_stop : bool
    keep : tuple of (int or None)
        For every tap slot and out how many of the last rows are kept; None: all.
    truncate : int
        Number of steps that the gradient walks back, -1 for all.
    name : str
    """

    __props__ = ("n_seqs", "lags", "n_carries", "n_outs", "has_stop", "keep", "truncate", "name")
    kind = "region"
    region_kind = "scan"
    ir_name = "scan"

    def __init__(
        self,
        body: Function,
        n_seqs: int,
        lags: Sequence[Sequence[int]],
        n_carries: int,
        n_outs: int,
        has_stop: bool = False,
        keep: Sequence[int | None] | None = None,
        truncate: int = -1,
        name: str = "scan_fn",
    ) -> None:
        self.body = body
        self.n_seqs = n_seqs
        self.lags = tuple(tuple(slot) for slot in lags)
        self.n_carries = n_carries
        self.n_outs = n_outs
        self.has_stop = has_stop
        self.keep = tuple(keep) if keep is not None else (None,) * (len(self.lags) + n_outs)
        self.truncate = truncate
        self.name = name
        #: of a gradient, told by `f.explain()` only: (name, op, source) of forward values that it
        #: computes again instead of reading kept ones
        self.computed_again: tuple[tuple[str | None, Op, Source | None], ...] = ()
        #: how its gradient keeps the states (`ltensor.ops.scan_checkpoint`): None for all of them,
        #: a number of steps between two that are kept, or ``'auto'``; 0: for all, whatever
        #: ``config.scan.memory_budget`` says
        self.checkpoint: int | str | None = None

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Scan) and self.body is other.body and self._props() == other._props()
        )

    def __hash__(self) -> int:
        return hash((Scan, id(self.body)))

    def __str__(self) -> str:
        return f"for{{cpu,{self.name}}}"

    __repr__ = __str__

    @property
    def regions(self) -> tuple[Function, ...]:
        return (self.body,)

    @property
    def inputs(self) -> Sequence[Variable]:
        """What a step reads; programs that walk graphs look inside by these two."""
        return self.body.inputs

    @property
    def outputs(self) -> Sequence[Variable]:
        """What a step computes, the stop condition last."""
        return self.body.outputs

    def with_regions(self, regions: Sequence[Function]) -> Scan:
        """The same loop around another body with the same slots."""
        return self.replace(body=regions[0])

    def replace(self, **changes: Any) -> Scan:
        """A copy with some attributes changed."""
        checkpoint = changes.pop("checkpoint", self.checkpoint)
        fields = {p: getattr(self, p) for p in self.__props__} | {"body": self.body}
        fields.update(changes)
        if ("lags" in changes or "n_outs" in changes) and "keep" not in changes:
            fields["keep"] = None
        changed = Scan(**fields)
        changed.computed_again = self.computed_again
        changed.checkpoint = checkpoint
        return changed

    # ------------------------------------------------------------- slots

    @property
    def n_taps(self) -> int:
        """Number of tap slots."""
        return len(self.lags)

    @property
    def n_refs(self) -> int:
        """Number of refs."""
        return len(self.body.inputs) - self.first_ref

    @property
    def n_tap_args(self) -> int:
        """Number of body inputs that are taps."""
        return sum(len(slot) for slot in self.lags)

    @property
    def first_ref(self) -> int:
        """Position of the first ref among the body's inputs."""
        return self.n_seqs + self.n_tap_args + self.n_carries

    def inner_seqs(self) -> list[Variable]:
        """Body inputs: rows of sequences."""
        return list(self.body.inputs[: self.n_seqs])

    def inner_taps(self) -> list[list[Variable]]:
        """Body inputs: taps by slot."""
        position = self.n_seqs
        result = []
        for slot in self.lags:
            result.append(list(self.body.inputs[position : position + len(slot)]))
            position += len(slot)
        return result

    def inner_carries(self) -> list[Variable]:
        """Body inputs: carries."""
        start = self.n_seqs + self.n_tap_args
        return list(self.body.inputs[start : start + self.n_carries])

    def inner_refs(self) -> list[Variable]:
        """Body inputs: refs."""
        return list(self.body.inputs[self.first_ref :])

    def inner_rows(self) -> list[Variable]:
        """Body outputs: new rows of the tap slots."""
        return list(self.body.outputs[: self.n_taps])

    def inner_news(self) -> list[Variable]:
        """Body outputs: new carries."""
        return list(self.body.outputs[self.n_taps : self.n_taps + self.n_carries])

    def inner_outs(self) -> list[Variable]:
        """Body outputs: results."""
        start = self.n_taps + self.n_carries
        return list(self.body.outputs[start : start + self.n_outs])

    def inner_stop(self) -> Variable | None:
        """Body output: the condition."""
        return self.body.outputs[-1] if self.has_stop else None

    def depth(self, slot: int) -> int:
        """Rows of initial state of a tap slot."""
        return max(self.lags[slot])

    def split(
        self, inputs: Sequence[Any]
    ) -> tuple[Any, list[Any], list[Any], list[Any], list[Any]]:
        """Node inputs as (n_steps, sequences, initial rows, initial carries, refs)."""
        n, *rest = inputs
        a = self.n_seqs
        c = a + self.n_taps
        d = c + self.n_carries
        return n, list(rest[:a]), list(rest[a:c]), list(rest[c:d]), list(rest[d:])

    # ------------------------------------------------------------- node

    def make_node(self, *inputs: Any) -> Apply:
        _, _, inits, carries, refs = self.split(inputs)
        if len(refs) != self.n_refs:
            raise ValueError(f"scan {self.name} takes {self.n_refs} refs, got {len(refs)}")
        outputs: list[Variable] = []
        for slot, (init, row) in enumerate(zip(inits, self.inner_rows(), strict=True)):
            first = self.keep[slot]
            if init.type.dtype != row.type.dtype:
                raise TypeError(
                    f"scan {self.name}: state {slot} is {init.type.dtype}, its new value "
                    f"{row.type.dtype}"
                )
            sizes = init.type.shape[1:]
            outputs.append(new_tensor(row.type.dtype, (first if first != 1 else None, *sizes)))
        for init in carries:
            outputs.append(init.type.make_variable())
        for out in self.inner_outs():
            outputs.append(new_tensor(out.type.dtype, (None, *out.type.shape)))
        if self.has_stop:
            outputs.append(new_tensor("int64", ()))
        return Apply(self, list(inputs), outputs)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        from ltensor.ops.cast import cast

        _, _, init_shapes, carry_shapes, _ = self.split(shapes)
        steps = node.outputs[-1] if self.has_stop else cast(node.inputs[0], "int64")
        result: list[Any] = []
        for slot in range(self.n_taps):
            kept = self.keep[slot]
            first = steps if kept is None else constant(kept, dtype="int64")
            result.append((first, *init_shapes[slot][1:]))
        result.extend(carry_shapes)
        rows = self.row_shapes(node, shapes)
        for number, row in enumerate(rows):
            kept = self.keep[self.n_taps + number]
            first = steps if kept is None else constant(kept, dtype="int64")
            result.append(None if row is None else (first, *row))
        if self.has_stop:
            result.append(())
        return result

    def row_shapes(self, node: Apply, shapes: list[Any]) -> list[Any]:
        """Sizes of the outs' rows as expressions outside the loop; None if they depend on data."""
        return [self._row_shape(node, shapes, out) for out in self.inner_outs()]

    def shape_outside(self, node: Apply, value: Variable) -> Any:
        """Sizes of a value of the body as expressions outside the loop; None if there are none."""
        from ltensor.ops.shape import dims_of

        shapes = [dims_of(v) if isinstance(v.type, TensorType) else None for v in node.inputs]
        return self._row_shape(node, shapes, value)

    def _row_shape(self, node: Apply, shapes: list[Any], value: Variable) -> Any:
        from ltensor.ops.shape import ShapeI
        from ltensor.ops.shape_map import ShapeMap

        _, seq_shapes, init_shapes, carry_shapes, ref_shapes = self.split(shapes)
        _, _, _, _, refs = self.split(node.inputs)
        table: dict[Variable, Any] = {}
        for variable, shape in zip(self.inner_seqs(), seq_shapes, strict=True):
            table[variable] = shape[1:]
        for variables, shape in zip(self.inner_taps(), init_shapes, strict=True):
            for variable in variables:
                table[variable] = shape[1:]
        for variable, shape in zip(self.inner_carries(), carry_shapes, strict=True):
            table[variable] = shape
        for variable, shape in zip(self.inner_refs(), ref_shapes, strict=True):
            table[variable] = shape
        dims = ShapeMap.of(self.body).shape(value) or ()
        outer_refs = dict(zip(self.inner_refs(), refs, strict=True))
        return self._outside(list(dims), table, outer_refs, ShapeI)

    def sized_outside(self, variable: Variable) -> bool:
        """Whether the sizes of a value of the body are known before the loop."""
        from ltensor.ops.shape import ShapeI
        from ltensor.ops.shape_map import ShapeMap

        dims = ShapeMap.of(self.body).shape(variable)
        if dims is None:
            return False
        table: dict[Variable, Any] = {
            v: (constant(1, dtype="int64"),) * v.type.ndim
            for v in self.body.inputs
            if isinstance(v.type, TensorType)
        }
        refs = {v: v.type.make_variable() for v in self.inner_refs()}
        return self._outside(list(dims), table, refs, ShapeI) is not None

    def _outside(
        self, dims: list[Variable], table: dict[Variable, Any], refs: dict[Any, Any], shape_op: Any
    ) -> Any:
        from ltensor.ir.walks import toposort

        replacements: dict[Variable, Variable] = {}
        for node in toposort(dims):
            if isinstance(node.op, shape_op) and node.inputs[0] in table:
                replacements[node.outputs[0]] = table[node.inputs[0]][node.op.axis]
        for inner, outer in refs.items():
            if isinstance(inner.type, TensorType) and inner not in replacements:
                replacements[inner] = outer
        outside = substitute(dims, replacements)
        inner_inputs = set(self.body.inputs)
        if any(v in inner_inputs for v in inputs_of(outside, blockers=replacements.values())):
            return None
        return tuple(outside)

    # ------------------------------------------------------------- reference

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        """A plain Python loop: the definition."""
        n, seqs, inits, carries, refs = self.split(inputs)
        steps = int(n)
        if steps < 0:
            raise IndexError(f"Scan was asked to run for negative number of step {steps}")
        rows = [[np.asarray(r) for r in init[: self.depth(k)]] for k, init in enumerate(inits)]
        for k, have in enumerate(rows):
            if len(have) < self.depth(k):
                raise ValueError(
                    f"Scan: the initial state of output {k} has {len(have)} rows but its taps "
                    f"need {self.depth(k)}"
                )
        current = list(carries)
        outs: list[list[Any]] = [[] for _ in range(self.n_outs)]
        done = 0
        for t in range(steps):
            values = [s[t] for s in seqs]
            for k, slot in enumerate(self.lags):
                values += [rows[k][len(rows[k]) - lag] for lag in slot]
            results = self._run_body([*values, *current, *refs])
            for k in range(self.n_taps):
                rows[k].append(results[k])
            current = results[self.n_taps : self.n_taps + self.n_carries]
            for k in range(self.n_outs):
                outs[k].append(results[self.n_taps + self.n_carries + k])
            done = t + 1
            if self.has_stop and bool(results[-1]):
                break
        final: list[Any] = []
        for k, have in enumerate(rows):
            kept = self.keep[k]
            chosen = have[self.depth(k) :] if kept is None else have[len(have) - kept :]
            empty = np.empty((0, *inits[k].shape[1:]), dtype=node.outputs[k].type.dtype)
            final.append(np.stack(chosen) if chosen else empty)
        final += current
        empty_rows = self._empty_rows(node, inputs) if done == 0 else []
        for k, have in enumerate(outs):
            kept = self.keep[self.n_taps + k]
            chosen = have if kept is None else have[len(have) - kept :]
            final.append(np.stack(chosen) if chosen else empty_rows[k])
        if self.has_stop:
            final.append(np.asarray(done, dtype="int64"))
        for cell, value in zip(output_storage, final, strict=True):
            cell[0] = value

    def _empty_rows(self, node: Apply, inputs: list[Any]) -> list[Any]:
        """The outs of no step at all: their rows' sizes follow from the operands, or are 0."""
        from ltensor.ir.walks import toposort

        operands = [
            constant(np.asarray(value), dtype=v.type.dtype) if isinstance(v.type, TensorType) else v
            for v, value in zip(node.inputs, inputs, strict=True)
        ]
        shapes = [
            tuple(constant(size, dtype="int64") for size in np.shape(value)) for value in inputs
        ]
        result = []
        for row, out in zip(
            self.row_shapes(self.make_node(*operands), shapes), self.inner_outs(), strict=True
        ):
            sizes = [0] * out.type.ndim if row is None else []
            known: dict[Variable, Any] = {}
            for inner in toposort(row or ()):
                given = [v.data if isinstance(v, Constant) else known[v] for v in inner.inputs]
                known.update(zip(inner.outputs, evaluate(inner, given), strict=True))
            sizes += [int(d.data if isinstance(d, Constant) else known[d]) for d in row or ()]
            result.append(np.empty((0, *sizes), dtype=out.type.dtype))
        return result

    def _run_body(self, values: list[Any]) -> list[Any]:
        results = self.body.interpret(values)
        return [
            np.array(value) if isinstance(v.type, TensorType) else value
            for v, value in zip(self.body.outputs, results, strict=True)
        ]

    # ------------------------------------------------------------- differentiation

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Which input reaches which output through the body, over any number of steps."""
        bits: dict[Variable, int] = {v: 1 << k for k, v in enumerate(self.body.inputs)}
        for inner in self.body.nodes:
            pattern = connections(inner)
            for position, output in enumerate(inner.outputs):
                mask = 0
                for k, v in enumerate(inner.inputs):
                    if pattern is None or pattern[k][position]:
                        mask |= bits.get(v, 0)
                bits[output] = bits.get(output, 0) | mask
        reach = [bits.get(v, 0) for v in self.body.outputs]
        # a state passes on what its new value depends on
        feeds: list[tuple[int, int]] = []
        for slot, variables in enumerate(self.inner_taps()):
            mask = 0
            for v in variables:
                mask |= 1 << self.body.inputs.index(v)
            feeds.append((slot, mask))
        for k, v in enumerate(self.inner_carries()):
            feeds.append((self.n_taps + k, 1 << self.body.inputs.index(v)))
        changed = True
        while changed:
            changed = False
            for source, mask in feeds:
                for k, have in enumerate(reach):
                    if have & mask and (have | reach[source]) != have:
                        reach[k] = have | reach[source]
                        changed = True
        groups: list[int] = [0]
        position = 0
        for _ in range(self.n_seqs):
            groups.append(1 << position)
            position += 1
        for slot_lags in self.lags:
            groups.append(((1 << len(slot_lags)) - 1) << position)
            position += len(slot_lags)
        for _ in range(self.n_carries + self.n_refs):
            groups.append(1 << position)
            position += 1
        n_outputs = len(node.outputs)
        table = []
        for number, mask in enumerate(groups):
            row = [bool(reach[k] & mask) for k in range(n_outputs - int(self.has_stop))]
            # the initial value of a carry is its final value when no step is run
            for k in range(self.n_carries):
                if number == 1 + self.n_seqs + self.n_taps + k:
                    row[self.n_taps + k] = True
            if self.has_stop:
                row.append(False)
            table.append(row)
        return table

    def L_op(
        self, inputs: list[Variable], outputs: list[Variable], output_grads: list[Variable]
    ) -> list[Any]:
        from ltensor.ops.scan_gradient import scan_pullback

        return built_aside(
            lambda: scan_pullback(self, inputs, outputs, output_grads),
            [*inputs, *outputs, *output_grads],
        )


declare(Declaration("scan", "A loop over time with a region.", Scan))
