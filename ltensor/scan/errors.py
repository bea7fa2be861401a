"""What `scan` says about a state whose dtype or rank its step changes."""

from __future__ import annotations

from collections.abc import Sequence

from ltensor.errors import StateTypeError
from ltensor.ir.graph import Apply, Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ir.walks import toposort


def state_dtype_error(
    argument: int, state: str, have: str, value: Variable, taps: Sequence[Variable]
) -> StateTypeError:
    """The error for a state that begins as ``have`` and goes on as ``value``.

    Its text is Theano's; what Theano did not say is a note.

    Parameters
    ----------
    argument : int
        Position among the step's arguments.
    state : str
        What the user calls the state.
    have : str
        Dtype of the initial state.
    value : Variable
        The result of the step.
    taps : list of Variable
        The arguments of the step that hold the state.
    """
    want = value.type.dtype
    error = StateTypeError(
        "When compiling the inner function of scan the following error has been encountered: "
        "The initial state (`outputs_info` in scan nomenclature) of variable "
        f"IncSubtensor{{Set;:int64:}}.0 (argument number {argument}) has dtype {have}, while "
        f"the result of the inner function (`fn`) has dtype {want}. This can "
        "happen if the inner function of scan results in an upcast or downcast."
    )
    lines = [f"State {state} is {have}, but the step makes it {want}."]
    node = changing_node(value, taps)
    source = value.source if node is None else node.source
    cure = f"give the initial state dtype {want}, or cast the result to {have}"
    if node is None:
        lines.append(f"The step returns {_called(value)}, which is {want}.")
    else:
        operands = ", ".join(f"{_called(v)}: {_dtype(v)}" for v in node.inputs)
        lines.append(f"{node.op} ({operands}) makes it {want}.")
        others = [v for v in node.inputs if _dtype(v) == want]
        if others:
            names = " and ".join(dict.fromkeys(_called(v) for v in others))
            lines.append(f"It follows the dtype of {names}.")
            cure = f"give the initial state dtype {want}, or cast {names} to {have}"
    if source is not None:
        lines += ["Backtrace when that node is created:", source.format().rstrip("\n")]
    lines.append(f"Fix: {cure}.")
    note = "\n".join(lines)
    if hasattr(error, "add_note"):
        error.add_note(note)
    else:  # Python 3.10 does not print notes
        error.__notes__ = [note]  # type: ignore[attr-defined]
    return error


def state_rank_error(argument: int, have: int, got: int) -> ValueError:
    """The error for a state of ``have`` dimensions, time included, whose rows get ``got``."""
    return ValueError(
        "When compiling the inner function of scan (the function called by scan in "
        "each of its iterations) the following error has been encountered: The initial "
        "state (`outputs_info` in scan nomenclature) of variable "
        f"IncSubtensor{{Set;:int64:}}.0 (argument number {argument}) has "
        f"{have} dimension(s), while the corresponding variable in the "
        f"result of the inner function of scan (`fn`) has {got} "
        "dimension(s) (it should be one less than the initial state). For example, if "
        "the inner function of scan returns a vector of size d and scan uses the "
        "values of the previous time-step, then the initial state in scan should be a "
        "matrix of shape (1, d). The first dimension of this matrix corresponds to the "
        "number of previous time-steps that scan uses in each of its iterations. In "
        "order to solve this issue if the two variable currently have the same "
        "dimensionality, you can increase the dimensionality of the variable in the "
        "initial state of scan by using dimshuffle or shape_padleft. "
    )


def changing_node(value: Variable, taps: Sequence[Variable]) -> Apply | None:
    """The node of a step that gives the state another dtype than it came with.

    From the result back along the operands that have the new dtype and depend on the state.
    """
    if value.owner is None:
        return None
    depends: set[Variable] = set(taps)
    for node in toposort([value], blockers=taps):
        if any(v in depends for v in node.inputs):
            depends.update(node.outputs)
    node = value.owner
    while True:
        further = [
            v.owner
            for v in node.inputs
            if v.owner is not None and v in depends and _dtype(v) == value.type.dtype
        ]
        if not further or value not in depends:
            return node
        node = further[0]


def _dtype(variable: Variable) -> str:
    return variable.type.dtype if isinstance(variable.type, TensorType) else str(variable.type)


def _called(variable: Variable) -> str:
    if variable.name is None and isinstance(variable, Constant):
        return f"the constant {variable.data}" if variable.type.ndim == 0 else str(variable)
    return str(variable)
