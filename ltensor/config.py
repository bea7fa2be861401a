"""Flags: ``config.floatX``, ``config.scan.allow_gc = True``, ``change_flags(...)``.

Layer 0: standard library only.  The object ``config`` holds every flag that Theano programs read
or set; most of them steer machinery that ltensor does not have (a C compiler, an old GPU back
end) and are kept so that programs which set them go on working.  Values are plain instance
attributes, so reading one costs an attribute look-up; assignment goes through a check.

Where a value comes from, strongest first: ``LTENSOR_FLAGS``, ``THEANO_FLAGS`` (both read once, at
import: ``"floatX=float32,scan.allow_gc=True"``), the files named in ``THEANORC`` (default
``~/.theanorc`` when it exists), the default.
"""

from __future__ import annotations

import functools
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from ltensor.config_flags import FLAGS

__all__ = [
    "AddConfigVar",
    "BoolParam",
    "Config",
    "ConfigParam",
    "EnumStr",
    "FloatParam",
    "IntParam",
    "StrParam",
    "THEANO_FLAGS_DICT",
    "TypedParam",
    "change_flags",
    "config",
    "flag_values",
    "watch",
]

_F = TypeVar("_F", bound=Callable[..., Any])

#: when this process began to import ltensor: later changes of its files are not what runs
IMPORTED = time.time()


# ------------------------------------------------------------------------- kinds of flags


class ConfigParam:
    """A flag of any type: its default and an optional function that checks and converts.

    Parameters
    ----------
    default
        The value, or a function of no argument that gives it.
    filter
        Called with a new value; returns what to store, or raises ``ValueError``/``TypeError``.
    allow_override
        Whether a program may assign to the flag after import.
    """

    def __init__(
        self,
        default: Any,
        filter: Callable[[Any], Any] | None = None,
        allow_override: bool = True,
    ) -> None:
        self._default = default
        self._filter = filter
        self.allow_override = allow_override

    @property
    def default(self) -> Any:
        """The default value."""
        return self._default() if callable(self._default) else self._default

    def describe(self) -> str:
        """Say what values are taken, for messages and ``print(config)``."""
        return "any value"

    def convert(self, value: Any) -> Any:
        """Give the value to store; raises ValueError when ``value`` is not one of the flag's."""
        return value if self._filter is None else self._filter(value)


class TypedParam(ConfigParam):
    """A flag whose value is made by calling a type (``int``, ``float``, ``str``)."""

    def __init__(
        self,
        default: Any,
        mytype: Callable[[Any], Any],
        is_valid: Callable[[Any], bool] | None = None,
        allow_override: bool = True,
    ) -> None:
        super().__init__(default, None, allow_override)
        self.mytype = mytype
        self.is_valid = is_valid

    def describe(self) -> str:
        """Say what values are taken."""
        return f"a value of type {getattr(self.mytype, '__name__', self.mytype)}"

    def convert(self, value: Any) -> Any:
        """Convert, then ask ``is_valid``."""
        result = self.mytype(value)
        if self.is_valid is not None and not self.is_valid(result):
            raise ValueError(value)
        return result


class StrParam(TypedParam):
    """A flag with any text."""

    def __init__(
        self,
        default: Any,
        is_valid: Callable[[str], bool] | None = None,
        allow_override: bool = True,
    ) -> None:
        super().__init__(default, str, is_valid, allow_override)


class IntParam(TypedParam):
    """A flag with a whole number."""

    def __init__(
        self,
        default: Any,
        is_valid: Callable[[int], bool] | None = None,
        allow_override: bool = True,
    ) -> None:
        super().__init__(default, int, is_valid, allow_override)


class FloatParam(TypedParam):
    """A flag with a number."""

    def __init__(
        self,
        default: Any,
        is_valid: Callable[[float], bool] | None = None,
        allow_override: bool = True,
    ) -> None:
        super().__init__(default, float, is_valid, allow_override)


class BoolParam(ConfigParam):
    """A flag that is on or off; takes True, 1, ``"True"``, ``"true"``, ``"1"`` and their likes."""

    def __init__(self, default: Any, allow_override: bool = True) -> None:
        super().__init__(default, None, allow_override)

    def describe(self) -> str:
        """Say what values are taken."""
        return "True or False"

    def convert(self, value: Any) -> bool:
        """Convert one of the accepted spellings."""
        text = str(value).strip().lower()
        if text in ("true", "1", "1.0", "yes", "on"):
            return True
        if text in ("false", "0", "0.0", "no", "off"):
            return False
        raise ValueError(value)


class EnumStr(ConfigParam):
    """A flag with one of a few texts."""

    def __init__(self, default: str, *options: str, allow_override: bool = True) -> None:
        super().__init__(default, None, allow_override)
        self.all = (default, *options)

    def describe(self) -> str:
        """Say what values are taken."""
        return "one of " + ", ".join(repr(option) for option in self.all)

    def convert(self, value: Any) -> str:
        """Accept the listed texts only."""
        # `None` and other objects count by their text: config.optimizer = None is in use.
        text = str(value)
        if text not in self.all:
            raise ValueError(value)
        return text


class _DeviceParam(StrParam):
    def __init__(self) -> None:
        super().__init__("cpu")

    def describe(self) -> str:
        return "'cpu', 'cuda' or 'cudaN'"

    def convert(self, value: Any) -> str:
        text = str(value)
        family = text.rstrip("0123456789")
        if family not in ("cpu", "cuda", "gpu", "opencl") or (family == "cpu" != text):
            raise ValueError(value)
        return text


# ------------------------------------------------------------------------- the flags


@dataclass(frozen=True)
class _Flag:
    name: str
    doc: str
    param: ConfigParam


_FLAGS: dict[str, _Flag] = {}
#: where the value of a flag lies: the attributes of its group, and its name there
_places: dict[str, tuple[dict[str, Any], str]] = {}
_watchers: dict[str, list[Callable[[Any], None]]] = {}


class Section:
    """A group of flags, such as ``config.scan``; the root of all of them is ``config`` itself."""

    _prefix: str

    def __init__(self, prefix: str = "") -> None:
        object.__setattr__(self, "_prefix", prefix)

    # Only for names that are not there: a flag that exists is found in __dict__ before.
    def __getattr__(self, name: str) -> Any:
        if "__" in name.strip("_"):
            return _lookup(self._prefix + name.replace("__", "."))
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(_unknown(self._prefix + name))

    def __setattr__(self, name: str, value: Any) -> None:
        dotted = self._prefix + name.replace("__", ".")
        flag = _FLAGS.get(dotted)
        if flag is None:
            if isinstance(self.__dict__.get(name), Section):
                raise AttributeError(f"config.{dotted} is a group of flags and takes no value")
            # Theano lets a program invent flags this way; a misspelt one should be noticed.
            warnings.warn(_unknown(dotted) + " (the value is kept, nothing reads it)", stacklevel=2)
            _store(dotted, value)
            return
        if not flag.param.allow_override:
            raise AttributeError(
                f"config.{dotted} cannot be changed after import; set it in LTENSOR_FLAGS"
            )
        _store(dotted, _checked(flag, value))

    def __iter__(self) -> Iterator[str]:
        return (name for name in _FLAGS if name.startswith(self._prefix))

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self.__dict__})

    # There is one set of flags: a copy reads and writes the same.
    def __copy__(self) -> Section:
        return self

    def __deepcopy__(self, memo: Any) -> Section:
        return self

    def __str__(self) -> str:
        lines = []
        for name in self:
            flag = _FLAGS[name]
            lines.append(f"{name} = {_lookup(name)!r} ({flag.param.describe()})\n    {flag.doc}")
        return "\n".join(lines)


class Config(Section):
    """All flags.  Written out here are the types of those that ltensor itself reads."""

    floatX: str
    device: str
    mode: str
    linker: str
    optimizer: str
    optimizer_excluding: str
    optimizer_including: str
    compute_test_value: str
    on_unused_input: str
    exception_verbosity: str
    cast_policy: str
    int_division: str
    warn_float64: str
    profile: bool
    allow_gc: bool

    @property
    def change_flags(self) -> type[change_flags]:
        """`change_flags`, under the name that later versions of Theano gave it."""
        return change_flags


def _unknown(dotted: str) -> str:
    near = get_close_matches(dotted, _FLAGS, n=1, cutoff=0.7)
    return f"there is no flag config.{dotted}" + (f"; did you mean {near[0]}?" if near else "")


def _checked(flag: _Flag, value: Any) -> Any:
    try:
        return flag.param.convert(value)
    except (ValueError, TypeError) as error:
        why = f": {error}" if error.args and error.args[0] is not value else ""
        raise ValueError(
            f"Invalid value ({value!r}) for configuration variable '{flag.name}'. "
            f"It takes {flag.param.describe()}{why}"
        ) from None


def _section(dotted: str) -> tuple[Section, str]:
    """Find (and make) the group that holds a flag, and the flag's own name in it."""
    *groups, name = dotted.split(".")
    section: Section = config
    for i, group in enumerate(groups):
        inner = section.__dict__.get(group)
        if inner is None:
            inner = Section(".".join(groups[: i + 1]) + ".")
            section.__dict__[group] = inner
        if not isinstance(inner, Section):
            raise AttributeError(f"config.{'.'.join(groups[: i + 1])} is a flag, not a group")
        section = inner
    return section, name


def _store(dotted: str, value: Any) -> None:
    section, name = _section(dotted)
    section.__dict__[name] = value
    for follow in _watchers.get(dotted, ()):
        follow(value)


def watch(dotted: str, follow: Callable[[Any], None]) -> None:
    """Call ``follow`` with the new value whenever a flag is set, from now on."""
    _watchers.setdefault(dotted, []).append(follow)


def _lookup(dotted: str) -> Any:
    value: Any = config
    for name in dotted.split("."):
        value = getattr(value, name)
    return value


def flag_values() -> dict[str, Any]:
    """All flags by their dotted names, with their present values."""
    return {name: values[last] for name, (values, last) in _places.items()}


# ------------------------------------------------------------------------- outside settings


def _parse_flags(text: str, origin: str) -> dict[str, str]:
    found = {}
    for item in text.split(","):
        if not item.strip():
            continue
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"{origin}: {item.strip()!r} should be written name=value")
        found[name.strip()] = value.strip()
    return found


def _read_rc() -> dict[str, str]:
    named = os.environ.get("THEANORC")
    paths = named.split(os.pathsep) if named is not None else [os.path.expanduser("~/.theanorc")]
    paths = [path for path in paths if os.path.isfile(path)]
    if not paths:
        return {}
    import configparser  # only where there is a file: it is slow to import

    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names have capitals
    parser.read(paths)
    found = {}
    for section in parser.sections():
        prefix = "" if section == "global" else section + "."
        found.update({prefix + name: value for name, value in parser.items(section)})
    return found


def _outside_settings() -> dict[str, str]:
    found = _read_rc()
    for variable in ("THEANO_FLAGS", "LTENSOR_FLAGS"):
        found.update(_parse_flags(os.environ.get(variable, ""), variable))
    return found


THEANO_FLAGS_DICT: dict[str, str] = _outside_settings()
"""What the environment and the rc files ask for, by flag name."""


def AddConfigVar(
    name: str, doc: str, configparam: ConfigParam, root: Any = None, in_c_key: bool = True
) -> None:
    """Declare a flag, with its value taken from the environment if that gives one.

    Parameters
    ----------
    name
        Dotted name, such as ``"myproject.verbose"``.
    doc
        A sentence on what it does.
    configparam
        Its kind and default: `StrParam`, `IntParam`, `BoolParam`, `FloatParam`, `EnumStr`.
    root, in_c_key
        Taken as Theano takes them, without effect.

    Examples
    --------
    >>> AddConfigVar("example.depth", "How deep to look.", IntParam(3))
    >>> config.example.depth
    3
    """
    if name in _FLAGS:
        raise AttributeError(f"the flag {name} is already declared")
    flag = _Flag(name, doc, configparam)
    # Before the flag is entered: a bad value in the environment must not leave it half made.
    given = THEANO_FLAGS_DICT.get(name)
    value = configparam.default if given is None else _checked(flag, given)
    _store(name, value)
    _FLAGS[name] = flag
    section, last = _section(name)
    _places[name] = (section.__dict__, last)


class change_flags:
    """Set flags for the time of a ``with`` block or of each call of a function.

    Flags inside a group are written with two underscores for the dot, or given in a dict.

    Examples
    --------
    >>> with change_flags(floatX="float32", scan__allow_gc=True):
    ...     config.floatX
    'float32'
    """

    def __init__(self, args: Mapping[str, Any] | tuple[()] = (), **flags: Any) -> None:
        wanted = {**dict(args), **flags}
        self._flags = {name.replace("__", "."): value for name, value in wanted.items()}
        for name in self._flags:
            if name not in _FLAGS:
                raise AttributeError(_unknown(name))
        # A stack: one object may be entered again while it is active (recursive functions).
        self._saved: list[dict[str, Any]] = []

    def __enter__(self) -> change_flags:
        new = {name: _checked(_FLAGS[name], value) for name, value in self._flags.items()}
        self._saved.append({name: _lookup(name) for name in new})
        for name, value in new.items():
            _store(name, value)
        return self

    def __exit__(self, *exc: object) -> None:
        for name, value in self._saved.pop().items():
            _store(name, value)

    def __call__(self, function: _F) -> _F:
        """Decorate a function."""

        @functools.wraps(function)
        def with_flags(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return with_flags  # type: ignore[return-value]


config = Config()


def _param(default: Any, options: tuple[str, ...]) -> ConfigParam:
    """Choose the kind of flag that a row of the table means."""
    if options:
        return EnumStr(default, *options)
    if isinstance(default, bool):
        return BoolParam(default)
    if isinstance(default, int):
        return IntParam(default)
    return FloatParam(default) if isinstance(default, float) else StrParam(default)


AddConfigVar("device", "Where functions run.", _DeviceParam())
for _name, _default, _doc, *_options in FLAGS:
    AddConfigVar(_name, _doc, _param(_default, tuple(_options)))
