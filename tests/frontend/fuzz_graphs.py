"""Random graphs: the compiled function against the ops' NumPy definitions.

A program as well: ``python tests/frontend/fuzz_graphs.py FIRST COUNT`` runs the seeds from FIRST
and prints each before it is tried, so that a crash names its seed. ``--show SEED`` prints a graph.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from fuzz_makers import DTYPES, MAKERS, Item, Refused

import ltensor as theano
import ltensor.tensor as T
from ltensor.testing import reference

SIZES = (0, 1, 1, 2, 3, 4, 5, 8, 9, 17, 33)
#: values beyond this are not used further: differences would only be those of rounding
LARGEST = 1e4


class Fuzzer:
    """Grows one random graph.

    Attributes
    ----------
    inputs, values : list
        The input variables and what they are called with, in awkward layouts.
    pool : list of Item
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.inputs: list[Any] = []
        self.values: list[np.ndarray] = []
        self.pool: list[Item] = []
        self.trail: list[str] = []
        self.refused: list[Any] = []
        self.sizes = [int(s) for s in self.rng.choice(SIZES, 3)]
        for number in range(int(self.rng.integers(2, 5))):
            self.add_input(number)

    # ------------------------------------------------------------- choices

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def choose(self, things: Any) -> Any:
        return things[int(self.rng.integers(len(things)))]

    def pick(self, test: Callable[[Item], bool] = lambda item: True) -> Item:
        """A variable of the pool, late ones more often."""
        found = [item for item in self.pool if test(item)]
        if not found:
            raise Refused
        return found[min(len(found) - 1, int(len(found) * self.rng.random() ** 0.6))]

    # ------------------------------------------------------------- inputs

    def add_input(self, number: int) -> None:
        """An input of random dtype, rank, sizes and memory layout."""
        dtype = self.choose(DTYPES)
        rank = self.choose((0, 1, 1, 2, 2, 2, 3))
        shape = tuple(int(self.choose([*self.sizes, 1])) for _ in range(rank))
        flags = [size == 1 and self.chance(0.7) for size in shape]
        variable = T.TensorType(dtype, flags)(f"x{number}")
        self.inputs.append(variable)
        value = self.awkward(self.draw(dtype, shape))
        self.values.append(value)
        self.pool.append(Item(variable, value, True))

    def draw(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        rng = self.rng
        if dtype == "bool":
            return np.asarray(rng.random(shape) < 0.5)
        if dtype.startswith("float"):
            # quarters: sums and products of a few are exact
            return np.asarray(rng.integers(-8, 9, shape) / 4.0).astype(dtype)
        low = 0 if dtype.startswith("u") else -5
        return np.asarray(rng.integers(low, 6, shape)).astype(dtype)

    def awkward(self, array: np.ndarray) -> np.ndarray:
        """The same values in another layout."""
        how = int(self.rng.integers(6))
        if array.ndim == 0 or how == 0:
            return array
        if how == 1:
            return np.asfortranarray(array)
        if how == 2:
            return np.ascontiguousarray(array[::-1])[::-1]
        if how == 3:
            wide = np.repeat(array, 2, axis=-1)
            return wide[..., ::2]
        if how == 4:
            raw = np.empty(array.nbytes + 1, np.uint8)[1:]
            odd = raw.view(array.dtype).reshape(array.shape)
            odd[...] = array
            return odd
        return array

    # ------------------------------------------------------------- growing

    def step(self) -> None:
        """Add one random operation, if it applies."""
        make = self.choose(MAKERS)
        try:
            made = make(self)
        except Refused:
            return
        for variable, exact in made if isinstance(made, list) else [made]:
            self.admit(variable, exact, make.__name__)

    def admit(self, variable: Any, exact: bool, name: str) -> None:
        """Enter a variable if its value is one that says something."""
        if variable.ndim > 4:
            return
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (value,) = reference(self.inputs, [variable], self.values)
        except (ValueError, IndexError, ZeroDivisionError, AssertionError):
            # shapes that do not fit: the compiled function must refuse them too
            self.refused.append(variable)
            return
        value = np.asarray(value)
        if value.size > 20000:
            return
        if value.size and value.dtype.kind in "iuf":
            with np.errstate(all="ignore"):
                if not (np.abs(value.astype(float)) <= LARGEST).all():
                    return
        self.trail.append(name)
        self.pool.append(Item(variable, value, exact))

    def grow(self) -> None:
        """A whole graph."""
        self.refused = []
        # every fourth graph is a large one
        fewest, most = (20, 60) if self.seed % 4 == 0 else (3, 16)
        for _ in range(int(self.rng.integers(fewest, most))):
            self.step()

    def outputs(self) -> list[Item]:
        """Some of the last variables."""
        made = self.pool[len(self.inputs) :]
        if not made:
            return self.pool[:1]
        chosen = [made[-1]]
        for _ in range(int(self.rng.integers(0, 3))):
            chosen.append(self.choose(made))
        return chosen


# ------------------------------------------------------------------------------- comparing


def compare(got: np.ndarray, item: Item, place: str) -> None:
    """Dtype, shape and values, with room for roundings that add up."""
    want = item.value
    assert got.dtype == want.dtype, f"{place}: dtype {got.dtype}, expected {want.dtype}"
    assert got.shape == want.shape, f"{place}: shape {got.shape}, expected {want.shape}"
    if want.dtype.kind != "f":
        assert (got == want).all(), f"{place}: {got} != {want}"
        return
    tolerance = 2e-3 if narrow(item) else 1e-7
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=place)


def narrow(item: Item) -> bool:
    """Whether single precision took part."""
    from ltensor.ir.walks import ancestors

    return any(getattr(v.type, "dtype", "") == "float32" for v in ancestors([item.variable]))


def run_seed(seed: int) -> Fuzzer:
    """Build, compile and compare one graph.

    Raises
    ------
    AssertionError
        If the compiled function gives anything else than the reference.
    """
    f = Fuzzer(seed)
    f.grow()
    chosen = f.outputs()
    mode = "FAST_COMPILE" if f.chance(0.2) else None
    arrays = [v.copy() for v in f.values]
    compiled = theano.function(
        f.inputs, [c.variable for c in chosen], mode=mode, on_unused_input="ignore"
    )
    for again in range(2):
        got = compiled(*f.values)
        for number, (result, item) in enumerate(zip(got, chosen, strict=True)):
            compare(result, item, f"seed {seed}, output {number}, call {again}")
    for before, after in zip(arrays, f.values, strict=True):
        assert (before == after).all(), f"seed {seed}: an argument was written to"
    if f.refused:
        refuse(f, seed)
    return f


def refuse(f: Fuzzer, seed: int) -> None:
    """What the reference refuses the compiled function refuses, or it has simplified it away."""
    compiled = theano.function(f.inputs, f.refused[:1], on_unused_input="ignore")
    try:
        compiled(*f.values)
    except (ValueError, IndexError, ZeroDivisionError, AssertionError) as error:
        if type(error) is AssertionError and not str(error):
            raise


def main(arguments: list[str]) -> int:
    """Run the seeds and report failures; the exit status says whether there were any."""
    warnings.simplefilter("ignore")
    if arguments[0] == "--show":
        f = Fuzzer(int(arguments[1]))
        f.grow()
        for variable, value in zip(f.inputs, f.values, strict=True):
            print(variable, variable.type, value.shape, value.strides, value)
        chosen = f.outputs()
        print(theano.printing.debugprint([c.variable for c in chosen], file="str"))
        return 0
    first, count = int(arguments[0]), int(arguments[1])
    failed = 0
    for seed in range(first, first + count):
        print("seed", seed, flush=True)
        try:
            run_seed(seed)
        except Exception as error:
            failed += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            text = str(error).strip().replace("\n", " | ")[:600]
            print(f"FAILED {seed}: {type(error).__name__} ({last.filename}:{last.lineno}) {text}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
