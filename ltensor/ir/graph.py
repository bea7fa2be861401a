"""The graph: `Variable` is an SSA value, `Apply` an operation, `Op` its immutable description.

The structure of nodes is never changed after they are made; names, tags and source lines are
annotations. Theano's public attributes (``owner``, ``inputs``, ``outputs``, ``type``, ``tag``,
``clone``) are these very fields.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ltensor.config import config
from ltensor.errors import MethodNotDefined
from ltensor.ir.types import TensorType, Type
from ltensor.source import Source, capture

if TYPE_CHECKING:
    from ltensor.ir.function import Function


class Scratchpad:
    """Free annotations of a variable or Apply: ``v.tag.test_value = ...``."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def __repr__(self) -> str:
        return f"Scratchpad({self.__dict__})"

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__


def mark_source(variable: Variable) -> None:
    """Remember the user's line that made ``variable``."""
    variable.source = capture()


class Variable:
    """A value of the graph.

    Attributes
    ----------
    type : Type
    owner : Apply or None
        The operation that computes it; None for inputs, constants and shared variables.
    index : int
        Which of the owner's outputs it is.
    name : str or None
    """

    #: a `Type`; most code deals with tensors, whose type has more attributes
    type: Any

    if TYPE_CHECKING:
        # The front end's classes of variables have operators and methods; ops use them as well.
        shape: Any
        ndim: Any
        dtype: Any
        T: Any
        dimshuffle: Any

        def __getitem__(self, index: Any) -> Any: ...
        def __neg__(self) -> Any: ...
        def __add__(self, other: Any) -> Any: ...
        def __sub__(self, other: Any) -> Any: ...
        def __mul__(self, other: Any) -> Any: ...
        def __truediv__(self, other: Any) -> Any: ...
        def __pow__(self, other: Any) -> Any: ...
        def __radd__(self, other: Any) -> Any: ...
        def __rsub__(self, other: Any) -> Any: ...
        def __rmul__(self, other: Any) -> Any: ...

    def __init__(
        self,
        type: Type,
        owner: Apply | None = None,
        index: int | None = None,
        name: str | None = None,
    ) -> None:
        self.type = type
        self.owner = owner
        self.index = index
        self.name = name
        self.source: Source | None = None

    @property
    def tag(self) -> Scratchpad:
        """Free annotations (made at first use)."""
        tag = self.__dict__.get("_tag")
        if tag is None:
            tag = self.__dict__["_tag"] = Scratchpad()
        return tag

    @tag.setter
    def tag(self, value: Scratchpad) -> None:
        self.__dict__["_tag"] = value

    def has_tag(self, name: str) -> bool:
        """Whether ``tag.name`` is set (without making a tag)."""
        tag = self.__dict__.get("_tag")
        return tag is not None and name in tag.__dict__

    def clone(self) -> Variable:
        """A fresh variable of the same type and name, without owner."""
        copy = self.type.make_variable(self.name)
        copy.source = self.source
        if "_tag" in self.__dict__:
            copy.tag.__dict__.update(self.tag.__dict__)
        return copy

    def __str__(self) -> str:
        if self.name is not None:
            return self.name
        owner = self.owner
        if owner is not None:
            return f"{owner.op}.{owner.outputs.index(self) if self.index is None else self.index}"
        return f"<{self.type}>"

    def __repr__(self) -> str:
        if config.print_test_value:
            try:
                return f"{self}\n{PureOp._get_test_value(self)!r}"
            except AttributeError:
                pass  # it has none
        return str(self)

    def get_parents(self) -> list[Apply]:
        """The owner, as a list."""
        return [] if self.owner is None else [self.owner]

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["source"] = None
        return state

    #: the module that pickles name; `__module__` may be shown as one of Theano's
    _home: ClassVar[str] = __name__

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._home = cls.__module__

    def __reduce_ex__(self, protocol: Any) -> Any:
        cls = type(self)
        if cls.__module__ == cls._home:
            return super().__reduce_ex__(protocol)
        return _blank, (cls._home, cls.__qualname__), self.__getstate__()


def _blank(module: str, name: str) -> Variable:
    """A variable without contents, which a pickle puts in afterwards."""
    cls = getattr(importlib.import_module(module), name)
    made: Variable = cls.__new__(cls)
    return made


class Constant(Variable):
    """A variable with a value that never changes.

    Attributes
    ----------
    data : ndarray or object
        The value; must not be written.
    """

    def __init__(self, type: Type, data: Any, name: str | None = None) -> None:
        super().__init__(type, None, None, name)
        self.data = type.filter(data)
        if isinstance(self.data, np.ndarray) and self.data.flags.writeable:
            self.data = self.data.copy()
            self.data.flags.writeable = False

    @property
    def value(self) -> Any:
        """The value."""
        return self.data

    def clone(self) -> Constant:
        return self

    def signature(self) -> Any:
        """A hashable key that is equal for constants of the same type and value."""
        key = self.__dict__.get("_signature")
        if key is None:
            data = self.data
            if isinstance(data, np.ndarray):
                key = (self.type, data.shape, data.tobytes())
            else:
                key = (self.type, id(data))
            self.__dict__["_signature"] = key
        return key

    def __str__(self) -> str:
        if self.name is not None:
            return self.name
        data = self.data
        text = str(data).replace("\n", "")
        if isinstance(data, np.ndarray) and len(text) > 20:
            text = text[:10] + ".." + text[-10:]
        kind = "TensorConstant" if isinstance(self.type, TensorType) else "Constant"
        if isinstance(data, np.ndarray) and data.size > 1 and (data == data.flat[0]).all():
            text = f"{data.shape} of {data.flat[0]}"
        return f"{kind}{{{text}}}"


def _as_known(new: Any, old: Any) -> bool:
    """Whether all sizes that the old type knows hold for the new one (equality ignores them)."""
    if new is old:
        return True
    known = getattr(old, "shape", ())
    sizes = getattr(new, "shape", known)
    return all(size is None or size == n for size, n in zip(known, sizes, strict=True))


class Apply:
    """An operation applied to variables.

    Parameters
    ----------
    op : Op
    inputs, outputs : sequence of Variable
        The outputs must be fresh; they are given this node as owner.
    """

    __slots__ = ("__dict__", "inputs", "op", "outputs", "source")

    def __init__(self, op: Op, inputs: Sequence[Variable], outputs: Sequence[Variable]) -> None:
        self.op = op
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.source: Source | None = None
        for position, output in enumerate(self.outputs):
            if output.owner is None:
                output.owner = self
                output.index = position
            elif output.owner is not self or output.index != position:
                raise ValueError("All output variables passed to Apply must be fresh", output)

    @property
    def tag(self) -> Scratchpad:
        """Free annotations."""
        tag = self.__dict__.get("tag_")
        if tag is None:
            tag = self.__dict__["tag_"] = Scratchpad()
        return tag

    @property
    def nin(self) -> int:
        return len(self.inputs)

    @property
    def nout(self) -> int:
        return len(self.outputs)

    @property
    def regions(self) -> tuple[Function, ...]:
        """The sub-graphs this operation holds (loop body, branches)."""
        return self.op.regions

    @property
    def out(self) -> Variable:
        """The output, if there is one only."""
        if len(self.outputs) != 1:
            raise AttributeError(f"{self.op} has {len(self.outputs)} outputs")
        return self.outputs[0]

    def default_output(self) -> Variable:
        """The output that stands for the node in an expression."""
        which = self.op.default_output
        if which is None:
            if len(self.outputs) == 1:
                return self.outputs[0]
            raise AttributeError(f"{self.op}.default_output should be an output index.")
        if not isinstance(which, int) or not 0 <= which < len(self.outputs):
            raise AttributeError(f"{self.op}.default_output is {which!r}, no output's index.")
        return self.outputs[which]

    def get_parents(self) -> list[Variable]:
        """The operands: what a walk up the graph meets next."""
        return list(self.inputs)

    def clone(self) -> Apply:
        """The same operation on the same inputs, with outputs of its own."""
        return self.clone_with_new_inputs(self.inputs)

    def clone_with_new_inputs(self, inputs: Sequence[Variable], strict: bool = True) -> Apply:
        """The same operation on other inputs.

        If all types are the same the node is copied as it is; otherwise it is rebuilt by
        ``op.make_node`` so that its output types follow.
        """
        same = all(
            new is old or (new.type == old.type and _as_known(new.type, old.type))
            for new, old in zip(inputs, self.inputs, strict=True)
        )
        if same:
            outputs = [output.clone() for output in self.outputs]
            node = Apply(self.op, inputs, outputs)
        else:
            node = self.op.make_node(*inputs)
            for new, old in zip(node.outputs, self.outputs, strict=True):
                new.name = old.name
                new.source = old.source
        node.source = self.source
        return node

    def __str__(self) -> str:
        return f"{self.op}({', '.join(str(v) for v in self.inputs)})"

    __repr__ = __str__

    def __getstate__(self) -> Any:
        return {"op": self.op, "inputs": self.inputs, "outputs": self.outputs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.op = state["op"]
        self.inputs = state["inputs"]
        self.outputs = state["outputs"]
        self.source = None


#: Called with every node that is made while a test value mode is on (installed by the front end).
test_value_hook: Callable[[Apply], None] | None = None


class PureOp:
    """How an `Op` makes variables: apart, as programs call ``super(Op, self).__call__(...)``."""

    default_output: int | None = None
    #: types of the operands and results, for the default `make_node`
    itypes: Any = None
    otypes: Any = None
    #: the test value of a variable (installed by the front end)
    _get_test_value: Callable[[Any], Any]

    def make_node(self, *inputs: Any) -> Apply:
        """An Apply of this op; default: check against ``itypes``, make ``otypes``."""
        if self.itypes is None or self.otypes is None:
            raise NotImplementedError(
                f"You can either define itypes and otypes, or implement make_node: {self}"
            )
        if len(inputs) != len(self.itypes):
            raise ValueError(
                f"We expected {len(self.itypes)} inputs but got {len(inputs)} for {self}."
            )
        from ltensor.ir.build import as_tensor

        variables = [as_tensor(value) for value in inputs]
        for variable, kind in zip(variables, self.itypes, strict=True):
            if not (variable.type == kind or kind.is_super(variable.type)):
                raise TypeError(
                    f"We expected inputs of types '{self.itypes}' but got types "
                    f"'{[v.type for v in variables]}'"
                )
        op: Any = self
        return Apply(op, variables, [kind.make_variable() for kind in self.otypes])

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        return_list = kwargs.pop("return_list", False)
        node = self.make_node(*inputs, **kwargs)
        if node.source is None:
            node.source = capture()
        if config.compute_test_value != "off" and test_value_hook is not None:
            test_value_hook(node)
        if self.default_output is not None:
            chosen = node.outputs[self.default_output]
            return [chosen] if return_list else chosen
        if return_list:
            return list(node.outputs)
        return node.outputs[0] if len(node.outputs) == 1 else list(node.outputs)


class Op(PureOp):
    """What an Apply does. Immutable; equal by class and ``__props__``.

    Users subclass it with ``make_node``, ``perform`` and, as they like, ``grad`` (or ``L_op``),
    ``R_op``, ``infer_shape`` and ``connection_pattern``, all as in Theano.
    """

    __props__: ClassVar[tuple[str, ...]] = ()
    #: output index -> list of input indices it is a view of / overwrites
    view_map: ClassVar[dict[int, list[int]]] = {}
    destroy_map: ClassVar[dict[int, list[int]]] = {}

    if TYPE_CHECKING:
        # kinds of ops have attributes of their own
        def __getattr__(self, name: str) -> Any: ...

    # ---------------------------------------------------------------- identity

    def _props(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__props__)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return False
        if "__props__" in type(self).__dict__ or type(self).__props__:
            return self._props() == other._props()
        return not self.__dict__ and not other.__dict__ and type(self).__props__ == ()

    def __hash__(self) -> int:
        try:
            return hash((type(self), self._props()))
        except TypeError:
            return hash(type(self))

    def __str__(self) -> str:
        name = getattr(self, "name", None) or type(self).__name__
        props = self._props()
        if not props:
            return str(name)
        inside = ", ".join(f"{k}={v}" for k, v in zip(self.__props__, props, strict=True))
        return f"{name}{{{inside}}}"

    __repr__ = __str__

    @property
    def regions(self) -> tuple[Function, ...]:
        """Sub-graphs held by this op."""
        return ()

    # ---------------------------------------------------------- meaning, for all

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        """Compute the outputs with NumPy (the definition; tests and constant folding use it)."""
        raise MethodNotDefined("perform", type(self), type(self).__name__)

    def grad(self, inputs: list[Variable], output_grads: list[Variable]) -> list[Any]:
        """Gradients with respect to the inputs (symbolic)."""
        raise MethodNotDefined("grad", type(self), type(self).__name__)

    def L_op(
        self, inputs: list[Variable], outputs: list[Variable], output_grads: list[Variable]
    ) -> list[Any]:
        """As `grad`, with the outputs at hand."""
        return self.grad(inputs, output_grads)

    def has_rop(self) -> bool:
        """Whether a forward rule is defined (otherwise two reverse sweeps are used)."""
        return type(self).R_op is not Op.R_op

    def R_op(self, inputs: list[Variable], eval_points: list[Variable | None]) -> list[Any]:
        """Directional derivatives of the outputs (symbolic)."""
        raise MethodNotDefined("R_op", type(self), type(self).__name__)

    def infer_shape_defined(self) -> bool:
        """Whether the shapes of the outputs are known from those of the inputs."""
        return hasattr(self, "infer_shape")


def evaluate(node: Apply, values: Sequence[Any]) -> list[Any]:
    """The outputs of ``node`` for given input values, by ``op.perform``."""
    storage: list[list[Any]] = [[None] for _ in node.outputs]
    node.op.perform(node, list(values), storage)
    results = []
    for cell, output in zip(storage, node.outputs, strict=True):
        value = cell[0]
        kind = output.type
        if isinstance(kind, TensorType) and not (
            type(value) is np.ndarray and value.dtype == kind.numpy_dtype
        ):
            value = np.asarray(value, dtype=kind.numpy_dtype)
        results.append(value)
    return results
