"""The reverse sweep: gradients of starting points with respect to inner variables.

The user's `ltensor.gradient.grad` wraps it; scan differentiates its body with `pullback`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ltensor.config import config
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import DisconnectedType, NullType, TensorType
from ltensor.ir.walks import toposort
from ltensor.ops.arithmetic import add
from ltensor.ops.cast import cast
from ltensor.ops.opdef import DeclaredOp
from ltensor.ops.shape import restore_flags
from ltensor.ops.shifted_sums import idle_edges


def connections(node: Apply) -> list[list[bool]] | None:
    """For every input and output whether the one may influence the other; None: all do."""
    pattern = getattr(node.op, "connection_pattern", None)
    if pattern is None:
        return None
    return pattern(node)


class Sweep:
    """One reverse sweep.

    Parameters
    ----------
    starts : dict
        The gradients that are given, of the variables where the sweep begins.
    targets : sequence of Variable
    blocked : set of Variable
        No gradient passes through these.
    fixed : collection of Variable
        Starting points whose gradient is the given one alone, whatever else depends on them.

    Attributes
    ----------
    connected : set of Variable
        Variables that depend on a target.
    reached : set of Variable
        Variables that a starting gradient leads to.
    """

    def __init__(
        self,
        starts: dict[Variable, Variable],
        targets: Sequence[Variable],
        blocked: set[Variable],
        fixed: Collection[Variable] = (),
    ) -> None:
        self.starts = starts
        self.fixed = frozenset(fixed)
        self.targets = targets
        self.nodes = toposort(list(starts), blockers=blocked - set(starts))
        self.connected: set[Variable] = set(targets)
        self.patterns: dict[int, list[list[bool]] | None] = {}
        for node in self.nodes:
            hit = [k for k, v in enumerate(node.inputs) if v in self.connected]
            if not hit:
                continue
            pattern = self.patterns[id(node)] = connections(node)
            for position, output in enumerate(node.outputs):
                if pattern is None or any(pattern[k][position] for k in hit):
                    self.connected.add(output)
        self.reached: set[Variable] = set(starts)
        self.idle = idle_edges(self.nodes, {*starts, *targets})

    def run(self) -> dict[Variable, Variable]:
        """Gradients of all variables between the starts and the targets."""
        terms: dict[Variable, list[Variable]] = {v: [g] for v, g in self.starts.items()}
        totals: dict[Variable, Variable] = {}

        def total(variable: Variable) -> Variable | None:
            if variable in totals:
                return totals[variable]
            parts = terms.get(variable)
            if not parts:
                return None
            real = [p for p in parts if not isinstance(p.type, DisconnectedType)]
            if not real:
                result: Variable = parts[0]
            else:
                null = [p for p in real if isinstance(p.type, NullType)]
                result = null[0] if null else (real[0] if len(real) == 1 else add(*real))
            totals[variable] = result
            return result

        for node in reversed(self.nodes):
            if not any(v in self.connected for v in node.inputs):
                continue
            if not any(v in self.connected and v in terms for v in node.outputs):
                continue
            self._node(node, total, terms)
        return {v: g for v in self.targets if (g := total(v)) is not None}

    def _node(self, node: Apply, total: Any, terms: dict[Variable, list[Variable]]) -> None:
        pattern = self.patterns.get(id(node))
        gradients = []
        for output in node.outputs:
            g = total(output) if output in terms else None
            gradients.append(
                DisconnectedType().make_variable() if g is None else _in_dtype_of(output, g)
            )
        active = [k for k, g in enumerate(gradients) if not isinstance(g.type, DisconnectedType)]
        if not active:
            return
        null = next((g for g in gradients if isinstance(g.type, NullType)), None)
        results: Sequence[Any]
        if null is not None:
            results = [null] * len(node.inputs)
        else:
            results = node.op.L_op(list(node.inputs), list(node.outputs), gradients)
            if not isinstance(results, (list, tuple)):
                raise TypeError(f"{node.op}.grad returned {type(results)}, expected a list")
            if len(results) != len(node.inputs):
                raise ValueError(
                    f"{node.op} returned the wrong number of gradient terms: {len(results)} for "
                    f"{len(node.inputs)} inputs"
                )
            self._check_terms(node, results)
        for position, (variable, g) in enumerate(zip(node.inputs, results, strict=True)):
            if variable not in self.connected:
                continue
            if pattern is not None and not any(pattern[position][k] for k in active):
                continue
            if (node, position) in self.idle:
                continue
            self.reached.add(variable)
            if g is None or variable in self.fixed:
                continue
            g = g if isinstance(g, Variable) else as_tensor(g)
            if isinstance(g.type, TensorType) and isinstance(variable.type, TensorType):
                g = self._fit(node, variable, g)
            terms.setdefault(variable, []).append(g)

    @staticmethod
    def _check_terms(node: Apply, results: Sequence[Any]) -> None:
        """Refuse None from a user's op, where it may mean zero, undefined or disconnected.

        Integers are refused as well, which are a slip where the input has floats. Our own
        operations say zero by None, and their integers are cast.
        """
        if isinstance(node.op, DeclaredOp):
            return
        for position, (variable, g) in enumerate(zip(node.inputs, results, strict=True)):
            if g is None:
                raise TypeError(
                    f"{node.op}.grad returned None for a gradient term; return zeros_like(input), "
                    "DisconnectedType()() or grad_undefined(op, position, input)"
                )
            kind = g.type if isinstance(g, Variable) else None
            if not isinstance(kind, TensorType) or not isinstance(variable.type, TensorType):
                continue
            if dt.is_discrete(kind.dtype) and not dt.is_discrete(variable.type.dtype):
                raise TypeError(
                    f"{node.op}.grad illegally returned an integer-valued variable. (Input index "
                    f"{position}, dtype {kind.dtype}); cast it to {variable.type.dtype}"
                )

    @staticmethod
    def _fit(node: Apply, variable: Variable, g: Variable) -> Variable:
        if g.type.ndim != variable.type.ndim:
            raise ValueError(
                f"{node.op}.grad returned a term with {g.type.ndim} dimensions for input "
                f"{variable}, which has {variable.type.ndim}"
            )
        if dt.is_discrete(g.type.dtype):
            g = cast(g, str(config.floatX))
        if g.type.broadcastable != variable.type.broadcastable:
            g = restore_flags(g, variable)
        return g


def _in_dtype_of(output: Variable, g: Variable) -> Variable:
    """What an operation gets as gradient of its result, in the result's dtype where it has one.

    So a float32 part of a float64 cost has float32 gradients.
    """
    if not isinstance(output.type, TensorType) or not isinstance(g.type, TensorType):
        return g
    own, found = output.type.dtype, g.type.dtype
    if own == found or dt.is_discrete(own) or (dt.is_complex(found) and not dt.is_complex(own)):
        return g
    return cast(g, own)


def pullback(
    outputs: Sequence[Variable], cotangents: Sequence[Variable], wrt: Sequence[Variable]
) -> list[Variable | None]:
    """Gradients of ``sum(output * cotangent)`` with respect to ``wrt``; None where disconnected.

    A variable may stand in ``outputs`` more than once.
    """
    starts: dict[Variable, Variable] = {}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        known = starts.get(output)
        starts[output] = cotangent if known is None else add(known, cotangent)
    gradients = Sweep(starts, list(wrt), set()).run()
    results: list[Variable | None] = []
    for variable in wrt:
        g = gradients.get(variable)
        results.append(None if g is None or isinstance(g.type, DisconnectedType) else g)
    return results
