"""`RandomStreams`: draws that advance by themselves with every call of a function."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ltensor.ir.graph import Variable
from ltensor.ir.types import random_state_type
from ltensor.ops.permute import permute_row_elements
from ltensor.ops.shape import dims_of
from ltensor.random import raw
from ltensor.shared import RandomStateSharedVariable, shared


def randomstate_constructor(
    value: np.random.RandomState,
    name: str | None = None,
    strict: bool = False,
    allow_downcast: bool | None = None,
    borrow: bool = False,
) -> RandomStateSharedVariable:
    """A shared variable of a random state.

    Raises
    ------
    TypeError
        If ``value`` is not a RandomState.
    """
    if not isinstance(value, np.random.RandomState):
        raise TypeError(f"expected a numpy.random.RandomState, got {type(value).__name__}")
    if not borrow:
        value = copy.deepcopy(value)
    return RandomStateSharedVariable(name, random_state_type, value, strict, allow_downcast)


class RandomStreamsBase:
    """The distributions, for classes that have a `gen` of their own."""

    def gen(self, op: Any, *args: Any, **kwargs: Any) -> Any:
        """A new random variable ``op(state, ...)``."""
        raise NotImplementedError(f"{type(self).__name__} has no method gen")

    def uniform(
        self,
        size: Any = None,
        low: Any = 0.0,
        high: Any = 1.0,
        ndim: int | None = None,
        dtype: Any = None,
    ) -> Any:
        """Uniform draws between ``low`` and ``high``.

        Parameters
        ----------
        size : None, sequence of ints and scalars, or int vector
            None: the shape the parameters broadcast to; -1 in a sequence borrows that dimension
            from them. A vector of unknown length needs ``ndim``.
        dtype : str, optional
            By default floatX, or wider if a parameter is.
        """
        return self.gen(raw.uniform, size, low, high, ndim=ndim, dtype=dtype)

    def normal(
        self,
        size: Any = None,
        avg: Any = 0.0,
        std: Any = 1.0,
        ndim: int | None = None,
        dtype: Any = None,
    ) -> Any:
        """Normal draws of mean ``avg`` and standard deviation ``std``; as `uniform`."""
        return self.gen(raw.normal, size, avg, std, ndim=ndim, dtype=dtype)

    def binomial(
        self,
        size: Any = None,
        n: Any = 1,
        p: Any = 0.5,
        ndim: int | None = None,
        dtype: Any = "int64",
        prob: Any = None,
    ) -> Any:
        """How many of ``n`` trials of probability ``p`` (or ``prob``) succeed."""
        return self.gen(raw.binomial, size, n, p, ndim=ndim, dtype=dtype, prob=prob)

    def random_integers(
        self,
        size: Any = None,
        low: Any = 0,
        high: Any = 1,
        ndim: int | None = None,
        dtype: Any = "int64",
    ) -> Any:
        """Integers from ``low`` to ``high``, both included."""
        return self.gen(raw.random_integers, size, low, high, ndim=ndim, dtype=dtype)

    def choice(
        self,
        size: Any = None,
        a: Any = 2,
        replace: Any = True,
        p: Any = None,
        ndim: int | None = None,
        dtype: Any = "int64",
    ) -> Any:
        """Draws of 0..a-1, or of the elements of a vector ``a``."""
        return self.gen(raw.choice, size, a, replace, p, ndim=ndim, dtype=dtype)

    def poisson(
        self, size: Any = None, lam: Any = None, ndim: int | None = None, dtype: Any = "int64"
    ) -> Any:
        """Poisson draws of rate ``lam`` (1 by default)."""
        return self.gen(raw.poisson, size, lam, ndim=ndim, dtype=dtype)

    def permutation(
        self, size: Any = None, n: Any = 1, ndim: int | None = None, dtype: Any = "int64"
    ) -> Any:
        """Permutations of 0..n-1 along a further last axis."""
        return self.gen(raw.permutation, size, n, ndim=ndim, dtype=dtype)

    def multinomial(
        self,
        size: Any = None,
        n: Any = 1,
        pvals: Any = (0.5, 0.5),
        ndim: int | None = None,
        dtype: Any = "int64",
    ) -> Any:
        """Counts of categories in ``n`` draws by ``pvals``, along a further last axis."""
        return self.gen(raw.multinomial, size, n, pvals, ndim=ndim, dtype=dtype)

    def shuffle_row_elements(self, x: Any) -> Any:
        """Every row (along the last axis) of ``x`` in an order of its own."""
        dims = dims_of(raw.as_tensor(x))
        order = self.permutation(size=dims[:-1], n=dims[-1], ndim=len(dims) - 1)
        shuffled: Any = permute_row_elements(x, order)
        shuffled.permutation = order
        return shuffled


class RandomStreams(RandomStreamsBase):
    """Makes random variables, each over a Mersenne Twister of its own.

    The draws are bit for bit those of Theano's class of that name (and of
    `numpy.random.RandomState`). Every random variable has the attributes ``rng``, the shared
    state, and ``update``, the pair of it and its new value; functions apply that update unless
    told otherwise.

    Parameters
    ----------
    seed : int, optional
        Seeds the generator of the seeds; unpredictable by default.

    Attributes
    ----------
    state_updates : list
        The pairs (state, new state) of all random variables made.
    """

    def __init__(self, seed: Any = None) -> None:
        self.state_updates: list[tuple[Any, Variable]] = []
        self.default_instance_seed = seed
        self.gen_seedgen = np.random.RandomState(seed)

    def __str__(self) -> str:
        return type(self).__name__

    def updates(self) -> list[tuple[Any, Variable]]:
        """The pairs (state, new state) of all random variables made so far."""
        return list(self.state_updates)

    def seed(self, seed: Any = None) -> None:
        """Give every random variable a new state, as if they were made anew.

        Parameters
        ----------
        seed : int, optional
            The seed given when the object was made, by default.
        """
        seeds = np.random.RandomState(self.default_instance_seed if seed is None else seed)
        for state, _ in self.state_updates:
            state.set_value(np.random.RandomState(int(seeds.randint(2**30))), borrow=True)

    def __getitem__(self, item: Any) -> np.random.RandomState:
        """The state of one of the ``rng`` variables."""
        return self._own(item).get_value(borrow=True)

    def __setitem__(self, item: Any, value: Any) -> None:
        """Set the state of one of the ``rng`` variables."""
        if not isinstance(value, np.random.RandomState):
            raise TypeError("only values of type RandomState are permitted", value)
        self._own(item).set_value(value)

    def _own(self, item: Any) -> Any:
        for state, _ in self.state_updates:
            if item is state:
                return state
        raise KeyError(item)

    def gen(self, op: Any, *args: Any, **kwargs: Any) -> Any:
        """A new random variable ``op(state, ...)``.

        Parameters
        ----------
        op : callable
            Takes a random state first and gives (new state, sample): a function of
            `ltensor.random.raw` or a `RandomFunction`.
        """
        state: Any = shared(
            np.random.RandomState(int(self.gen_seedgen.randint(2**30))), borrow=True
        )
        state.tag.is_rng = True
        new_state, sample = op(state, *args, **kwargs)
        self._register(state, new_state, sample)
        return sample

    def _register(self, state: Any, new_state: Variable, sample: Any) -> None:
        sample.rng = state
        sample.update = (state, new_state)
        self.state_updates.append(sample.update)
        state.default_update = new_state
