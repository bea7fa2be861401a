"""Variables belong to Theano's modules by name while ltensor stands in for it."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from seeds.runner import child_environment

import ltensor
import ltensor.tensor as T
from ltensor import compat


@pytest.fixture
def installed() -> Iterator[None]:
    compat.install()
    yield
    compat.uninstall()


class Mine(T.TensorVariable):
    """A program's own class."""


def test_names(installed: None) -> None:
    import theano

    things = (T.dvector(), T.constant(1.0), ltensor.shared(np.zeros(2)), ltensor.shared(2.0))
    for thing in things:
        kind = type(thing)
        assert str(kind).startswith("<class 'theano.")
        assert getattr(sys.modules.get(kind.__module__) or _import(kind), kind.__name__) is kind
    assert str(type(T.dvector())) == "<class 'theano.tensor.var.TensorVariable'>"
    assert theano.Variable.__module__ == "theano.gof.graph"


def _import(kind: type) -> object:
    import importlib

    return importlib.import_module(kind.__module__)


def test_names_without_it() -> None:
    assert type(T.dvector()).__module__ == "ltensor.tensor.variable"
    compat.install()
    compat.uninstall()
    assert type(T.dvector()).__module__ == "ltensor.tensor.variable"


def test_pickles_are_the_same(installed: None) -> None:
    x = T.dvector("x")
    state = ltensor.shared(np.arange(3.0), "state")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        text = pickle.dumps([x, (2 * x + state).sum(), state, Mine(x.type, name="m")], protocol)
        assert b"theano" not in text
        compat.uninstall()
        a, total, shared, mine = pickle.loads(text)
        compat.install()
        assert type(a) is T.TensorVariable
        assert type(mine) is Mine
        assert total.eval({a: [1.0, 1.0, 1.0]}) == 9
        shared.set_value(np.zeros(3))
        assert total.eval({a: [1.0, 1.0, 1.0]}) == 6


def test_copies(installed: None) -> None:
    x = T.dvector("x")
    for made in (copy.copy(x), copy.deepcopy(x)):
        assert type(made) is type(x)
        assert made is not x
        assert made.name == "x"
    state = ltensor.shared(np.arange(3.0))
    other = copy.deepcopy(state)
    other.set_value(np.zeros(3))
    np.testing.assert_array_equal(state.get_value(), [0, 1, 2])


@pytest.mark.parametrize("name", ["theano.tensor", "ltensor", "ltensor.tensor"])
def test_modules_in_pickles(installed: None, name: str) -> None:
    """cloudpickle, which takes plain modules itself, asks these how."""
    __import__(name)
    module = sys.modules[name]
    make, arguments = module.__reduce__()[:2]
    assert make(*arguments) is module


def test_children_of_a_program(tmp_path: object) -> None:
    program = f"{tmp_path}/prog.py"
    with open(program, "w") as file:
        file.write(
            "import multiprocessing, subprocess, sys\n"
            "import theano, theano.tensor as T\n"
            "def double(n):\n"
            "    x = T.lscalar()\n"
            "    return int(theano.function([x], 2 * x)(n))\n"
            "if __name__ == '__main__':\n"
            "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
            "        print(pool.map(double, [3, 4]))\n"
            "    child = 'import theano.tensor as T; print(T.dot(T.dmatrix(), T.dvector()).ndim)'\n"
            "    sys.stdout.flush()\n"
            "    subprocess.run([sys.executable, '-c', child])\n"
        )
    done = subprocess.run(
        [sys.executable, "-m", "ltensor", "run", program],
        capture_output=True,
        text=True,
        env=child_environment(),
    )
    assert done.stdout == "[6, 8]\n1\n", done.stderr
