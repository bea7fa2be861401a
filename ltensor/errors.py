"""Every exception that ltensor defines, under the names and bases of Theano's.  Layer 0.

Programs catch these by name (``theano.gof.MissingInputError``) or by base (``TypeError``), so both
are part of the interface.  `report` is the one place that decides what a long message looks like.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltensor.source import Source

__all__ = [
    "AdvancedIndexingError",
    "AliasedMemoryError",
    "AlreadyThere",
    "AsTensorError",
    "BadDestroyMap",
    "BadOptimization",
    "BadThunkOutput",
    "BadViewMap",
    "ComplexError",
    "DebugModeError",
    "DisconnectedInputError",
    "EmptyConstantError",
    "GradientError",
    "InconsistencyError",
    "IncorrectlyUnsafeError",
    "IntegerDivisionError",
    "InvalidValueError",
    "LoweringError",
    "MethodNotDefined",
    "MissingInputError",
    "NotScalarConstantError",
    "NullTypeGradError",
    "ParseError",
    "ShapeError",
    "StateTypeError",
    "StochasticOrder",
    "TestValueError",
    "UnsupportedError",
    "UnusedInputError",
    "VerifyError",
    "WrongValue",
    "report",
]


def report(
    summary: str,
    *,
    source: Source | None = None,
    details: Iterable[str] = (),
    fix: str | None = None,
) -> str:
    """Lay out a message: what happened, details, the user's frames, what to do about it.

    Parameters
    ----------
    summary
        One or two sentences; programs match its beginning.
    source
        Where the node in question was made.
    details
        Further lines, such as ``"Inputs shapes: [(3,), (4,)]"``.
    fix
        What the user can do.

    Examples
    --------
    >>> print(report("No such axis: 2", details=["x has 2 dimensions"], fix="use axis=1"))
    No such axis: 2
    x has 2 dimensions
    Fix: use axis=1
    """
    lines = [summary, *details]
    if source is not None:
        lines += ["", "Backtrace when the node is created:", source.format().rstrip("\n")]
    if fix:
        lines.append(f"Fix: {fix}")
    return "\n".join(lines)


# ------------------------------------------------------------------------- building graphs


class AsTensorError(TypeError):
    """A value cannot be made a tensor variable."""


class ShapeError(Exception):
    """The shape of a variable cannot be worked out."""


class StateTypeError(ValueError, TypeError):
    """A step of a scan changes the dtype of a state: a TypeError, and Theano's ValueError."""


# programs print `type(error).__name__`, and Theano's was this
StateTypeError.__name__ = "ValueError"


class NotScalarConstantError(Exception):
    """A variable was expected to be a constant scalar and is not."""


class EmptyConstantError(NotScalarConstantError):
    """A variable was expected to be a constant scalar and is an empty constant."""


class AdvancedIndexingError(TypeError):
    """An index is not of the simple kind that was asked for."""


class ComplexError(NotImplementedError):
    """The operation makes no sense for complex numbers, or NumPy gave it up."""


class IntegerDivisionError(Exception):
    """Two integers are divided while ``config.int_division`` forbids it."""


class MethodNotDefined(AttributeError):
    """A user's `Op` lacks a method that was needed (``grad``, ``perform``, ...).

    An AttributeError as well, which is what Theano raises for a missing ``grad``.
    """


class TestValueError(Exception):
    """A variable has no test value and ``config.compute_test_value`` needs one."""

    __test__ = False  # not for pytest, in spite of the name


class InconsistencyError(Exception):
    """A change would make a graph contradict itself."""


class AlreadyThere(Exception):
    """A feature is attached to a graph a second time."""


# ------------------------------------------------------------------------- gradients


class DisconnectedInputError(ValueError):
    """A gradient was asked with respect to what the cost does not depend on."""


class NullTypeGradError(TypeError):
    """A gradient goes through something that has none, such as a random draw."""


class GradientError(Exception):
    """`verify_grad` found a symbolic gradient that differs from the numeric one.

    Parameters
    ----------
    arg
        Which argument.
    err_pos
        Flat position of the worst element in it.
    shape
        Shape of the argument.
    val1, val2
        Numeric and symbolic gradient there.
    abs_err, rel_err
        The errors found.
    abs_tol, rel_tol
        The errors allowed.
    """

    def __init__(
        self,
        arg: int,
        err_pos: int,
        shape: tuple[int, ...],
        val1: float,
        val2: float,
        abs_err: float,
        rel_err: float,
        abs_tol: float,
        rel_tol: float,
    ) -> None:
        super().__init__(arg, err_pos, shape, val1, val2, abs_err, rel_err, abs_tol, rel_tol)
        self.arg = arg
        self.err_pos = err_pos
        self.shape = shape
        self.val1 = val1
        self.val2 = val2
        self.abs_err = abs_err
        self.rel_err = rel_err
        self.abs_tol = abs_tol
        self.rel_tol = rel_tol

    def __str__(self) -> str:
        return (
            f"GradientError: numeric gradient and analytic gradient exceed tolerance:\n"
            f"        At position {self.err_pos} of argument {self.arg} with shape {self.shape},\n"
            f"            val1 = {self.val1:f}      ,  val2 = {self.val2:f}\n"
            f"            abs. error = {self.abs_err:f},  abs. tolerance = {self.abs_tol:f}\n"
            f"            rel. error = {self.rel_err:f},  rel. tolerance = {self.rel_tol:f}"
        )


class WrongValue(Exception):
    """A value computed by a test differs from the expected one."""

    def __init__(self, expected: Any, val: Any, rtol: float, atol: float) -> None:
        super().__init__(expected, val, rtol, atol)
        self.expected = expected
        self.val = val
        self.rtol = rtol
        self.atol = atol

    def __str__(self) -> str:
        return (
            f"WrongValue\n  expected: {self.expected!r}\n  got: {self.val!r}\n"
            f"  rtol: {self.rtol}, atol: {self.atol}"
        )


# ------------------------------------------------------------------------- compiling


class MissingInputError(ValueError):
    """An output needs a variable that is neither an input nor has a value.

    The keyword ``variable`` adds where that variable was made.
    """

    def __init__(self, *args: Any, variable: Any = None) -> None:
        source = getattr(variable, "source", None)
        if source is not None and args:
            where = f"\nBacktrace when that variable is created:\n\n{source.format()}"
            args = (f"{args[0]}{where}", *args[1:])
        super().__init__(*args)
        self.variable = variable

    # The variable may be too much to pickle; the message says it all.
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args


class UnusedInputError(Exception):
    """An input of a function is not needed by any output, or given twice."""


class LoweringError(RuntimeError):
    """The compiler made something that its own checks refuse: always a bug of ltensor."""


class VerifyError(LoweringError):
    """The verifier found a graph or a kernel program that breaks a structural rule."""


class ParseError(ValueError):
    """Textual IR that does not parse.

    Parameters
    ----------
    message
        What was expected.
    line, column
        Where, counted from 1.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        where = f"line {line}, column {column}: " if line else ""
        super().__init__(where + message)
        self.line = line
        self.column = column

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake_parse_error, (self.args[0], self.line, self.column)


def _remake_parse_error(text: str, line: int, column: int) -> ParseError:
    error = ParseError(text)
    error.line, error.column = line, column
    return error


class UnsupportedError(NotImplementedError):
    """Theano had it, ltensor does not; the message says what to do instead.

    Parameters
    ----------
    what
        The name of what is missing; alone, the whole message.
    instead
        What a program can use.
    """

    def __init__(self, what: str, instead: str | None = None) -> None:
        super().__init__(what, instead)
        self.what = what
        self.instead = instead

    def __str__(self) -> str:
        if self.instead is None:
            return self.what
        return f"ltensor does not support {self.what}; instead, {self.instead}"


# ------------------------------------------------------------------------- checking modes


class DebugModeError(Exception):
    """The base of what DebugMode raises."""


class BadThunkOutput(DebugModeError):
    """Native code and reference disagree."""


class BadOptimization(DebugModeError):
    """A pass changed a value."""


class BadDestroyMap(DebugModeError):
    """An op overwrote an input that its ``destroy_map`` does not name."""


class BadViewMap(DebugModeError):
    """An op returned a view that its ``view_map`` does not name."""


class StochasticOrder(DebugModeError):
    """Compiling the same graph twice gave two programs."""


class InvalidValueError(DebugModeError):
    """An op returned a value that does not fit its declared type."""


class AliasedMemoryError(Exception):
    """Two values that must not share memory do."""


class IncorrectlyUnsafeError(Exception):
    """An unchecked fast path was asked for where the checks are needed."""
