"""`PhiloxStreams`: a counter-based stream for new programs.

A state is two words (key and counter) instead of a Mersenne Twister's 625, an element depends on
its index alone, and a draw runs at vector speed. The draws are not Theano's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Variable
from ltensor.ops.arithmetic import add, mul, sub
from ltensor.ops.cast import cast
from ltensor.ops.compare import lt
from ltensor.ops.philox import philox_uniform
from ltensor.ops.shape import reshape
from ltensor.random.arguments import halved, parameters, product, sizes_of
from ltensor.random.normal import box_muller
from ltensor.shared import shared

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def _mixed(seed: int, number: int) -> int:
    """The key of draw ``number``: splitmix64 (Steele et al., 2014), as a signed word."""
    z = (seed + (number + 1) * _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    z ^= z >> 31
    return z - 2**64 if z >= 2**63 else z


class PhiloxStreams:
    """Makes random variables over Philox4x32-10, one key each.

    Parameters
    ----------
    seed : int
        Of any size; taken modulo 2**64.

    Examples
    --------
    >>> import ltensor
    >>> from ltensor.random import PhiloxStreams
    >>> u = PhiloxStreams(7).uniform((2, 3))
    >>> f = ltensor.function([], u)
    >>> f().shape
    (2, 3)
    """

    def __init__(self, seed: int = 0) -> None:
        self.default_instance_seed = int(seed)
        self.state_updates: list[tuple[Any, Variable]] = []

    def updates(self) -> list[tuple[Any, Variable]]:
        """The pairs (state, new state) of all random variables made so far."""
        return list(self.state_updates)

    def seed(self, seed: int | None = None) -> None:
        """Start all random variables again, by default with the seed given first."""
        chosen = self.default_instance_seed if seed is None else int(seed)
        for number, (state, _) in enumerate(self.state_updates):
            state.set_value(np.array([_mixed(chosen, number), 0], "int64"))

    def _draw(self, sizes: list[Variable], dtype: str) -> Any:
        key = _mixed(self.default_instance_seed, len(self.state_updates))
        state: Any = shared(np.array([key, 0], "int64"))
        state.tag.is_rng = True
        sample: Any
        new_state, sample = philox_uniform(state, sizes, dtype)
        state.default_update = new_state
        sample.rng = state
        sample.update = (state, new_state)
        self.state_updates.append(sample.update)
        return sample

    def uniform(
        self,
        size: Any = (),
        low: Any = 0.0,
        high: Any = 1.0,
        ndim: int | None = None,
        dtype: Any = None,
    ) -> Any:
        """Uniform draws in [low, high)."""
        low, high, dtype = parameters(low, high, dtype)
        u = self._draw(sizes_of(size, ndim), dtype)
        return add(mul(u, sub(high, low)), low)

    def normal(
        self,
        size: Any = (),
        avg: Any = 0.0,
        std: Any = 1.0,
        ndim: int | None = None,
        dtype: Any = None,
    ) -> Any:
        """Normal draws of mean ``avg`` and deviation ``std``."""
        avg, std, dtype = parameters(avg, std, dtype)
        sizes = sizes_of(size, ndim)
        count = product(sizes)
        even, half = halved(count)
        u = self._draw([even], dtype)
        # 1 - u is never 0, so that its logarithm is finite
        z = box_muller(sub(constant(np.asarray(1.0, dtype)), u[:half]), u[half:])
        if even is not count:
            z = z[:count]
        return add(mul(reshape(z, sizes, ndim=len(sizes)), std), avg)

    def bernoulli(self, size: Any = (), p: Any = 0.5, dtype: Any = "int64") -> Any:
        """Ones with probability ``p``, else zeros."""
        return cast(lt(self.uniform(size), as_tensor(p)), dtype)
