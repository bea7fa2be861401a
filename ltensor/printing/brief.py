"""Short descriptions of graphs, in which parts that are met again have a letter or number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ltensor.ir.graph import Apply, Variable
from ltensor.ir.walks import toposort

__all__ = ["as_string", "min_informative_str", "var_descriptor"]


class _TagGenerator:
    """Gives A, B, ..., Z, BA, ..."""

    def __init__(self) -> None:
        self.cur_tag_number = 0

    def get_tag(self) -> str:
        """The next letter."""
        from ltensor.printing.tree import char_from_number

        self.cur_tag_number += 1
        return char_from_number(self.cur_tag_number - 1)


def min_informative_str(
    obj: Any,
    indent_level: int = 0,
    _prev_obs: dict[int, str] | None = None,
    _tag_generator: _TagGenerator | None = None,
) -> str:
    """A graph in lines, down to the variables with names; repeated parts by their letter.

    Examples
    --------
    >>> print(min_informative_str(x + y))
    A. Elemwise{add,no_inplace}
     B. x
     C. y
    """
    seen = {} if _prev_obs is None else _prev_obs
    tags = _tag_generator or _TagGenerator()
    indent = " " * indent_level
    if id(obj) in seen:
        return f"{indent}<{seen[id(obj)]}>"
    tag = seen[id(obj)] = tags.get_tag()
    owner = getattr(obj, "owner", None)
    if hasattr(obj, "__array__"):
        text = "<ndarray>"
    elif getattr(obj, "name", None) is not None:
        text = obj.name
    elif owner is not None:
        below = [min_informative_str(v, indent_level + 1, seen, tags) for v in owner.inputs]
        text = "\n".join([str(owner.op), *below])
    else:
        text = str(obj)
    return f"{indent}{tag}. {text}"


def var_descriptor(
    obj: Any, _prev_obs: dict[int, str] | None = None, _tag_generator: _TagGenerator | None = None
) -> str:
    """A graph in one line of a fixed form, in which names of variables do not matter."""
    seen = {} if _prev_obs is None else _prev_obs
    tags = _tag_generator or _TagGenerator()
    if id(obj) in seen:
        return f"<{seen[id(obj)]}>"
    tag = seen[id(obj)] = tags.get_tag()
    owner = getattr(obj, "owner", None)
    if hasattr(obj, "__array__"):
        text = "<ndarray>"
    elif owner is not None:
        below = [var_descriptor(v, seen, tags) for v in owner.inputs]
        text = f"{owner.op}({','.join(below)})"
    else:
        text = str(obj)
    return f"{tag}={text}"


def _call_text(node: Apply, operands: list[str]) -> str:
    return f"{node.op}({', '.join(operands)})"


def as_string(
    i: Iterable[Variable],
    o: Sequence[Variable],
    leaf_formatter: Callable[[Variable], str] = str,
    node_formatter: Callable[[Apply, list[str]], str] = _call_text,
) -> list[str]:
    """Outputs ``o`` as calls of operations down to inputs ``i``; ``*1 -> `` marks what is repeated.

    Parameters
    ----------
    leaf_formatter : callable
        From a variable where the description ends to its text.
    node_formatter : callable
        From an Apply and the texts of its operands to its text.

    Examples
    --------
    >>> import ltensor.tensor as T
    >>> x = T.scalar("x")
    >>> y = T.exp(x)
    >>> as_string([x], [y * y])
    ['Elemwise{mul,no_inplace}(*1 -> Elemwise{exp,no_inplace}(x), *1)']
    """
    ends = set(i)
    uses = Counter(v.owner for v in o)
    for node in toposort(o, blockers=ends):
        uses.update(v.owner for v in node.inputs if v not in ends)
    numbers: dict[Apply, int] = {}
    described: set[Apply] = set()

    def describe(variable: Variable) -> str:
        node = variable.owner
        if node is None or variable in ends:
            return leaf_formatter(variable)
        result = f"::{variable.index}" if len(node.outputs) > 1 else ""
        if node in described:
            return f"*{numbers[node]}{result}"
        described.add(node)
        if uses[node] > 1:
            numbers[node] = len(numbers) + 1
        text = node_formatter(node, [describe(v) for v in node.inputs])
        return f"*{numbers[node]} -> {text}" if node in numbers else text

    return [describe(variable) for variable in o]
