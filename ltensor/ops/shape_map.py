"""Sizes of every value of a Function as expressions of the inputs' sizes.

`ShapeMap` asks each op's ``infer_shape`` once per value.
"""

from __future__ import annotations

from typing import Any

from ltensor.ir.build import constant
from ltensor.ir.function import Function
from ltensor.ir.graph import Constant, Variable
from ltensor.ir.types import TensorType
from ltensor.ops.cast import cast
from ltensor.ops.shape import ShapeI
from ltensor.ops.told_sizes import Told

Dims = tuple[Variable, ...]


class ShapeMap:
    """The sizes of variables of one Function, each an int64 scalar variable."""

    def __init__(self) -> None:
        self._known: dict[Variable, Dims] = {}

    @staticmethod
    def of(function: Function) -> ShapeMap:
        """The map of ``function`` (made once, kept with it)."""
        found = function.__dict__.get("_shape_map")
        if found is None:
            found = function.__dict__["_shape_map"] = ShapeMap()
        return found

    def shape(self, variable: Variable) -> Dims | None:
        """The sizes of a tensor variable; None for other types."""
        if not isinstance(variable.type, TensorType):
            return None
        found = self._known.get(variable)
        if found is not None:
            return found
        stack = [variable]
        while stack:
            v = stack[-1]
            if v in self._known or not isinstance(v.type, TensorType):
                stack.pop()
                continue
            node = v.owner
            if node is None or not hasattr(node.op, "infer_shape"):
                self._known[v] = self._from_type(v)
                stack.pop()
                continue
            waiting = [
                u for u in node.inputs if isinstance(u.type, TensorType) and u not in self._known
            ]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            shapes = [self._known.get(u) for u in node.inputs]
            try:
                inferred = node.op.infer_shape(node, shapes)
            except NotImplementedError:
                inferred = [None] * len(node.outputs)
            told = None if hasattr(node.op, "kind") else Told(node, shapes, self.shape)
            for output, dims in zip(node.outputs, inferred, strict=True):
                if not isinstance(output.type, TensorType):
                    continue
                if dims is None:
                    self._known[output] = self._from_type(output)
                else:
                    self._known[output] = self._fit(output, dims, told)
        return self._known[variable]

    @staticmethod
    def _from_type(variable: Variable) -> Dims:
        kind: Any = variable.type
        if isinstance(variable, Constant):
            return tuple(constant(int(n), dtype="int64") for n in variable.data.shape)
        return tuple(
            ShapeI(axis)(variable) if size is None else constant(size, dtype="int64")
            for axis, size in enumerate(kind.shape)
        )

    @staticmethod
    def _fit(variable: Variable, dims: Any, told: Told | None) -> Dims:
        kind: Any = variable.type
        if len(dims) != kind.ndim:
            raise ValueError(
                f"infer_shape of {variable.owner} gave {len(dims)} sizes for {kind.ndim} dimensions"
            )
        result = []
        for axis, (size, known) in enumerate(zip(dims, kind.shape, strict=True)):
            if known is None and told is not None:
                size = told.size(size)
                if size is None:
                    size = ShapeI(axis)(variable)
            if known is not None:
                result.append(constant(known, dtype="int64"))
            elif isinstance(size, Variable):
                result.append(size if size.type.dtype == "int64" else cast(size, "int64"))
            else:
                result.append(constant(int(size), dtype="int64"))
        return tuple(result)
