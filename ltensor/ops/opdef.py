"""Kinds of operations and the registry.

Every operation belongs to one kind, by which the lowering treats it:

============  ==================================================================================
pointwise     one element of the result from the same element of each operand (``ops.elementwise``)
indexed       one element of the result from elements of the operands at other indices: ``element``
reduction     ``identity``, ``combine``, ``finish`` over some axes (``ops.reduce_base``)
kernel        its own loops, written with the loop builder, or a call of the run time: ``lower``
region        holds sub-graphs (scan, ifelse); lowered by the lowering itself
python        a user's ``perform``, called back
============  ==================================================================================

The emitter that ``element``, ``combine`` and ``lower`` receive is
`ltensor.lowering.builder.Builder` (or anything with its methods: ``add``, ``mul``, ``select``,
``exp``, ``load``, ``loop``, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ltensor.ir import dtypes
from ltensor.ir.graph import Apply, Op, Variable
from ltensor.ir.types import RandomStateType, TensorType, tensor_type
from ltensor.ops.batching import Lift, no_rule

#: every declared operation by name; the conformance table, the docs and the parser read it
REGISTRY: dict[str, Declaration] = {}


@dataclass
class Declaration:
    """One entry of the registry.

    Attributes
    ----------
    name : str
        Name in the textual IR.
    doc : str
        One sentence.
    make : callable
        Builds the op from its attributes (keyword arguments).
    samples : callable
        ``samples(rng, dtype)`` yields ``Sample``: how the conformance table calls it.
    ulp : float
        Tolerance of the compiled code against the reference, in units in the last place.
    """

    name: str
    doc: str
    make: Callable[..., Op]
    samples: Callable[..., Any] | None = None
    ulp: float = 4
    dtypes: tuple[str, ...] = ()
    differentiable: bool = True
    gradient_dtypes: tuple[str, ...] = ("float64",)


@dataclass
class Sample:
    """A call of an op for the conformance table.

    Attributes
    ----------
    build : callable
        From variables of the arrays to the output variable(s).
    arrays : list of ndarray
    label : str
    differentiable : bool
        Whether the gradient is compared with finite differences for this sample.
    """

    build: Callable[..., Any]
    arrays: list[Any]
    label: str = ""
    differentiable: bool = True
    ulp: float | None = None
    which: tuple[int, ...] = field(default=())


def declare(declaration: Declaration) -> Declaration:
    """Enter an operation in the registry.

    Raises
    ------
    ValueError
        If another operation has that name.
    """
    if declaration.name in REGISTRY:
        raise ValueError(f"operation {declaration.name!r} is declared twice")
    REGISTRY[declaration.name] = declaration
    return declaration


class DeclaredOp(Op):
    """An operation of ltensor's own: has a kind and a name in the textual IR."""

    kind: ClassVar[str] = "kernel"
    #: name in the textual IR; attributes are ``__props__``
    ir_name: str = ""
    #: of an integer result: "always" if it is never negative, "any" and "all" if it is not where
    #: any or all of the operands are not
    natural: str = ""

    @property
    def is_free(self) -> bool:
        """Whether a result costs nothing where it is read: views, sizes, one value spread out."""
        return self.kind in ("indexed", "shape", "alias")

    def may_fail(self, node: Apply, known: Any = None) -> bool:
        """Whether computing ``node`` may raise because of values of operands, whatever their sizes.

        Such a node must not be moved to where it is computed more often: out of a loop that may
        take no step, out of a branch.

        Parameters
        ----------
        node : Apply
        known : callable, optional
            From an operand to its value, None where it is not known; default: `constant_value`.
        """
        return False

    def elements_made(self, values: Sequence[Any]) -> float:
        """About how many elements the results have for operands of these values.

        Only told by ops whose results may be larger than their operands: constants are not folded
        to more than some thousand elements.
        """
        return 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "grad" in cls.__dict__ and "L_op" not in cls.__dict__:
            # a user's subclass that redefines the gradient by Theano's older method
            cls.L_op = Op.L_op  # type: ignore[method-assign]

    def batch(self, lift: Lift) -> list[Variable]:
        """The results of many steps at once, along a new first axis; see `ltensor.ops.batching`.

        Raises
        ------
        NotBatched
            If there is no such form.
        """
        return no_rule(self, lift)

    def attributes(self) -> dict[str, Any]:
        """The attributes printed in the textual IR."""
        return {name: getattr(self, name) for name in self.__props__}


class IndexedOp(DeclaredOp):
    """Result elements come from operand elements at computed indices; free when fused.

    Subclasses define ``element(e, node, operands, index)``: ``operands[k].at(index)`` is an element
    of operand ``k``, ``operands[k].dims`` its sizes, ``operands[k].value`` its value if 0-d.

    ``affine`` says that the result is a strided view of operand 0, addressed by ``source_index``;
    then ``element`` follows from it and the lowering may pass a view where a buffer is wanted.
    """

    kind = "indexed"
    affine: ClassVar[bool] = False

    def element(self, e: Any, node: Apply, operands: Sequence[Any], index: Sequence[Any]) -> Any:
        return operands[0].at(self.source_index(e, node, operands, index))

    def source_index(
        self, e: Any, node: Apply, operands: Sequence[Any], index: Sequence[Any]
    ) -> list[Any]:
        """The index in operand 0 of the element at ``index`` of the result."""
        raise NotImplementedError


def output_like(variable: Variable, dtype: str | None = None) -> Variable:
    """A fresh variable of the type of ``variable``, perhaps of another dtype."""
    kind: Any = variable.type
    return tensor_type(dtype or kind.dtype, kind.shape).make_variable()


def new_tensor(dtype: str, shape: Sequence[int | None]) -> Variable:
    """A fresh variable; sizes other than 1 are forgotten unless they are ints."""
    return tensor_type(dtype, tuple(shape)).make_variable()


def is_discrete(variable: Variable) -> bool:
    """Whether the variable holds integers or bools."""
    kind = variable.type
    return isinstance(kind, TensorType) and dtypes.is_discrete(kind.dtype)


def is_pure(node: Apply) -> bool:
    """Whether two equal nodes may be merged: no side effects, no random state, nothing destroyed.

    An op says that it has side effects by an attribute ``pure = False``; our own ops that call
    Python (printing, raising) count as such. Equal ops of the user are merged, as by Theano.
    """
    op: Any = node.op
    called_back = isinstance(op, DeclaredOp) and op.kind == "python"
    if not getattr(op, "pure", not called_back) or op.destroy_map:
        return False
    for variable in node.inputs:  # a loop: passes ask this of every node
        if isinstance(variable.type, RandomStateType):
            return False
    for region in op.regions:
        known = region.__dict__.get("_pure")
        if known is None:
            known = region.__dict__["_pure"] = all(map(is_pure, region.nodes))
        if not known:
            return False
    return True
