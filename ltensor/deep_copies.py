"""Deep copies of compiled functions: their shared variables are those of the copy."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

from ltensor.ir.graph import Variable
from ltensor.shared import Container, SharedVariable

__all__ = ["deep_copy"]


def deep_copy(function: Any, memo: dict[int, Any]) -> Any:
    """Copy a compiled function by pickling it, its shared variables and containers by ``memo``.

    So the copy of a model updates the parameters of that copy. The graph goes through a pickle,
    which takes it node by node, however deep it is.

    Parameters
    ----------
    function : CompiledFunction
    memo : dict
        What `copy.deepcopy` has copied so far.
    """
    apart: list[Any] = []
    places: dict[int, int] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> int | None:
            is_known = isinstance(obj, Variable) and obj.owner is None and id(obj) in memo
            if not is_known and not isinstance(obj, (SharedVariable, Container)):
                return None
            if id(obj) not in places:
                places[id(obj)] = len(apart)
                apart.append(copy.deepcopy(obj, memo))
            return places[id(obj)]

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return apart[pid]

    file = io.BytesIO()
    Pickler(file, pickle.HIGHEST_PROTOCOL).dump(function)
    file.seek(0)
    made = Unpickler(file).load()
    # other functions may have the same containers, and may have been copied before
    pairs = zip(function.defaults, made.defaults, strict=True)
    made.hold([None if its is None else memo.setdefault(id(mine), its) for mine, its in pairs])
    return made
