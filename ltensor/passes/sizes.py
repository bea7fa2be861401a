"""Sizes as expressions of the sizes of inputs: which are known to be equal."""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ops.shape import ShapeI
from ltensor.ops.shape_map import ShapeMap
from ltensor.ops.slicing import never_negative


class Sizes:
    """Sizes as expressions of the sizes of inputs, by which they are compared."""

    def __init__(self) -> None:
        self._shapes = ShapeMap()
        self._keys: dict[Variable, Any] = {}

    def of(self, variable: Variable) -> tuple[Variable, ...]:
        """The sizes of a variable."""
        found = self._shapes.shape(variable)
        assert found is not None
        return found

    def key(self, size: Variable) -> Any:
        """A key that is equal for sizes that are computed alike."""
        found = self._keys.get(size)
        if found is not None:
            return found
        stack = [size]
        while stack:
            v = stack[-1]
            if v in self._keys:
                stack.pop()
                continue
            known = constant_value(v)
            node = v.owner
            if known is not None and known.ndim == 0:
                self._keys[v] = known.item()
            elif node is None:
                self._keys[v] = ("input", id(v))
            elif isinstance(node.op, ShapeI):
                better = self.of(node.inputs[0])[node.op.axis]
                same = better.owner is not None and isinstance(better.owner.op, ShapeI)
                if same and better.owner is not None:
                    self._keys[v] = ("dim", id(better.owner.inputs[0]), better.owner.op.axis)
                elif better in self._keys:
                    self._keys[v] = self._keys[better]
                else:
                    stack.append(better)
                    continue
            else:
                waiting = [u for u in node.inputs if u not in self._keys]
                if waiting:
                    stack.extend(waiting)
                    continue
                self._keys[v] = self._joined(node, [self._keys[u] for u in node.inputs])
            stack.pop()
        return self._keys[size]

    def same(self, a: Variable, b: Variable) -> bool:
        """Whether two sizes are known to be equal."""
        return a is b or bool(self.key(a) == self.key(b))

    def _joined(self, node: Apply, keys: list[Any]) -> Any:
        name = getattr(node.op, "ir_name", "")
        if name in ("steps", "cast_int64"):
            return keys[0]
        if name == "minimum":
            parts: set[Any] = set()
            for key in keys:
                parts |= key[1] if isinstance(key, tuple) and key[0] == "least" else {key}
            return parts.pop() if len(parts) == 1 else ("least", frozenset(parts))
        if name == "maximum" and 0 in keys:
            # sizes are not negative
            for key, v in zip(keys, node.inputs, strict=True):
                if key != 0 and never_negative(v):
                    return key
        return (node.op, *keys)
