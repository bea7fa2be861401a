"""What must hold at run time: checks, which leave the function, and guards of elements.

A check stands outside of the loops in which its condition does not change; those of sizes tell
the code behind them which sizes are equal. A guard lets its nest run on and is reported after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltensor.lowering.builder.logic import Logic
from ltensor.lowering.builder.values import Scalar
from ltensor.lowering.known_sizes import KnownSizes
from ltensor.lowering.program import ErrorSite, Loop, Scope, Value


class Checks(Logic):
    """Checks, guards, and the sizes that checks have told; see `Builder`."""

    def __init__(self, name: str, threads: int) -> None:
        super().__init__(name, threads)
        self._known_sizes = KnownSizes()
        self._pending: list[tuple[int, int, int]] = []

    def error_site(self, kind: str, node: Any, detail: tuple[Any, ...] = ()) -> int:
        """The number of a new error site."""
        self.program.errors.append(ErrorSite(kind, node, detail))
        return len(self.program.errors) - 1

    def check(
        self,
        condition: Scalar,
        kind: str,
        node: Any,
        values: Sequence[Value] = (),
        detail: tuple[Any, ...] = (),
        shapes_at: int | None = None,
    ) -> Scope | None:
        """Leave the function with an error unless ``condition`` holds. Not inside vector loops.

        A check of what does not change in a loop stands before the loop, where it holds as well if
        no step is run; one that is known to have held is left out. Returns the scope that it
        stands in, None if the condition is known.
        """
        if self.number(condition) is True:
            return None
        scope = self.scope
        while isinstance(scope.holder, Loop) and scope.parent is not None:
            if any(v.scope.depth >= scope.depth for v in (condition, *values)):
                break
            condition = self.or_(condition, self.le(scope.holder.extent, 0))
            scope = scope.parent
        key = ("checked", id(condition))
        outer: Scope | None = scope
        while outer is not None:
            if key in outer.table:
                return scope
            outer = outer.parent
        site = self.error_site(kind, node, detail)
        self.program.errors[site].shapes_at = shapes_at
        statement = Value("check", "void", (condition, *values), site, scope, self)
        scope.table[key] = statement
        scope.body.append(statement)
        return scope

    def check_sizes(self, size: Value, other: Value, kind: str, node: Any, **more: Any) -> None:
        """Check that two sizes are equal; from here on `known_size` gives what that tells."""
        scope = self.check(self.eq(size, other), kind, node, **more)
        if scope is None:
            return
        known = self._known_sizes
        pending = [size, other, *known.note(size, other, self.scope, scope)]
        seen = set()
        while pending:
            tied = pending.pop()
            number = known.find(tied, self.scope)
            if number is None or tied in seen:
                continue
            seen.add(tied)
            for of, told in self._told_by(tied, number.other.attr):
                pending += [of, *known.add(of, number._replace(other=told))]

    def _told_by(self, size: Value, number: int) -> list[tuple[Value, Value]]:
        """What else is known if ``size`` is ``number``: slices tell the sizes that they are of."""
        if size.op not in ("max", "min", "sub"):
            return []
        of, constant = size.args if size.args[1].op == "const" else size.args[::-1]
        if constant.op != "const":
            return []
        if size.op == "sub":
            sign = 1 if constant is size.args[1] else -1
            return [(of, self.const(constant.attr + sign * number))]
        # one of the two is the result: not the constant if that is another number
        return [] if constant.attr == number else [(of, self.const(number))]

    def known_size(self, size: Value) -> Value:
        """The number that ``size`` is here by the checks that were passed, else ``size``."""
        return self._known_sizes.get(size, self.scope)

    #: the Apply whose element code is being emitted; guards refer to it
    current_node: Any = None

    def guard(self, condition: Scalar, kind: str, values: Sequence[Value] = ()) -> None:
        """Note a failed element inside a nest; reported by `flush_guards` after the nest.

        ``values`` of the first element that failed are recorded, at most `GUARD_WORDS`
        (``lowering.program``) int64 numbers.
        """
        if self.number(condition) is True:
            return
        flag = self.program.flags
        self.program.flags += 1
        site = self.error_site(kind, self.current_node)
        self.effect("guard", "void", (condition, *values), flag)
        self._pending.append((flag, site, len(values)))

    def flush_guards(self) -> None:
        """Report guards that failed in the nest just closed."""
        pending, self._pending = self._pending, []
        for flag, site, words in pending:
            self.effect("check_flag", "void", (), (flag, site, words))
