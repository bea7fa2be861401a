"""Sums and products: constants folded together, neutral elements dropped, equal terms cancelled.

A tree of ``add``, ``sub``, ``neg`` (or ``mul``, ``true_div``, ``neg``) of one dtype and one
broadcast pattern is collected into signed terms, shortened, and built again if that made it
smaller. As in Theano, floats are treated as real numbers here: ``x - x`` is 0 and ``x * 0`` is 0
even if ``x`` is not finite, and ``(a + b) - b`` is ``a``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.arithmetic import add, inv, mul, neg, sub, true_div
from ltensor.ops.cast import cast
from ltensor.passes.match import (
    apply_op,
    constant_like,
    dtype_of,
    made_by,
    number,
    pattern,
    stretch,
)
from ltensor.passes.rewrite import Rules, Uses

RULES = Rules("algebra")

#: trees are collected up to this many terms: collecting longer ones again and again is quadratic
MOST_TERMS = 12


@dataclass
class Terms:
    """A collected tree: what counts positively, what negatively, and the constant."""

    up: list[Variable] = field(default_factory=list)
    down: list[Variable] = field(default_factory=list)
    constants_up: list[Any] = field(default_factory=list)
    constants_down: list[Any] = field(default_factory=list)
    #: operations the tree consists of
    size: int = 0
    #: parity of ``neg`` in a product, and how many there were
    negative: bool = False
    signs: int = 0
    #: whether a ``neg`` below the root is read by nobody else
    own_sign: bool = False

    def put(self, variable: Variable, down: bool) -> None:
        """Count a term or factor that is no tree itself."""
        value = number(variable)
        if value is not None:
            (self.constants_down if down else self.constants_up).append(value)
        else:
            (self.down if down else self.up).append(variable)


def _alike(variable: Variable, root: Variable) -> bool:
    return dtype_of(variable) == dtype_of(root) and pattern(variable) == pattern(root)


def _belongs(variable: Variable, root: Variable, uses: Uses) -> bool:
    """Whether ``variable`` may be taken apart as a part of the tree of ``root``."""
    return variable.owner is not None and _alike(variable, root) and uses.single(variable)


def _room(owner: Apply | None, work: list[Any], terms: Terms) -> bool:
    """Whether the operands of ``owner`` may join the terms."""
    more = 0 if owner is None else len(owner.inputs)
    return len(work) + len(terms.up) + len(terms.down) + more <= MOST_TERMS


def _cancel(terms: Terms) -> bool:
    """Drop what stands on both sides."""
    found = False
    for variable in list(terms.down):
        if variable in terms.up:
            terms.up.remove(variable)
            terms.down.remove(variable)
            found = True
    return found


def _in_dtype(variables: list[Variable], dtype: str) -> list[Variable]:
    """``variables`` so that an operation on them alone is done in ``dtype``."""
    if variables and dt.upcast(*(dtype_of(v) for v in variables)) != dtype:
        return [cast(v, dtype) for v in variables]
    return variables


def _joined(op: Any, variables: list[Variable]) -> Variable:
    return variables[0] if len(variables) == 1 else apply_op(op, *variables)


# ------------------------------------------------------------------------------------- sums


def _collect_sum(node: Apply, uses: Uses) -> Terms:
    root = node.outputs[0]
    terms = Terms()
    work: list[tuple[Variable, bool]] = [(root, False)]
    while work:
        variable, minus = work.pop()
        owner = variable.owner
        small = _room(owner, work, terms)
        if variable is root or (small and _belongs(variable, root, uses)):
            if owner is not None and owner.op is add:
                terms.size += 1
                work.extend((v, minus) for v in reversed(owner.inputs))
                continue
            if owner is not None and owner.op is sub:
                terms.size += 1
                work += [(owner.inputs[1], not minus), (owner.inputs[0], minus)]
                continue
            if owner is not None and owner.op is neg:
                terms.size += 1
                work.append((owner.inputs[0], not minus))
                continue
        if minus and owner is not None and owner.op is neg and _alike(variable, root):
            # costs nothing even if somebody else reads it
            work.append((owner.inputs[0], False))
            terms.signs += 1
            continue
        terms.put(variable, minus)
    return terms


@RULES.rule(add, sub, neg, uses=True)
def shorten_sum(node: Apply, uses: Uses) -> Variable | None:
    """Neutral elements, equal terms, several constants, ``-`` of ``-``."""
    out = node.outputs[0]
    dtype = dtype_of(out)
    if dtype == "bool":
        return None
    terms = _collect_sum(node, uses)
    gain = _cancel(terms) or terms.signs > 0
    gain = _repeated(terms, dtype) or gain
    constants = len(terms.constants_up) + len(terms.constants_down)
    total = _sum_of(terms, dtype)
    if constants > 1 or (constants and total == 0):
        gain = True
        if not np.isfinite(total):
            return None
    use_constant = constants > 0 and bool(total != 0)
    ups = len(terms.up) + use_constant
    after = (ups > 1) + (len(terms.down) > 1) + (len(terms.down) > 0)
    if not ups and node.op is not neg:
        gain = True  # -a - b is -(a + b)
    if not gain and after >= terms.size:
        return None
    value = _build_sum(terms, total if use_constant else None, out)
    return stretch(value, node)


def _repeated(terms: Terms, dtype: str) -> bool:
    """``x + x`` is ``2 x``, in the dtype of the sum: ``x`` may be narrower.

    Not of complex numbers, whose products with ``2 + 0j`` have ``0 * inf`` in them.
    """
    found = False
    if dt.is_complex(dtype):
        return found
    for side in (terms.up, terms.down):
        if len(set(side)) == len(side):
            continue
        found = True
        once = dict.fromkeys(side)
        side[:] = [
            v if (count := side.count(v)) == 1 else _times(count, *_in_dtype([v], dtype))
            for v in once
        ]
    return found


def _times(count: int, variable: Variable) -> Variable:
    return apply_op(mul, constant_like(count, variable), variable)


def _sum_of(terms: Terms, dtype: str) -> Any:
    total = np.zeros((), dtype=dtype)
    with np.errstate(all="ignore"):
        for value in terms.constants_up:
            total = total + value.astype(dtype)
        for value in terms.constants_down:
            total = total - value.astype(dtype)
    return total[()]


def _build_sum(terms: Terms, total: Any | None, out: Variable) -> Variable:
    dtype = dtype_of(out)
    up, down = _in_dtype(terms.up, dtype), _in_dtype(terms.down, dtype)
    if total is not None:
        up = [constant_like(total, out), *up]
    if not up and not down:
        return constant_like(0, out)
    if not down:
        return _joined(add, up)
    right = _joined(add, down)
    return apply_op(neg, right) if not up else apply_op(sub, _joined(add, up), right)


# --------------------------------------------------------------------------------- products


def collect_product(tree: Apply | Variable, uses: Uses) -> Terms:
    """The factors and divisors of a variable, or of what a node with one output computes."""
    root = tree if isinstance(tree, Variable) else tree.outputs[0]
    divides = not dt.is_discrete(dtype_of(root))
    terms = Terms()
    work: list[tuple[Variable, bool]] = [(root, False)]
    while work:
        variable, below = work.pop()
        owner = variable.owner
        small = _room(owner, work, terms)
        if owner is not None and (variable is root or (small and _belongs(variable, root, uses))):
            op = owner.op
            if op is mul:
                terms.size += 1
                work.extend((v, below) for v in reversed(owner.inputs))
                continue
            if op is neg:
                terms.size += 1
                terms.signs += 1
                terms.negative = not terms.negative
                terms.own_sign = terms.own_sign or variable is not root
                work.append((owner.inputs[0], below))
                continue
            if divides and op is true_div:
                terms.size += 1
                work += [(owner.inputs[1], not below), (owner.inputs[0], below)]
                continue
            if divides and op is inv:
                terms.size += 1
                work.append((owner.inputs[0], not below))
                continue
        if owner is not None and owner.op is neg and _alike(variable, root):
            # costs nothing even if somebody else reads it
            terms.negative = not terms.negative
            terms.signs += 1
            work.append((owner.inputs[0], below))
            continue
        terms.put(variable, below)
    return terms


@RULES.rule(mul, true_div, inv, uses=True)
def shorten_product(node: Apply, uses: Uses) -> Variable | None:
    """Neutral elements, zero, equal factors above and below, several constants, signs."""
    out = node.outputs[0]
    dtype = dtype_of(out)
    if dtype == "bool" or (node.op is not mul and dt.is_discrete(dtype)):
        return None
    terms = collect_product(node, uses)
    if any(c == 0 for c in terms.constants_up) and not any(c == 0 for c in terms.constants_down):
        return stretch(constant_like(0, out), node)
    gain = _cancel(terms) or terms.signs > 1 or terms.own_sign
    above, below = product_of(terms, dtype)
    n_above, n_below = len(terms.constants_up), len(terms.constants_down)
    if terms.negative and (n_above or n_below):
        if dt.is_unsigned(dtype):
            return None
        above, below = (-above, below) if n_above else (above, -below)
        terms.negative, gain = False, True
    if n_above and n_below and below != 0:
        ratio = _safe_ratio(above, below)
        if ratio is not None:
            above, below, gain, n_below = ratio, above.dtype.type(1), True, 0
    elif n_below and not n_above and _is_power_of_two(below):
        above, below, gain = 1 / below, above, True
    if n_below and below == 1:
        gain = True
    if n_above > 1 or n_below > 1 or (n_above and above == 1 and (terms.up or not terms.down)):
        gain = True
    if not (np.isfinite(above) and np.isfinite(below)) or (above == 0 and n_above):
        return None
    if above == -1 and n_above and terms.up and not dt.is_unsigned(dtype):
        above, terms.negative, gain = above.dtype.type(1), True, True
    up = len(terms.up) + bool(above != 1)
    down = len(terms.down) + bool(below != 1)
    after = (up > 1) + (down > 1) + (down > 0) + terms.negative
    if not gain and after >= terms.size:
        return None
    return stretch(build_product(terms, above, below, out), node)


def product_of(terms: Terms, dtype: str) -> tuple[Any, Any]:
    """The products of the constants above and below."""
    results = []
    with np.errstate(all="ignore"):
        for values in (terms.constants_up, terms.constants_down):
            total = np.ones((), dtype=dtype)
            for value in values:
                total = total * value.astype(dtype)
            results.append(total[()])
    return results[0], results[1]


def _is_power_of_two(value: Any) -> bool:
    """Whether dividing by ``value`` is exactly multiplying by its inverse."""
    if np.iscomplexobj(value) or value == 1:
        return False
    fraction, exponent = np.frexp(value)
    limit = np.finfo(value.dtype).maxexp - 4
    return bool(abs(fraction) == 0.5 and abs(int(exponent)) < limit)


def _safe_ratio(above: Any, below: Any) -> Any | None:
    """``above / below`` unless that overflows or loses digits to underflow."""
    with np.errstate(all="ignore"):
        ratio = above.dtype.type(above / below)
    size = abs(ratio)
    if not np.isfinite(size) or size < np.finfo(above.dtype).tiny:
        return None
    return ratio


def build_product(terms: Terms, above: Any, below: Any, out: Variable) -> Variable:
    """The tree of the terms with these constants, in the dtype of ``out``."""
    dtype = dtype_of(out)
    up, down = _in_dtype(terms.up, dtype), _in_dtype(terms.down, dtype)
    if above != 1:
        up = [constant_like(above, out), *up]
    if below != 1:
        down = [constant_like(below, out), *down]
    if not up:
        up = [constant_like(1, out)]
    value = _joined(mul, up)
    if down:
        value = apply_op(true_div, value, _joined(mul, down))
    return apply_op(neg, value) if terms.negative else value


@RULES.rule(neg, uses=True)
def negate_product(node: Apply, uses: Uses) -> Variable | None:
    """The sign of a product goes into its constant."""
    (x,) = node.inputs
    inner = made_by(x, mul) or made_by(x, true_div)
    if inner is None or not uses.single(x) or dt.is_unsigned(dtype_of(x)):
        return None
    for position, operand in enumerate(inner.inputs):
        value = number(operand)
        if value is None or dtype_of(operand) != dtype_of(x):
            continue
        if pattern(operand) != tuple([True] * x.type.ndim):
            continue
        operands = list(inner.inputs)
        operands[position] = constant_like(-value, operand)
        return apply_op(inner.op, *operands)
    return None
