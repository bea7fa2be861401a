"""Compilation modes: how much is optimized, and what is checked while running.

Theano's names are kept. There is one way to run; of a linker only counts whether it keeps memory
between calls (``allow_gc``).
"""

from __future__ import annotations

from typing import Any

from ltensor.config import config
from ltensor.optimizers import LEVELS, PassOptimizer


class Mode:
    """How a function is compiled.

    Parameters
    ----------
    linker : str or object
        ``'cvm_nogc'`` or another name that ends in ``_nogc``, or an object whose ``allow_gc`` is
        False: the function keeps the memory of its temporaries between calls. Nothing else
        follows from it.
    optimizer : str, None or object
        ``'fast_run'``, ``'fast_compile'``, ``None`` or ``'None'``; objects count as fast_run,
        besides those of modes and of ``optdb.query``.
    """

    #: whether outputs of every node are checked (see `ltensor.nanguard`)
    checks: Any = None

    def __init__(self, linker: Any = None, optimizer: Any = "default") -> None:
        self.provided_linker = linker
        self.provided_optimizer = optimizer
        self.linker = linker

    @property
    def optimizer(self) -> Any:
        """What rewrites a graph in place: ``mode.optimizer.optimize(fgraph)``."""
        given = self.provided_optimizer
        return PassOptimizer(given) if given is None or isinstance(given, str) else given

    @property
    def level(self) -> str:
        """Level of the pass pipeline: none, fast_compile or fast_run."""
        optimizer = self.optimizer
        return optimizer.level if isinstance(optimizer, PassOptimizer) else "fast_run"

    def excluding(self, *tags: str) -> Mode:
        """Theano's selection of optimizations by tag; accepted, without effect."""
        return self

    including = requiring = excluding

    def clone(self, **kwargs: Any) -> Mode:
        """A copy."""
        return type(self)(
            kwargs.get("linker", self.linker), kwargs.get("optimizer", self.provided_optimizer)
        )

    def __str__(self) -> str:
        return f"{type(self).__name__}(linker = {self.linker}, optimizer = {self.optimizer})"

    def __eq__(self, other: object) -> bool:
        return self is other or (
            type(self) is type(other) and self.__dict__ == getattr(other, "__dict__", None)
        )

    def __hash__(self) -> int:
        return hash((type(self), str(self.provided_optimizer)))


class PerformLinker:
    """Theano's linker that calls one op after the other; here only ``allow_gc`` means something.

    Parameters
    ----------
    allow_gc : bool, optional
        Whether memory of temporaries is given back after a call; None: ``config.allow_gc``.
    """

    def __init__(self, allow_gc: bool | None = None, schedule: Any = None) -> None:
        self.allow_gc = config.allow_gc if allow_gc is None else bool(allow_gc)
        self.schedule = schedule

    def __repr__(self) -> str:
        return f"{type(self).__name__}(allow_gc={self.allow_gc})"


class VM_Linker(PerformLinker):
    """Theano's default linker; like `PerformLinker`.

    Raises
    ------
    UnsupportedError
        With a ``callback``, which Theano calls after each op.
    """

    def __init__(
        self,
        allow_gc: bool | None = None,
        use_cloop: bool = False,
        callback: Any = None,
        lazy: bool | None = None,
        schedule: Any = None,
        c_thunks: bool | None = None,
        allow_partial_eval: bool | None = None,
    ) -> None:
        super().__init__(allow_gc, schedule)
        if callback is not None:
            from ltensor.errors import UnsupportedError

            raise UnsupportedError(
                "VM_Linker(callback=...) calls Python after each operation, which do not exist in "
                "one native function. Use theano.printing.Print on the values of interest."
            )
        self.use_cloop, self.lazy, self.c_thunks = use_cloop, lazy, c_thunks
        self.allow_partial_eval = allow_partial_eval


def keeps_memory(mode: Mode) -> bool:
    """Whether functions of this mode keep the memory of their temporaries between calls."""
    linker = mode.linker
    if isinstance(linker, str) and linker.endswith("_nogc"):
        return True
    allow = getattr(linker, "allow_gc", None)
    return not (config.allow_gc if allow is None else allow)


class DebugMode(Mode):
    """Compiles like FAST_RUN. Theano's cross-checks are the conformance suite's work here."""

    def __init__(self, optimizer: Any = "fast_run", **kwargs: Any) -> None:
        super().__init__("debug", optimizer)


class MonitorMode(Mode):
    """Theano's mode with hooks before and after every op: not supported by native code.

    Programs make one when they are imported, and use it when they look for a NaN; so it is the
    compiling that raises.
    """

    def __init__(
        self,
        pre_func: Any = None,
        post_func: Any = None,
        optimizer: Any = "default",
        linker: Any = None,
    ) -> None:
        super().__init__(linker, optimizer)
        self.pre_func, self.post_func = pre_func, post_func

    @property
    def level(self) -> str:
        """None.

        Raises
        ------
        UnsupportedError
        """
        from ltensor.errors import UnsupportedError

        raise UnsupportedError(
            "MonitorMode calls Python between operations, which do not exist in one native "
            "function. Use theano.printing.Print on the values of interest, or mode='nan_guard'."
        )


FAST_COMPILE = Mode("vm", "fast_compile")
FAST_RUN = Mode("cvm", "fast_run")
predefined_modes: dict[str, Mode] = {
    "FAST_COMPILE": FAST_COMPILE,
    "FAST_RUN": FAST_RUN,
    "JAX": FAST_RUN,
    "NUMBA": FAST_RUN,
}
predefined_linkers = {"py", "c", "c|py", "c|py_nogc", "vm", "cvm", "vm_nogc", "cvm_nogc"}
predefined_optimizers = {k for k in LEVELS if isinstance(k, str)}
instantiated_default_mode: Mode | None = None


def get_mode(orig: Any = None) -> Mode:
    """The mode for a name, a Mode, or None (config.mode)."""
    if isinstance(orig, Mode):
        return orig
    name = config.mode if orig is None else orig
    if not isinstance(name, str):
        raise TypeError(f"no such mode: {orig!r}")
    key = name.lower()
    if key in ("debugmode", "debug_mode"):
        return DebugMode()
    if key in ("nanguardmode", "nan_guard"):
        from ltensor.nanguard import NanGuardMode

        return NanGuardMode()
    if key == "mode":
        return Mode(config.linker, config.optimizer)
    found = predefined_modes.get(name) or predefined_modes.get(name.upper())
    if found is None:
        raise Exception(f"No predefined mode exist for string: {orig}")
    return found


def get_default_mode() -> Mode:
    """The mode of config.mode."""
    return get_mode(None)


def register_mode(name: str, mode: Mode) -> None:
    """Make a mode known by a name."""
    if name in predefined_modes:
        raise ValueError(f"Mode name already taken: {name}")
    predefined_modes[name] = mode


class AddDestroyHandler:
    """Accepted for programs that name it; destruction is planned by the lowering."""


class AddFeatureOptimizer(AddDestroyHandler):
    """Accepted for programs that name it."""


class PrintCurrentFunctionGraph(AddDestroyHandler):
    """Accepted for programs that name it; see ``ltensor dump``."""
