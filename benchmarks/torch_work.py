"""How rows run PyTorch: eagerly, or by `torch.compile` in the worker of the peer ``inductor``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def prepared(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, compiled in the worker of ``inductor``."""
    if sys.argv[1:] != ["inductor"]:
        return function
    import torch

    return torch.compile(function)


def without_gradients(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """A function without arguments that calls ``function`` and records nothing for gradients."""
    import torch

    call = prepared(function)

    def work() -> Any:
        with torch.inference_mode():
            return call(*arguments)

    return work
