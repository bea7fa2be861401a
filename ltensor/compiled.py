"""What `ltensor.function` returns: a callable that runs native code, and its maker.

A call goes straight to the native entry. Arguments that it does not take (lists, other dtypes)
go through `_call_slow`, which converts them by Theano's rules or raises Theano's error, and then
calls the native entry again.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ltensor import hooks
from ltensor.compile_modes import Mode, keeps_memory
from ltensor.io import In
from ltensor.ir.function import Function as Graph
from ltensor.ir.graph import Variable
from ltensor.profiling import ProfileStats
from ltensor.runtime.callable import NativeCallable
from ltensor.runtime.entry import Returns
from ltensor.runtime.signature import Signature
from ltensor.shared import Container, SharedVariable

if TYPE_CHECKING:
    from ltensor.explanation import Explanation
    from ltensor.passes.remarks import Remark
    from ltensor.runtime.link import Linked

# The passes and the lowering are imported when the first function is compiled: half of the time
# of ``import ltensor`` otherwise.

#: sum over all functions, for the profile
totals = {"grad": 0.0, "import": time.perf_counter()}


class _Native(NativeCallable):
    """The bare native function, for callers that have converted their arguments already."""

    def __init__(self, owner: CompiledFunction, linked: Linked) -> None:
        self.owner = owner
        count = len(owner.maker.specs)
        known = Signature([None] * count, [None] * count, [False] * count, held=owner._cells)
        self._install_entry(linked.address, linked, known)

    def _call_slow(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "the native function refused converted arguments: "
            + ", ".join(f"{type(a).__name__} {getattr(a, 'dtype', '')}" for a in args)
        )

    def _raise_error(self, record: tuple[int, ...], args: tuple[Any, ...]) -> Any:
        return self.owner._failed(record, args)


class CompiledFunction(NativeCallable):
    """A compiled graph.

    Attributes
    ----------
    name : str
    maker : FunctionMaker
        ``maker.fgraph`` is the optimized graph.
    profile : ProfileStats or None
    """

    def __init__(
        self, maker: FunctionMaker, linked: Linked, defaults: list[Container | None]
    ) -> None:
        self.maker = maker
        self.name = maker.name
        self.profile = maker.profile
        self.trust_input = False
        self._specs = maker.specs
        self._kinds = [s.variable.type for s in maker.specs]
        # Python called back, and other threads meanwhile, may replace the values of shared
        # variables, whose memory the native code goes on reading: the arrays are held for the call
        self._cells = [_cell(v) for v in maker.request.shared] if linked.may_call_python else []
        self._native = _Native(self, linked)
        self._linked = linked
        self.defaults = defaults
        strict = any(s.strict for s in maker.specs)
        self._is_plain = maker.profile is None and not maker.input_updates and not strict
        self._go_native()

    def _go_native(self) -> None:
        """Let calls run the native code, if it does all that a call of this function takes."""
        if not self._is_plain:
            return
        known = Signature(
            [spec.name for spec in self._specs],
            [None if default is None else default.cell for default in self.defaults],
            [spec.allow_downcast for spec in self._specs],
            self.maker.keys,
            self._cells,
        )
        self._install_entry(self._linked.address, self._linked, known)

    # ------------------------------------------------------------- calls

    def _call_slow(self, *args: Any, **kwargs: Any) -> Any:
        profile = self.profile
        started = time.perf_counter() if profile is not None else 0.0
        keep = kwargs.pop("output_subset", None)
        values = self._arguments(args, kwargs)
        inner = time.perf_counter() if profile is not None else 0.0
        result = self._native(*values)
        if profile is not None:
            profile.record(time.perf_counter() - started, time.perf_counter() - inner)
        maker = self.maker
        if maker.input_updates:
            result = self._update_defaults(result)
        if maker.keys is not None:
            result = dict(zip(maker.keys, result, strict=True))
        if keep is not None and isinstance(result, dict):
            result = {key: result[key] for key in keep}
        elif keep is not None and isinstance(result, list):
            result = [result[k] for k in keep]
        return result

    def _arguments(self, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
        specs = self._specs
        n = len(specs)
        if len(args) > n:
            raise TypeError("Too many parameter passed to theano function")
        given: list[Any] = [*args, *[_ABSENT] * (n - len(args))]
        for key, value in kwargs.items():
            position = self._find(key)
            if given[position] is not _ABSENT:
                raise TypeError(f"Multiple values for input: {specs[position].name}")
            given[position] = value
        values = []
        for position, (spec, value) in enumerate(zip(specs, given, strict=True)):
            if value is _ABSENT:
                container = self.defaults[position]
                if container is None:
                    raise TypeError(f"Missing required input: {spec.name or spec.variable}")
                values.append(container.get())
                continue
            values.append(self._filter(position, spec, value))
        return values

    def _find(self, key: str) -> int:
        names = [s.name for s in self._specs]
        matches = [k for k, name in enumerate(names) if name == key]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise TypeError(f"Ambiguous name: {key} - please check the names of the inputs")
        named = [name for name in names if name is not None]
        raise TypeError(
            f"Unknown input or state: {key}. The function has {len(named)} named "
            f"input{'s' if len(named) != 1 else ''} ({', '.join(named)})."
        )

    def _filter(self, position: int, spec: In, value: Any) -> np.ndarray:
        kind = self._kinds[position]
        try:
            array = kind.filter(value, spec.strict, spec.allow_downcast)
        except (TypeError, ValueError, OverflowError) as error:
            self._explain(error, position, spec)
            raise
        if (
            not array.flags.c_contiguous
            or not array.dtype.isnative
            or type(array) is not np.ndarray
        ):
            array = np.array(array, dtype=kind.numpy_dtype, order="C", copy=True, subok=False)
        return array

    def _explain(self, error: Exception, position: int, spec: In) -> None:
        source = spec.variable.source
        where = ""
        if source is not None:
            where = f" \nBacktrace when that variable is created:\n\n{source.format()}"
        prefix = (
            f'Bad input argument to theano function with name "{self.name}" at index {position} '
            f"(0-based). {where}"
        )
        if len(error.args) == 1:
            error.args = (prefix + str(error.args[0]),)
        else:
            error.args = (prefix, *error.args)

    def _update_defaults(self, result: Any) -> Any:
        count = len(self.maker.input_updates)
        news = result[-count:]
        for position, value in zip(self.maker.input_updates, news, strict=True):
            container = self.defaults[position]
            assert container is not None
            container.set(value)
        rest = result[:-count]
        if self.maker.returns == "value":
            return rest[0]
        return rest

    def _raise_error(self, record: tuple[int, ...], args: tuple[Any, ...]) -> Any:
        result = self._failed(record, args)
        keys = self.maker.keys
        return result if keys is None else dict(zip(keys, result, strict=True))

    def _failed(self, record: tuple[int, ...], args: tuple[Any, ...]) -> Any:
        """Raise what the record tells, or give the results of another try."""
        number = record[0]
        if number < 0:
            raise MemoryError(f"not enough memory to run {self.name}")
        build = self.maker.build
        if not build.is_faithful:
            # the numbers of this code mean nothing here: it fails again with our own
            self._replace(build.link_anew([_cell(v) for v in self.maker.request.shared]))
            return self._once_more(args)
        site = build.lowered[0].program.errors[number]
        if site.kind == "overtaken":
            return self._once_more(args)
        position = 0
        if site.node is not None:
            nodes = self.maker.fgraph.nodes
            position = next((k for k, n in enumerate(nodes) if n is site.node), 0)
        from ltensor.runtime import failures

        raise failures.exception(site, record, position)

    def _once_more(self, args: tuple[Any, ...]) -> Any:
        given = [
            value if value is not None or default is None else default.get()
            for value, default in zip(args, self.defaults, strict=True)
        ]
        return self._native(*self._arguments(given, {}))

    def _replace(self, linked: Linked) -> None:
        """Run other code from now on; the present one may still be running."""
        self._former = (self._linked, self._native)
        self._linked, self._native = linked, _Native(self, linked)
        self._go_native()

    # ------------------------------------------------------------- Theano's attributes

    @property
    def fgraph(self) -> Graph:
        """The optimized graph."""
        return self.maker.fgraph

    @property
    def fn(self) -> Any:
        """The inner callable."""
        return self._native

    @property
    def container(self) -> dict[Any, Any]:
        """Containers of shared variables and of inputs with defaults."""
        found: dict[Any, Any] = {}
        for spec, default in zip(self._specs, self.defaults, strict=True):
            if default is not None:
                found[spec.variable] = default
                if spec.name is not None:
                    found[spec.name] = default
        for variable in self.maker.request.shared:
            found[variable] = variable.container
            if variable.name is not None:
                found[variable.name] = variable.container
        return found

    def __getitem__(self, key: Any) -> Any:
        return self.container[key].value

    def __setitem__(self, key: Any, value: Any) -> None:
        self.container[key].value = value

    def __contains__(self, key: Any) -> bool:
        return key in self.container

    def get_shared(self) -> list[SharedVariable]:
        """The shared variables that are read or updated."""
        return list(self.maker.request.shared)

    def free(self) -> None:
        """Give the memory that is kept between calls (``allow_gc=False``) back to the system."""
        if self._linked.arena is not None:
            self._linked.arena.free()

    def copy(
        self,
        share_memory: bool = False,
        swap: dict[Any, Any] | None = None,
        delete_updates: bool = False,
        name: str | None = None,
        profile: Any = None,
    ) -> CompiledFunction:
        """A copy, with shared variables exchanged by ``swap``, without updates if asked."""
        maker = self.maker
        request = copy.copy(maker.request)
        if swap:
            request.replace_shared(swap)
        if delete_updates:
            request.drop_updates()
        new = FunctionMaker(
            maker.specs,
            request,
            maker.keys,
            maker.returns,
            maker.mode,
            name or self.name,
            maker.caller,
            bool(profile),
            time.perf_counter(),
        )
        made = new.create()
        for mine, theirs in zip(self.defaults, made.defaults, strict=True):
            if mine is not None and theirs is not None and mine is not theirs:
                theirs.set(mine.get())
        return made

    def __copy__(self) -> CompiledFunction:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledFunction:
        import pickle

        return pickle.loads(pickle.dumps(self))

    def __reduce__(self) -> Any:
        # the graph first: deep ones are pickled node by node
        return _remake, (
            self.maker.build.graph,
            self.maker.recipe(),
            [None if c is None else c.get() for c in self.defaults],
        )

    def explain(self, *args: Any, sizes: dict[Any, Any] | None = None) -> Explanation:
        """What the compiled function keeps in memory and why, and what became of its loops.

        Parameters
        ----------
        *args
            Arguments as for a call: bytes are worked out for their sizes. Nothing is run.
        sizes : dict, optional
            The same by example sizes: name (or variable) of an argument -> its shape, or the value
            of a 0-d one.

        Returns
        -------
        Explanation
            ``print`` it; ``buffers`` and ``loops`` are lists of records, ``as_dict()`` is all of
            it as plain data.

        Examples
        --------
        >>> import ltensor, ltensor.tensor as T
        >>> x = T.dvector("x")
        >>> f = ltensor.function([x], x + 1)
        >>> [b.formula for b in f.explain().buffers]
        ['8 * x.shape[0]']
        >>> f.explain(sizes={"x": (1000,)}).buffers[0].bytes
        8000
        """
        from ltensor.explain import explain

        return explain(self, args, sizes)

    def __repr__(self) -> str:
        return f"<ltensor function {self.name!r}>"

    __str__ = __repr__


_ABSENT = object()


def _remake(_: Graph, recipe: tuple[Any, ...], defaults: list[Any]) -> CompiledFunction:
    parts = (*recipe, time.perf_counter())
    maker = FunctionMaker(*parts)
    function = maker.create()
    for container, value in zip(function.defaults, defaults, strict=True):
        if container is not None:
            container.set(value)
    return function


class FunctionMaker:
    """Optimizes and compiles one request; kept by the function it made.

    Attributes
    ----------
    fgraph : Function
        The optimized graph.
    inputs : list of In
    mode : Mode
    build : Build
        The function's stages.
    """

    def __init__(
        self,
        specs: Sequence[In],
        request: Any,
        keys: list[str] | None,
        returns: Returns,
        mode: Mode,
        name: str,
        caller: str,
        wants_profile: Any,
        started: float,
    ) -> None:
        self.specs = list(specs)
        self.inputs = self.specs
        self.request = request
        self.keys = keys
        self.returns = returns
        self.mode = mode
        self.name = name
        self.caller = caller
        self.wants_profile = bool(wants_profile) or isinstance(wants_profile, ProfileStats)
        self.profile: ProfileStats | None = None
        if isinstance(wants_profile, ProfileStats):
            self.profile = wants_profile
        elif wants_profile:
            self.profile = ProfileStats(name)
        self.input_updates = [k for k, s in enumerate(self.specs) if s.update is not None]
        self.started = started

    @property
    def outputs(self) -> list[Variable]:
        """The requested outputs."""
        return list(self.request.outputs)

    @property
    def unoptimized(self) -> Graph:
        """The graph before the passes."""
        return self.build.graph

    @property
    def fgraph(self) -> Graph:
        """The optimized graph; made now if the code came from the disk."""
        return self.build.optimized

    @property
    def remarks(self) -> list[Remark]:
        """What the passes and the lowering said."""
        return self.build.remarks

    def recipe(self) -> tuple[Any, ...]:
        """What makes this maker again in another process."""
        return (
            self.specs,
            self.request,
            self.keys,
            self.returns,
            self.mode,
            self.name,
            self.caller,
            self.wants_profile,
        )

    def create(self) -> CompiledFunction:
        """Compile."""
        from ltensor.runtime.build import Build

        shared = list(self.request.shared)
        self.build = build = Build(
            self.request.graph(self.name),
            self.mode,
            len(self.specs),
            len(self.request.outputs),
            [shared.index(v) for v in self.request.updated],
            # values that replace defaults are returned as well, after the outputs proper
            "list" if self.input_updates else self.returns,
            keeps_memory(self.mode),
            self.request.lent,
        )
        report = build.run_passes(snapshots=True) if hooks.wants_snapshots() else None
        watched = self.profile is not None or bool(hooks.listeners)
        linked = build.link([_cell(v) for v in shared], use_plans=not watched)
        function = CompiledFunction(self, linked, list(map(_default, self.specs)))
        total = time.perf_counter() - self.started
        if self.profile is not None:
            self.profile.compiled(build.optimized, total, build.seconds, build.report.summary())
        if os.environ.get("LTENSOR_DEBUG", "0") not in ("", "0"):
            print(build.timing(), file=sys.stderr)
        if hooks.listeners:
            hooks.compiled(
                hooks.CompileRecord(
                    name=self.name,
                    graph=build.graph,
                    snapshots=[] if report is None else report.snapshots,
                    optimized=build.final,
                    program=linked.lowered.program,
                    llvm=linked.text,
                    module=linked.module,
                    function=function,
                )
            )
        return function


def _default(spec: In) -> Container | None:
    value = spec.value
    if value is None or isinstance(value, Container):
        return value
    return Container(spec.variable.type, value, spec.strict, spec.allow_downcast, spec.name)


def _cell(variable: SharedVariable) -> Any:
    cell = variable.container.cell
    if cell is None:
        from ltensor.errors import UnsupportedError

        raise UnsupportedError(
            f"the shared variable {variable} holds a {type(variable.container.get()).__name__}, "
            "which native code cannot read. Use an array, a number or a RandomState."
        )
    return cell
