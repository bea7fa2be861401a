"""Pointwise operations: the machinery. Their declarations stand in ``arithmetic``, ``compare``,
``transcendental``, ``special`` and ``bits``.

`elementwise` makes one op of one declaration; the conformance table, the gradient test, the docs
and both targets read that same object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes
from ltensor.ir.build import as_tensor, constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import NullType, TensorType, disconnected_type, tensor_type
from ltensor.ops import batching
from ltensor.ops.opdef import Declaration, DeclaredOp, declare

TypeRule = Callable[..., tuple[tuple[str, ...], str]]


# ------------------------------------------------------------------------------- type rules


def same(*inputs: str) -> tuple[tuple[str, ...], str]:
    """Operands and result in the common dtype."""
    common = dtypes.upcast(*inputs)
    return (common,) * len(inputs), common


def no_bool(name: str) -> TypeRule:
    """As `same`, refusing bool (NumPy has no such operation)."""

    def rule(*inputs: str) -> tuple[tuple[str, ...], str]:
        operands, common = same(*inputs)
        if common == "bool":
            raise TypeError(f"{name} does not support bool operands: cast them to int8 first")
        return operands, common

    return rule


def float_like(*inputs: str) -> tuple[tuple[str, ...], str]:
    """Discrete operands are computed in a float: float32 up to 16 bits, else float64."""
    common = dtypes.upcast(*(dtypes.upgrade_to_float(d) for d in inputs))
    return (common,) * len(inputs), common


def real_float_like(*inputs: str) -> tuple[tuple[str, ...], str]:
    """As `float_like`, refusing complex operands."""
    operands, common = float_like(*inputs)
    if dtypes.is_complex(common):
        raise TypeError(f"no complex dtype here: {inputs}")
    return operands, common


def compare(*inputs: str) -> tuple[tuple[str, ...], str]:
    """Operands in the common dtype, result bool."""
    common = dtypes.upcast(*inputs)
    return (common,) * len(inputs), "bool"


def predicate(*inputs: str) -> tuple[tuple[str, ...], str]:
    """Operands as they are, result bool."""
    return tuple(inputs), "bool"


def unary_real(*inputs: str) -> tuple[tuple[str, ...], str]:
    """Result in the dtype of the operand, which must not be complex."""
    if dtypes.is_complex(inputs[0]):
        raise TypeError(f"no complex dtype here: {inputs}")
    return same(*inputs)


# ------------------------------------------------------------------------------- the op


class ElementwiseOp(DeclaredOp):
    """A scalar function applied to every element; operands broadcast statically."""

    kind = "pointwise"
    batch = batching.pointwise

    def __init__(
        self,
        name: str,
        *,
        doc: str,
        types: TypeRule,
        ref: Callable[..., Any],
        emit: Callable[..., Any],
        vjp: Callable[..., Any] | None = None,
        arity: int | None = None,
        cost: int = 1,
        commutative: bool = False,
        display: str | None = None,
        zero_gradient: bool = False,
        fails: Callable[[Any], Any] | None = None,
        natural: str = "",
        is_free: bool = False,
    ) -> None:
        self.ir_name = self.name = name
        self.doc = doc
        self.types = types
        self.ref = ref
        self.emit = emit
        self.vjp = vjp
        self.arity = arity
        #: rough price of one element in flops: whether recomputing beats storing
        self.cost = cost
        self.commutative = commutative
        self.display = display
        self.zero_gradient = zero_gradient
        #: of discrete results: for which values of the last operand an element raises
        self.fails = fails
        self.natural = natural
        self._is_free = is_free

    @property
    def is_free(self) -> bool:
        return self._is_free

    def may_fail(self, node: Apply, known: Any = None) -> bool:
        kind: Any = node.outputs[0].type
        if self.fails is None or not dtypes.is_discrete(kind.dtype):
            return False
        last = (known or constant_value)(node.inputs[-1])
        return last is None or bool(np.any(self.fails(last)))

    def elements_made(self, values: Sequence[Any]) -> float:
        if len(values) < 2:
            return 0
        return float(np.prod(np.broadcast_shapes(*(v.shape for v in values)), dtype=float))

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, ElementwiseOp)
            and self.name == other.name
            and self.attributes() == other.attributes()
        )

    def __hash__(self) -> int:
        return hash((ElementwiseOp, self.name))

    def __reduce__(self) -> Any:
        return _by_name, (self.name,)

    def __str__(self) -> str:
        if self.display is not None:
            return self.display
        return f"Elemwise{{{self.name},no_inplace}}"

    __repr__ = __str__

    def attributes(self) -> dict[str, Any]:
        return {}

    @property
    def scalar_op(self) -> ElementwiseOp:
        """Theano's name for the scalar function: the op itself."""
        return self

    @property
    def nfunc_spec(self) -> tuple[str, int, int]:
        """The NumPy function's name and arity (Theano's attribute)."""
        return (self.name, self.arity or 2, 1)

    def output_type(self, kinds: Sequence[TensorType]) -> TensorType:
        """The result type of operands of equal rank."""
        _, out = self.types(*(k.dtype for k in kinds))
        shape: list[int | None] = []
        for sizes in zip(*(k.shape for k in kinds), strict=True):
            known = [s for s in sizes if s != 1]
            if not known:
                shape.append(1)
                continue
            fixed = {s for s in known if s is not None}
            if len(fixed) > 1:
                raise ValueError(
                    f"{self.name}: the operands' static shapes do not fit: "
                    f"{[k.shape for k in kinds]}"
                )
            shape.append(fixed.pop() if len(known) == len([s for s in known if s]) else None)
        return tensor_type(out, tuple(shape))

    def make_node(self, *inputs: Any) -> Apply:
        operands = [as_tensor(value) for value in inputs]
        if self.arity is not None and len(operands) != self.arity:
            raise TypeError(f"{self.name} takes {self.arity} operands, got {len(operands)}")
        if not operands:
            raise TypeError(f"{self.name} needs an operand")
        rank = max(v.type.ndim for v in operands)
        operands = [v if v.type.ndim == rank else broadcast_rank(v, rank) for v in operands]
        kinds = [v.type for v in operands]
        return Apply(self, operands, [self.output_type(kinds).make_variable()])

    def get_output_info(
        self, dim_shuffle: Callable[..., Any], *inputs: Variable
    ) -> tuple[list[str], list[tuple[bool, ...]], list[Variable]]:
        """Dtypes and patterns of the results, and the operands brought to one rank.

        Parameters
        ----------
        dim_shuffle
            Called with a pattern and an order, makes the op that adds dimensions.
        """
        rank = max(x.type.ndim for x in inputs)
        operands = []
        for x in inputs:
            order = ["x"] * (rank - x.type.ndim) + list(range(x.type.ndim))
            more = len(order) > x.type.ndim
            operands.append(dim_shuffle(x.type.broadcastable, order)(x) if more else x)
        out = self.output_type([x.type for x in operands])
        return [out.dtype], [out.broadcastable], operands

    # ---------------------------------------------------------------- meaning

    def operand_dtypes(self, node: Apply) -> tuple[str, ...]:
        """The dtypes in which the scalar function takes its operands."""
        return self.types(*(v.type.dtype for v in node.inputs))[0]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        wanted = self.operand_dtypes(node)
        for position in range(node.outputs[0].type.ndim):
            sizes = {
                np.shape(x)[position]
                for x, v in zip(inputs, node.inputs, strict=True)
                if not v.type.broadcastable[position]
            }
            if len(sizes) > 1:
                raise ValueError(mismatch(node, [np.shape(x) for x in inputs], position))
        arrays = [np.asarray(x).astype(d, copy=False) for x, d in zip(inputs, wanted, strict=True)]
        with np.errstate(all="ignore"):
            result = self.ref(*arrays)
            output_storage[0][0] = np.asarray(result).astype(node.outputs[0].type.dtype, copy=False)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        result = []
        for axis in range(node.outputs[0].type.ndim):
            chosen = None
            for variable, shape in zip(node.inputs, shapes, strict=True):
                if variable.type.broadcastable[axis]:
                    continue
                if chosen is None or variable.type.shape[axis] is not None:
                    chosen = shape[axis]
            result.append(shapes[0][axis] if chosen is None else chosen)
        return [tuple(result)]

    def L_op(
        self, inputs: list[Variable], outputs: list[Variable], output_grads: list[Variable]
    ) -> list[Any]:
        out, grad = outputs[0], output_grads[0]
        if self.zero_gradient or dtypes.is_discrete(out.type.dtype):
            return [zero_gradient(x) for x in inputs]
        if self.vjp is None:
            raise UnsupportedError(
                f"The gradient of {self.name} is not defined. Use "
                f"gradient.disconnected_grad or another expression."
            )
        results = self.vjp(inputs, out, grad)
        return [
            disconnected_type.make_variable()
            if g is None
            else (g if isinstance(getattr(g, "type", None), NullType) else fit_gradient(g, x))
            for g, x in zip(results, inputs, strict=True)
        ]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True] for _ in node.inputs]


def _by_name(name: str) -> Any:
    from ltensor.ops.opdef import REGISTRY

    return REGISTRY[name].make()


def mismatch(node: Apply, shapes: Sequence[Sequence[int]], axis: int) -> str:
    """Theano's first line of a dimension mismatch."""
    reference = None
    for k, (variable, shape) in enumerate(zip(node.inputs, shapes, strict=True)):
        if variable.type.broadcastable[axis]:
            continue
        if reference is None:
            reference = k
        elif shape[axis] != shapes[reference][axis]:
            return (
                f"Input dimension mis-match. (input[{reference}].shape[{axis}] = "
                f"{shapes[reference][axis]}, input[{k}].shape[{axis}] = {shape[axis]})"
            )
    return "Input dimension mis-match."


def broadcast_rank(variable: Variable, rank: int) -> Variable:
    """``variable`` with broadcastable dimensions added on the left."""
    from ltensor.ops.shape import dimshuffle

    pad = rank - variable.type.ndim
    return dimshuffle(variable, ("x",) * pad + tuple(range(variable.type.ndim)))


def zero_gradient(x: Variable) -> Variable:
    """Zeros like ``x``, in floatX if ``x`` is discrete."""
    from ltensor.ops.alloc import zeros_like

    dtype = str(config.floatX) if dtypes.is_discrete(x.type.dtype) else x.type.dtype
    return zeros_like(x, dtype=dtype)


def fit_gradient(gradient: Variable, x: Variable) -> Variable:
    """Sum ``gradient`` over the dimensions along which ``x`` was stretched."""
    gradient = as_tensor(gradient)
    if gradient.type.ndim < x.type.ndim:
        gradient = broadcast_rank(gradient, x.type.ndim)
    axes = [
        k
        for k, (a, b) in enumerate(
            zip(x.type.broadcastable, gradient.type.broadcastable, strict=True)
        )
        if a and not b
    ]
    if axes:
        from ltensor.ops.reduce import sum as reduce_sum

        gradient = reduce_sum(gradient, axis=axes, keepdims=True)
    missing = [
        k
        for k, (a, b) in enumerate(
            zip(x.type.broadcastable, gradient.type.broadcastable, strict=True)
        )
        if b and not a
    ]
    if missing:
        from ltensor.ops.alloc import second

        gradient = second(x, gradient)
    return gradient


def elementwise(
    name: str,
    *,
    doc: str,
    types: TypeRule,
    ref: Callable[..., Any],
    emit: Callable[..., Any],
    vjp: Callable[..., Any] | None = None,
    arity: int | None = 1,
    cost: int = 1,
    commutative: bool = False,
    display: str | None = None,
    zero_gradient: bool = False,
    fails: Callable[[Any], Any] | None = None,
    natural: str = "",
    is_free: bool = False,
    domain: Any = None,
    ulp: float = 4,
    dtypes: tuple[str, ...] = (),
    gradient_dtypes: tuple[str, ...] = ("float64",),
) -> ElementwiseOp:
    """Declare a pointwise op.

    Parameters
    ----------
    name : str
        NumPy's name.
    doc : str
        One sentence for the reference page.
    types : callable
        From operand dtypes to (dtypes the scalar function takes, dtype it gives).
    ref : callable
        NumPy reference on arrays of the taken dtypes.
    emit : callable
        ``emit(e, *x)``: the scalar code, against the emitter protocol.
    vjp : callable, optional
        ``vjp(inputs, output, g)``: gradients per input, in ltensor expressions; None where the
        result does not depend on an input.
    arity : int or None
        Number of operands, None for any.
    fails : callable, optional
        For which values of the last operand computing an element of a discrete result raises.
    natural : str
        See `ltensor.ops.opdef.DeclaredOp.natural`.
    is_free : bool
        Whether reading an element of the result costs no more than reading one of an operand.
    domain : callable or list of them, optional
        ``domain(rng, dtype, shape)``: arrays on which it is tested, of all operands or of each;
        default: a normal sample.
    ulp : float
        Allowed distance from the reference in units in the last place.
    """
    from ltensor.ops.samples import elementwise_samples

    op = ElementwiseOp(
        name,
        doc=doc,
        types=types,
        ref=ref,
        emit=emit,
        vjp=vjp,
        arity=arity,
        cost=cost,
        commutative=commutative,
        display=display,
        zero_gradient=zero_gradient,
        fails=fails,
        natural=natural,
        is_free=is_free,
    )
    declare(
        Declaration(
            name,
            doc,
            lambda: op,
            samples=elementwise_samples(op, domain),
            ulp=ulp,
            dtypes=dtypes,
            differentiable=vjp is not None,
            gradient_dtypes=gradient_dtypes,
        )
    )
    return op
