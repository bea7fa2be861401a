"""Short descriptions of graphs in which every part has a letter."""

from __future__ import annotations

from typing import Any

__all__ = ["min_informative_str", "var_descriptor"]


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
