"""Theano's module paths below `ltensor`: ``import ltensor as theano`` is enough."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from compat.names import NAMES, run

import ltensor as theano
import ltensor.tensor as T
from ltensor.compat.table import MODULES
from ltensor.theano_names import COUNTERPARTS, Counterpart


@pytest.mark.parametrize("full", NAMES)
def test_names_that_programs_use(full: str) -> None:
    path, _, name = full.replace("theano", "ltensor", 1).rpartition(".")
    assert getattr(importlib.import_module(path), name) is not None


def test_attributes_without_imports() -> None:
    """Of the package alone, as ``import theano`` gives them."""
    program = (
        "import ltensor as theano\n"
        "assert theano.gof.Op is theano.Op\n"
        "assert theano.tensor.shared_randomstreams.RandomStreams(1)\n"
        "assert theano.sandbox.rng_mrg.MRG_RandomStreams(1)\n"
        "assert theano.compile.mode.get_default_mode is theano.get_default_mode\n"
        "assert theano.scan_module.scan_utils.clone is theano.clone\n"
        "assert theano.ifelse.ifelse and theano.tensor.nnet.nnet.softmax\n"
        "assert theano.misc.pkl_utils.dump and theano.scalar.basic.float32\n"
        "print('right')\n"
    )
    assert run(program) == "right\n"


def test_import_does_not_load_the_table() -> None:
    program = "import sys, ltensor, ltensor.scalar\nprint('ltensor.compat' in sys.modules)"
    assert run(program) == "False\n"


def test_counterparts_are_the_modules_that_both_have() -> None:
    folder = Path(theano.__file__).parent
    both = set()
    for path in MODULES:
        place = folder.joinpath(*path.split(".")[1:])
        if place.with_suffix(".py").exists() or (place / "__init__.py").exists():
            both.add("ltensor" + path[len("theano") :])
    assert both == COUNTERPARTS
    for name in COUNTERPARTS:
        assert type(importlib.import_module(name)) is Counterpart


def test_modules_do_not_hide_functions() -> None:
    """Theano has modules of the same names as functions of `tensor`."""
    for name in ("sort", "var"):
        module = importlib.import_module(f"ltensor.tensor.{name}")
        assert isinstance(module, ModuleType)
        assert not isinstance(getattr(T, name), ModuleType)


def test_what_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match=r"no ltensor\.nothing"):
        theano.nothing  # noqa: B018
    with pytest.raises(AttributeError, match=r"no ltensor\.tensor\.nothing"):
        T.nothing  # noqa: B018
    with pytest.raises(ModuleNotFoundError, match="no sparse matrices"):
        importlib.import_module("ltensor.sparse.basic")
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        importlib.import_module("ltensor.nowhere")


def test_threads_import_at_once() -> None:
    """A finder that imports does so under the lock of all imports: two threads wait for ever."""
    program = """
import importlib, sys, threading
import ltensor
assert sys.meta_path[-1].find_spec("ltensor.sandbox") is not None
assert "ltensor.compat" not in sys.modules
names = "gof", "sandbox.rng_mrg", "compile.function", "tensor.shared_randomstreams", "nowhere"
refused, gate = [], threading.Barrier(10)
def work(k):
    gate.wait()
    for name in (*names[k % 5:], *names[:k % 5]):
        try:
            importlib.import_module("ltensor." + name)
        except ModuleNotFoundError as error:
            refused.append((error.name, str(error)))
threads = [threading.Thread(target=work, args=(k,)) for k in range(10)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert refused == [("ltensor.nowhere", "No module named 'ltensor.nowhere'")] * 10, refused
print("right")
"""
    assert run(program, timeout=60) == "right\n"


def test_reload_adds_no_finder() -> None:
    program = (
        "import importlib, sys, ltensor\n"
        "count = len(sys.meta_path)\n"
        "importlib.reload(ltensor)\n"
        "assert len(sys.meta_path) == count and ltensor.gof.Op is ltensor.Op\n"
        "assert importlib.reload(ltensor.gof).Op is ltensor.Op\n"
        "print('right')\n"
    )
    assert run(program) == "right\n"


def test_star_imports_bring_the_modules_that_programs_take_from_them() -> None:
    names: dict[str, object] = {}
    exec("from ltensor.tensor import *", names)
    assert names["nnet"] is T.nnet
    assert names["signal"] is T.signal
    assert names["sort"] is T.sort
