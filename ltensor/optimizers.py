"""Theano's objects that rewrite graphs: those that run ltensor's passes, and users' own.

``mode.optimizer`` is a `PassOptimizer`. Rewrites that a program registers
(``register_canonicalize``, ``optdb.register``) are taken and named in a warning, but not applied:
they are written for the operations that Theano's own rewrites make, and the passes here make
others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from ltensor.errors import UnsupportedError
from ltensor.ir.function import Function

__all__ = [
    "LEVELS",
    "EquilibriumOptimizer",
    "LocalOptGroup",
    "LocalOptimizer",
    "OpRemove",
    "OpSub",
    "Optimizer",
    "PassOptimizer",
    "PatternSub",
    "SeqOptimizer",
    "TopoOptimizer",
    "in2out",
    "local_optimizer",
    "optdb",
    "out2in",
    "register_canonicalize",
    "register_specialize",
    "register_specialize_device",
    "register_stabilize",
    "register_uncanonicalize",
    "register_useless",
]

#: Theano's optimizer names -> level of the pass pipeline
LEVELS = {
    "fast_run": "fast_run",
    "fast_run_stable": "fast_run",
    "fast_compile": "fast_compile",
    "merge": "fast_compile",
    "stabilize": "fast_compile",
    "unsafe": "fast_run",
    "None": "none",
    None: "none",
    "o0": "none",
    "o1": "fast_compile",
    "o2": "fast_run",
    "o3": "fast_run",
    "o4": "fast_run",
    "default": "fast_run",
}


# ------------------------------------------------------------------------- whole graphs


class Optimizer:
    """Base of what rewrites a whole `FunctionGraph` in place: subclasses define ``apply``."""

    def apply(self, fgraph: Any) -> Any:
        """Rewrite ``fgraph``."""
        raise NotImplementedError(f"{type(self).__name__} does not define apply(fgraph)")

    def add_requirements(self, fgraph: Any) -> None:
        """Attach to ``fgraph`` what `apply` needs: nothing, unless a subclass says so."""

    def optimize(self, fgraph: Any, *args: Any, **kwargs: Any) -> Any:
        """Rewrite ``fgraph`` in place."""
        self.add_requirements(fgraph)
        return self.apply(fgraph, *args, **kwargs)

    __call__ = optimize


class PassOptimizer(Optimizer):
    """ltensor's passes of one level, for Theano's ``mode.optimizer.optimize(fgraph)``.

    Parameters
    ----------
    name : str or None
        One of Theano's names; others mean ``'fast_run'``. ``None`` and ``'None'`` change nothing.
    """

    def __init__(self, name: str | None) -> None:
        self.name = name

    @property
    def level(self) -> str:
        """Level of the pass pipeline: none, fast_compile or fast_run."""
        return LEVELS.get(self.name, "fast_run")

    def apply(self, fgraph: Any) -> None:
        from ltensor.passes.pipeline import optimize

        if self.level != "none":
            result = optimize(Function(fgraph.inputs, fgraph.outputs), self.level)
            fgraph.outputs = result.inline(fgraph.inputs)

    def __str__(self) -> str:
        return str(self.name)

    def __repr__(self) -> str:
        return f"PassOptimizer({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PassOptimizer) and self.name == other.name

    def __hash__(self) -> int:
        return hash((PassOptimizer, self.name))


class TopoOptimizer(Optimizer):
    """Theano's walk over a graph that applies a user's rewrite: it can be made and registered."""

    def __init__(self, rewrites: Any, *args: Any, name: str | None = None, **kwargs: Any) -> None:
        self.rewrites, self.name = rewrites, name

    def apply(self, fgraph: Any) -> None:
        raise UnsupportedError(
            f"{type(self).__name__}: ltensor runs its own passes and no rewrites of users; build "
            "the graph in its rewritten form, or write a pass (docs/adding_a_pass.md)"
        )

    def __str__(self) -> str:
        rewrites = self.rewrites if isinstance(self.rewrites, (list, tuple)) else [self.rewrites]
        return self.name or f"{type(self).__name__}({', '.join(map(_name_of, rewrites))})"


class EquilibriumOptimizer(TopoOptimizer):
    """The same, repeated until nothing changes."""


class SeqOptimizer(TopoOptimizer):
    """Several optimizers, one after the other."""

    def __init__(self, *optimizers: Any, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(optimizers, name=name)


# ------------------------------------------------------------------------- single operations


class LocalOptimizer:
    """Base of users' rewrites of one operation: subclasses define ``transform(node)``."""

    name: str | None = None

    def tracks(self) -> Any:
        """The operations it is meant for; None: all."""
        return None

    def transform(self, node: Any) -> Any:
        """What stands in the place of the node's outputs, or False."""
        raise NotImplementedError(f"{type(self).__name__} does not define transform(node)")

    def add_requirements(self, fgraph: Any) -> None:
        """Attach to ``fgraph`` what `transform` needs: nothing, unless a subclass says so."""

    def __str__(self) -> str:
        return self.name or type(self).__name__


class OpSub(LocalOptimizer):
    """One op in the place of another."""

    def __init__(self, op1: Any, op2: Any, transfer_tags: bool = True) -> None:
        self.op1, self.op2, self.transfer_tags = op1, op2, transfer_tags

    def tracks(self) -> list[Any]:
        return [self.op1]

    def transform(self, node: Any) -> Any:
        return self.op2.make_node(*node.inputs).outputs if node.op == self.op1 else False

    def __str__(self) -> str:
        return f"OpSub({self.op1} -> {self.op2})"


class OpRemove(LocalOptimizer):
    """The operands in the place of the results of an op."""

    def __init__(self, op: Any) -> None:
        self.op = op

    def tracks(self) -> list[Any]:
        return [self.op]

    def transform(self, node: Any) -> Any:
        return node.inputs if node.op == self.op else False

    def __str__(self) -> str:
        return f"OpRemove({self.op})"


class PatternSub(LocalOptimizer):
    """One pattern in the place of another."""

    def __init__(
        self, in_pattern: Any, out_pattern: Any, *args: Any, name: str | None = None, **kwargs: Any
    ) -> None:
        self.in_pattern, self.out_pattern, self.name = in_pattern, out_pattern, name

    def __str__(self) -> str:
        return self.name or f"PatternSub({self.in_pattern} -> {self.out_pattern})"


class LocalOptGroup(LocalOptimizer):
    """Several rewrites under one name."""

    def __init__(self, *rewrites: Any, name: str | None = None, **kwargs: Any) -> None:
        self.opts, self.name = rewrites, name

    def __str__(self) -> str:
        return self.name or "_".join(map(_name_of, self.opts))


in2out = out2in = LocalOptGroup


def local_optimizer(
    tracks: Iterable[Any] | None, inplace: bool = False, requirements: Iterable[Any] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a function that rewrites one operation, which it leaves as it is."""
    return lambda function: function


# ------------------------------------------------------------------------- registers


def _name_of(rewrite: Any) -> str:
    return getattr(rewrite, "__name__", None) or str(rewrite)


def _ignored(register: str, rewrite: Any, name: str | None = None) -> Any:
    """Say that a rewrite is not applied; called by what the user calls."""
    warnings.warn(
        f"{register}: the rewrite {name or _name_of(rewrite)!r} is not applied, ltensor runs its "
        "own passes. If results need it, build the graph in its rewritten form.",
        stacklevel=3,
    )
    return rewrite


def _register(where: str) -> Callable[..., Any]:
    """Theano's function that registers rewrites for one of its phases; also a decorator."""

    def register(lopt: Any, *tags: Any, **kwargs: Any) -> Any:
        name = kwargs.get("name")
        if isinstance(lopt, str):  # a tag: the rewrite is what is decorated

            def decorate(rewrite: Any) -> Any:
                return _ignored(where, rewrite, name)

            return decorate
        return _ignored(where, lopt, name)

    register.__name__ = register.__qualname__ = where
    register.__doc__ = "Take a rewrite, which is not applied, and say so; give it back."
    return register


register_canonicalize = _register("register_canonicalize")
register_stabilize = _register("register_stabilize")
register_specialize = _register("register_specialize")
register_specialize_device = _register("register_specialize_device")
register_uncanonicalize = _register("register_uncanonicalize")
register_useless = _register("register_useless")


class _Optimizations:
    """Stands where Theano keeps its optimizations: they can be asked for by level only."""

    def query(self, *tags: Any, **kwargs: Any) -> PassOptimizer:
        """The optimizer of a name: tags begin with ``+``, ``-`` or ``&`` in Theano."""
        for tag in tags:
            name = tag.lstrip("+&") if isinstance(tag, str) else None
            if name in LEVELS:
                return PassOptimizer(name)
        return PassOptimizer("fast_run")

    def register(self, name: str, obj: Any, *tags: Any, **kwargs: Any) -> None:
        """Take a rewrite, which is not applied, and say so."""
        _ignored("optdb.register", obj, name)

    def __getitem__(self, name: str) -> _Optimizations:
        """Theano's register of one phase: of all, here."""
        return self

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"ltensor has no optdb.{name}: its passes are not Theano's optimizers; "
            "see docs/adding_a_pass.md for how to rewrite graphs"
        )


optdb = _Optimizations()
