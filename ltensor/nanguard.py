"""NanGuardMode: every float value is checked for NaN, infinity and (optionally) huge numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ltensor.compile_modes import Mode


@dataclass(frozen=True)
class Checks:
    """What is refused."""

    nan: bool = True
    inf: bool = True
    big: bool = True


class NanGuardMode(Mode):
    """Raises AssertionError where a NaN (infinity, number over 1e10) first appears.

    Parameters
    ----------
    nan_is_error, inf_is_error, big_is_error : bool
    """

    def __init__(
        self,
        nan_is_error: bool = True,
        inf_is_error: bool = True,
        big_is_error: bool = True,
        optimizer: object = "default",
        linker: object = None,
    ) -> None:
        super().__init__(linker, optimizer)
        self.checks = Checks(bool(nan_is_error), bool(inf_is_error), bool(big_is_error))
