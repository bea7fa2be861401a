"""What `ltensor.function` returns: a callable that runs native code.

A call goes straight to the native entry. Arguments that it does not take (lists, other dtypes)
go through `_call_slow`, which converts them by Theano's rules or raises Theano's error, and then
calls the native entry again.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ltensor.io import In, Out
from ltensor.ir.function import Function as Graph
from ltensor.runtime.callable import NativeCallable
from ltensor.runtime.signature import Signature
from ltensor.shared import Container, SharedVariable, cell_of

if TYPE_CHECKING:
    from ltensor.call_storage import Core, Slot
    from ltensor.explanation import Explanation
    from ltensor.function_maker import FunctionMaker
    from ltensor.runtime.link import Linked


#: how often a call is made again before it is given up
MOST_TRIES = 20
_again = threading.local()


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
        self._cells = [cell_of(v) for v in maker.request.shared] if linked.may_call_python else []
        self._native = _Native(self, linked)
        self._linked = linked
        self.defaults = defaults
        self._core: Core | None = None
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
            self._replace(build.link_anew([cell_of(v) for v in self.maker.request.shared]))
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
        """Make a call again from within: tries of one call are nested, and so are counted."""
        given = [
            value if value is not None or default is None else default.get()
            for value, default in zip(args, self.defaults, strict=True)
        ]
        tries = getattr(_again, "tries", 0)
        if tries == MOST_TRIES:
            raise RuntimeError(
                f"{self.name} was called {tries} times in vain: whenever code for its loops was "
                "compiled, another thread changed a shared variable, and the code could not be "
                "kept (for want of memory?). Compile it for one thread (num_threads=1), or do not "
                "change its shared variables while it runs."
            )
        _again.tries = tries + 1
        try:
            return self._native(*self._arguments(given, {}))
        finally:
            _again.tries = tries

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
    def outputs(self) -> list[Out]:
        """The requested outputs, each with its ``variable``."""
        return self.maker.outputs

    @property
    def output_keys(self) -> list[str] | None:
        """The keys of a dict of outputs."""
        return self.maker.keys

    @property
    def unpack_single(self) -> bool:
        """Whether a call returns the one output itself, not a list."""
        return self.maker.returns == "value"

    @property
    def return_none(self) -> bool:
        """Whether the function was asked for no outputs."""
        return self.maker.returns == "none"

    @property
    def fn(self) -> Core:
        """Runs on what lies in `input_storage`, without arguments (see `ltensor.call_storage`)."""
        if self._core is None:
            from ltensor.call_storage import Core

            self._core = Core(self)
        return self._core

    @property
    def input_storage(self) -> list[Slot | Container]:
        """The places of arguments that ``fn`` takes, then the containers of shared variables."""
        return self.fn.input_storage

    @property
    def output_storage(self) -> list[Slot]:
        """The places of the results of ``fn``."""
        return self.fn.output_storage

    @property
    def value(self) -> Any:
        """Theano's ``f.value[x]``, which is ``f[x]``."""
        return self

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
        for argument, state in self.maker.request.kept.items():
            found[argument] = state.container
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
        request = copy.copy(self.maker.request)
        if swap:
            request.replace_shared(swap)
        if delete_updates:
            request.drop_updates()
        made = self.maker.made_again(request, name or self.name, bool(profile))
        for mine, theirs in zip(self.defaults, made.defaults, strict=True):
            if mine is not None and theirs is not None and mine is not theirs:
                theirs.set(mine.get())
        return made

    def hold(self, defaults: list[Container | None]) -> None:
        """Take other containers for those of the defaults."""
        if any(new is not old for new, old in zip(defaults, self.defaults, strict=True)):
            self.defaults = defaults
            self._go_native()

    def __copy__(self) -> CompiledFunction:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledFunction:
        from ltensor.deep_copies import deep_copy

        return deep_copy(self, memo)

    def __reduce__(self) -> Any:
        return self.maker.pickled([None if c is None else c.get() for c in self.defaults])

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
