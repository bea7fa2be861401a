"""What Theano's random streams draw, computed from NumPy and the published recurrence alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# MRG31k3p: two recurrences of order 3, modulo these.
M1, M2 = 2**31 - 1, 2**31 - 21069

# Their transition matrices for one step; powers of them skip ahead.
_STEP1 = ((0, 2**22, 2**7 + 1), (1, 0, 0), (0, 1, 0))
_STEP2 = ((2**15, 0, 2**15 + 1), (1, 0, 0), (0, 1, 0))
Matrix = tuple[tuple[int, ...], ...]


def _product(a: Matrix, b: Matrix, modulus: int) -> Matrix:
    columns = list(zip(*b, strict=True))
    return tuple(
        tuple(sum(x * y for x, y in zip(row, column, strict=True)) % modulus for column in columns)
        for row in a
    )


def _squared(matrix: Matrix, times: int, modulus: int) -> Matrix:
    """``matrix ** (2 ** times)``"""
    for _ in range(times):
        matrix = _product(matrix, matrix, modulus)
    return matrix


# Neighbouring streams of one draw are 2**72 steps apart, consecutive draws 2**134.
NEXT_STREAM = _squared(_STEP1, 72, M1), _squared(_STEP2, 72, M2)
NEXT_DRAW = _squared(_STEP1, 134, M1), _squared(_STEP2, 134, M2)


def _skip(state: list[int], matrices: tuple[Matrix, Matrix]) -> list[int]:
    halves = zip((state[:3], state[3:]), matrices, (M1, M2), strict=True)
    return [
        sum(x * y for x, y in zip(row, half, strict=True)) % modulus
        for half, matrix, modulus in halves
        for row in matrix
    ]


def _step(state: list[int]) -> int:
    first = (2**22 * state[1] + (2**7 + 1) * state[2]) % M1
    second = (2**15 * state[3] + (2**15 + 1) * state[5]) % M2
    state[:] = [first, state[0], state[1], second, state[3], state[4]]
    return first - second + (M1 if first <= second else 0)


class MRG:
    """The draws of an ``MRG_RandomStreams``, in the order of the calls."""

    DEFAULT_STREAMS = 60 * 256

    def __init__(self, seed: int | list[int] = 12345) -> None:
        self.state = [seed] * 6 if isinstance(seed, int) else list(seed)

    def streams(self, count: int | None = None) -> list[list[int]]:
        """Make the states of one draw and move on to the next."""
        states = [list(self.state)]
        for _ in range((count or self.DEFAULT_STREAMS) - 1):
            states.append(_skip(states[-1], NEXT_STREAM))
        self.state = _skip(self.state, NEXT_DRAW)
        return states

    @staticmethod
    def stream_count(shape: tuple[int, ...]) -> int:
        """How many streams a draw of a constant shape has."""
        size = int(np.prod(shape))
        return min(size // 6 if size > 6 else size, MRG.DEFAULT_STREAMS)

    @staticmethod
    def uniform(
        streams: list[list[int]], shape: tuple[int, ...], dtype: str = "float64"
    ) -> np.ndarray:
        """Draw; the streams advance, element i takes from stream i modulo their number."""
        raw = [_step(streams[i % len(streams)]) for i in range(int(np.prod(shape)))]
        scale = np.float32(4.6566126e-10) if dtype == "float32" else 4.656612873077392578125e-10
        return (np.array(raw, dtype="int32").astype(dtype) * scale).reshape(shape).astype(dtype)

    @staticmethod
    def normal(uniform: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Box and Muller's transform of an even number of uniform draws."""
        radius, angle = np.split(uniform, 2)
        radius = np.sqrt(-2.0 * np.log(radius))
        angle = 2 * np.pi * angle
        both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
        return both[: int(np.prod(shape))].reshape(shape)


def random_states(seed: int) -> Iterator[np.random.RandomState]:
    """Give the states of a ``RandomStreams``, one for each call of its methods."""
    seeds = np.random.RandomState(seed)
    while True:
        yield np.random.RandomState(int(seeds.randint(2**30)))
