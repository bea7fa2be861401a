"""`MRG_RandomStreams`: many short streams of MRG31k3p side by side, drawn at vector speed.

The object's state (six words) is the start of the next draw's matrix of streams; neighbouring
rows of a matrix lie 2**72 steps apart, matrices of successive draws 2**134.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ltensor.config import config
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant
from ltensor.ir.graph import Variable
from ltensor.lowering.rng.mrg import DRAW_JUMP, M1, M2, ROW_JUMP, Matrix
from ltensor.ops.arithmetic import add, mul, sub, true_div
from ltensor.ops.cast import cast
from ltensor.ops.compare import lt
from ltensor.ops.mrg import ChoiceFromUniform, MultinomialFromUniform, mrg_uniform
from ltensor.ops.shape import reshape, shape_i
from ltensor.random.arguments import halved, parameters, product, sizes_of
from ltensor.random.normal import box_muller, truncated_box_muller
from ltensor.shared import shared

#: streams of a draw whose size is not known
FULL = 60 * 256
#: the deviation of a standard normal variable cut off at -2 and 2
TRUNCATED_DEVIATION = 0.87962566103423978


# ------------------------------------------------------------------------- jumps


def multMatVect(
    v: Sequence[int] | np.ndarray, a: Matrix, m1: int, b: Matrix, m2: int
) -> np.ndarray:
    """The state ``v`` of six words after the jumps ``a`` modulo m1 and ``b`` modulo m2."""
    words = [int(x) for x in v]
    first = [sum(x * y for x, y in zip(row, words[:3], strict=True)) % m1 for row in a]
    second = [sum(x * y for x, y in zip(row, words[3:], strict=True)) % m2 for row in b]
    return np.array(first + second, dtype="int32")


def _squared(matrix: Matrix, modulus: int) -> Matrix:
    columns = list(zip(*matrix, strict=True))
    return tuple(
        tuple(sum(x * y for x, y in zip(row, col, strict=True)) % modulus for col in columns)
        for row in matrix
    )


@cache
def _doublings(level: int) -> tuple[Matrix, Matrix]:
    """The jump over ``2**level`` rows."""
    if level == 0:
        return ROW_JUMP
    first, second = _doublings(level - 1)
    return _squared(first, M1), _squared(second, M2)


def substreams(rstate: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """The matrix of ``count`` streams that begins with ``rstate``, int32."""
    rows = np.empty((count, 6), "int64")
    rows[0] = rstate
    done, level = 1, 0
    while done < count:
        more = min(done, count - done)
        for half, (matrix, modulus) in enumerate(zip(_doublings(level), (M1, M2), strict=True)):
            old = rows[:more, 3 * half : 3 * half + 3]
            for k, factors in enumerate(matrix):
                # each product is below 2**62; three of them would not fit int64 unreduced
                parts = [old[:, j] * factor % modulus for j, factor in enumerate(factors)]
                rows[done : done + more, 3 * half + k] = sum(parts) % modulus
        done += more
        level += 1
    return rows.astype("int32")


def guess_n_streams(size: Any, warn: bool = False) -> int:
    """How many streams a draw of ``size`` gets."""
    if isinstance(size, (tuple, list)) and all(
        isinstance(s, (int, np.integer)) and not isinstance(s, bool) for s in size
    ):
        total = 1
        for s in size:
            total *= int(s)
        return min(total // 6 if total > 6 else total, FULL)
    if warn:
        warnings.warn(
            f"the size of an MRG draw is not a tuple of ints: {FULL} streams are used; give "
            "nstreams= to choose their number",
            stacklevel=3,
        )
    return FULL


# ------------------------------------------------------------------------- the streams


class MRG_RandomStreams:
    """Makes random variables over MRG31k3p streams, bit for bit Theano's.

    Parameters
    ----------
    seed : int or list of 6 ints
        Nonzero and below 2147462579.
    use_cuda : bool, optional
        Accepted and ignored: the draw does not depend on the device.

    Attributes
    ----------
    rstate : ndarray
        Six words, where the next draw begins.
    state_updates : list
        Tuples (state, new state, size, nstreams) of all draws made.
    """

    def __init__(self, seed: Any = 12345, use_cuda: Any = None) -> None:
        self.state_updates: list[tuple[Any, Variable, Any, int | None]] = []
        self.default_instance_seed = seed
        self.use_cuda = use_cuda
        self.set_rstate(seed)

    def updates(self) -> list[Any]:
        """The tuples (state, new state, size, nstreams) of all draws made so far."""
        return list(self.state_updates)

    # ------------------------------------------------------------------ states

    def set_rstate(self, seed: Any) -> None:
        """Set where the next draw begins.

        Raises
        ------
        ValueError
            If the seed is zero or too large.
        TypeError
            If it is neither an int nor six of them.
        """
        if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
            seed = int(seed)
            if seed == 0:
                raise ValueError("seed should not be 0", seed)
            if not 0 < seed < M2:
                raise ValueError(f"seed should be positive and less than {M2}", seed)
            self.rstate = np.array([seed] * 6, dtype="int32")
            return
        words = [int(s) for s in seed] if isinstance(seed, (list, tuple, np.ndarray)) else []
        if len(words) != 6:
            raise TypeError("seed should be 1 integer or 6 integers")
        for half, modulus, which in ((words[:3], M1, "first"), (words[3:], M2, "last")):
            if not any(half):
                raise ValueError(f"The {which} 3 values of seed should not be all 0", seed)
            if not all(0 <= word < modulus for word in half):
                raise ValueError(
                    f"The {which} 3 values of seed should be less than {modulus}", seed
                )
        self.rstate = np.array(words, dtype="int32")

    def seed(self, seed: Any = None) -> None:
        """Start again: from ``seed``, or from the seed given when the object was made."""
        self.set_rstate(self.default_instance_seed if seed is None else seed)
        for state, _, size, nstreams in self.state_updates:
            count = self.n_streams(size) if nstreams is None else nstreams
            state.set_value(self.get_substream_rstates(count), borrow=True)

    def inc_rstate(self) -> None:
        """Jump to where the draw after the next begins (2**134 steps)."""
        self.rstate = multMatVect(self.rstate, DRAW_JUMP[0], M1, DRAW_JUMP[1], M2)

    def get_substream_rstates(
        self, n_streams: int, dtype: Any = None, inc_rstate: bool = True
    ) -> np.ndarray:
        """The matrix of streams of one draw, one row of six words each.

        Raises
        ------
        ValueError
            If ``n_streams`` is not positive.
        """
        if int(n_streams) < 1:
            raise ValueError(f"the number of streams must be positive, not {n_streams}")
        rows = substreams(self.rstate, int(n_streams))
        if inc_rstate:
            self.inc_rstate()
        return rows

    def n_streams(self, size: Any) -> int:
        """How many streams a draw of ``size`` gets."""
        return guess_n_streams(size)

    # ------------------------------------------------------------------ draws

    def _draw(self, size: Any, ndim: int | None, dtype: str, nstreams: int | None) -> Any:
        """Uniform draws in (0, 1), registered with a new matrix of streams."""
        sizes = sizes_of(size, ndim)
        count = self.n_streams(size) if nstreams is None else nstreams
        state: Any = shared(self.get_substream_rstates(count), borrow=True)
        state.tag.is_rng = True
        sample: Any
        new_state, sample = mrg_uniform(state, sizes, dtype)
        self.state_updates.append((state, new_state, size, nstreams))
        state.default_update = new_state
        sample.rstate = state
        sample.update = (state, new_state)
        return sample

    def uniform(
        self,
        size: Any,
        low: Any = 0.0,
        high: Any = 1.0,
        ndim: int | None = None,
        dtype: Any = None,
        nstreams: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Uniform draws between ``low`` and ``high``, which are excluded.

        Parameters
        ----------
        size : sequence of ints and scalars, or int vector
        dtype : str, optional
            By default floatX, or wider if a bound is.
        nstreams : int, optional
            How many streams; by default it depends on ``size`` if that is of plain ints.
        """
        _refuse(kwargs)
        low, high, dtype = parameters(low, high, dtype)
        u = self._draw(size, ndim, dtype, nstreams)
        result: Any = add(mul(u, sub(high, low)), low)
        if u.type.broadcastable != result.type.broadcastable:
            raise NotImplementedError(
                "Increase the size to match the broadcasting pattern of the low and high arguments"
            )
        result.update = u.update
        result.rstate = u.rstate
        return result

    def binomial(
        self,
        size: Any = None,
        n: Any = 1,
        p: Any = 0.5,
        ndim: int | None = None,
        dtype: Any = "int64",
        nstreams: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Ones with probability ``p``, else zeros; ``n`` must be 1."""
        if isinstance(n, Variable) or n != 1:
            raise NotImplementedError(
                "MRG_RandomStreams.binomial with n != 1: use RandomStreams.binomial", n
            )
        p = as_tensor(p)
        if size is None:
            size, ndim = [shape_i(p, k) for k in range(p.type.ndim)], None
        drawn = "float32" if p.type.dtype == config.floatX == "float32" else None
        u = self.uniform(size, ndim=ndim, dtype=drawn, nstreams=nstreams, **kwargs)
        return cast(lt(u, p), dtype)

    def normal(
        self,
        size: Any,
        avg: Any = 0.0,
        std: Any = 1.0,
        ndim: int | None = None,
        dtype: Any = None,
        nstreams: int | None = None,
        truncate: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Normal draws of mean ``avg`` and deviation ``std``.

        Parameters
        ----------
        truncate : bool
            Draw again what lies more than two deviations from the mean (and give the rest in
            another order, as Theano does).
        """
        sizes = sizes_of(size, ndim)
        avg, std, dtype = parameters(avg, std, dtype)
        wanted = product(sizes)
        even, half = halved(wanted)
        u = self.uniform((even,), dtype=dtype, nstreams=nstreams, **kwargs)
        if truncate:

            def redraw(count: Variable) -> Variable:
                low = constant(np.asarray(1.0 / np.e**2, dtype))
                again: Variable = self.uniform((count,), low, 1.0, dtype=dtype, nstreams=nstreams)
                return again

            flat = truncated_box_muller(u[:half], u[half:], redraw)
        else:
            flat = box_muller(u[:half], u[half:])
        if even is not wanted:
            flat = flat[:wanted]
        z = reshape(flat, sizes, ndim=len(sizes))
        return add(mul(z, std), avg)

    def truncated_normal(
        self,
        size: Any,
        avg: Any = 0.0,
        std: Any = 1.0,
        ndim: int | None = None,
        dtype: Any = None,
        nstreams: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Normal draws within two deviations; ``std`` is that of the draws after the cut."""
        wider = true_div(as_tensor(std), constant(TRUNCATED_DEVIATION))
        return self.normal(size, avg, wider, ndim, dtype, nstreams, truncate=True, **kwargs)

    def multinomial(
        self,
        size: Any = None,
        n: Any = 1,
        pvals: Any = None,
        ndim: int | None = None,
        dtype: Any = "int64",
        nstreams: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Counts of the categories in ``n`` draws by each row of the matrix ``pvals``."""
        pvals = self._weights("multinomial", size, ndim, pvals, kwargs)
        u = self._uniforms(pvals, n, nstreams)
        return MultinomialFromUniform(_result_dtype(dtype, pvals))(pvals, u, as_tensor(n))

    def choice(
        self,
        size: Any = 1,
        a: Any = None,
        replace: bool = True,
        p: Any = None,
        ndim: int | None = None,
        dtype: Any = "int64",
        nstreams: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """``size`` different categories by each row of the matrix ``p``, without replacement."""
        if replace:
            raise NotImplementedError(
                "MRG_RandomStreams.choice only works without replacement: give replace=False, or "
                "use RandomStreams.choice"
            )
        if a is not None:
            raise TypeError("for now, a has to be None: the columns of p are chosen from")
        if isinstance(size, (tuple, list)):
            if len(size) != 1:
                raise TypeError("size should be an integer: how many are chosen from each row")
            size = size[0]
        p = self._weights("choice", None, ndim, p, kwargs)
        u = self._uniforms(p, size, nstreams)
        return ChoiceFromUniform(_result_dtype(dtype, p))(p, u, as_tensor(size))

    def multinomial_wo_replacement(
        self,
        size: Any = None,
        n: Any = 1,
        pvals: Any = None,
        ndim: int | None = None,
        dtype: Any = "int64",
        nstreams: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Old name of `choice` without replacement."""
        if size is not None:
            raise ValueError("a size makes no sense here: n are chosen from each row of pvals")
        return self.choice(n, None, False, pvals, ndim, dtype, nstreams, **kwargs)

    @staticmethod
    def _weights(name: str, size: Any, ndim: Any, pvals: Any, kwargs: dict[str, Any]) -> Variable:
        _refuse(kwargs)
        if pvals is None:
            raise TypeError(f"MRG_RandomStreams.{name} needs the probabilities of the categories")
        if size is not None:
            raise ValueError(
                f"MRG_RandomStreams.{name} does not use the size: pvals has one row per draw"
            )
        if ndim is not None:
            raise ValueError(f"MRG_RandomStreams.{name} does not use the ndim argument")
        variable = as_tensor(pvals)
        if variable.type.ndim != 2:
            raise NotImplementedError(
                f"MRG_RandomStreams.{name} only implemented for pvals.ndim = 2"
            )
        return variable

    def _uniforms(self, pvals: Variable, n: Any, nstreams: int | None) -> Variable:
        count = mul(shape_i(pvals, 0), cast(as_tensor(n), "int64"))
        u: Variable = self.uniform((count,), ndim=1, nstreams=nstreams)
        return u


def _result_dtype(dtype: Any, pvals: Variable) -> str:
    return pvals.type.dtype if dtype == "auto" else dt.normalize(dtype)


def _refuse(kwargs: dict[str, Any]) -> None:
    """``target`` names a GPU in Theano and means nothing here; there are no other keywords."""
    others = sorted(set(kwargs) - {"target"})
    if others:
        raise TypeError(f"unexpected keyword arguments: {others}")
