from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
from seeds.runner import child_environment

from ltensor.config import (
    AddConfigVar,
    BoolParam,
    EnumStr,
    FloatParam,
    IntParam,
    StrParam,
    change_flags,
    config,
)


def test_defaults_that_programs_rely_on() -> None:
    assert config.scan.allow_gc is False
    assert config.scan.allow_output_prealloc is True
    assert config.traceback.limit == 8
    assert config.cxx == ""
    assert config.compute_test_value == "off"


def test_two_underscores_are_a_dot() -> None:
    with change_flags(gcc__cxxflags=""):
        config.gcc__cxxflags = "-O3"
        assert config.gcc.cxxflags == config.gcc__cxxflags == "-O3"
    assert config.gcc.cxxflags == ""


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("floatX", "float31", "one of 'float64', 'float32', 'float16'"),
        ("scan.allow_gc", "maybe", "True or False"),
        ("traceback.limit", "x", "type int"),
        ("device", "toaster", "'cpu', 'cuda' or 'cudaN'"),
    ],
)
def test_wrong_value(name: str, value: str, says: str) -> None:
    with pytest.raises(ValueError, match=says), change_flags({name: value}):
        pass


def test_unknown_flags() -> None:
    with pytest.raises(AttributeError, match=r"no flag config\.floatx; did you mean floatX"):
        _ = config.floatx
    with pytest.raises(AttributeError, match="no flag"):
        change_flags(nothing_of_the_kind=1)
    with pytest.raises(AttributeError, match="group"):
        config.scan = 1
    with pytest.warns(UserWarning, match="did you mean openmp"):
        config.opnmp = True
    del config.__dict__["opnmp"]


def test_change_flags_decorates_nests_and_restores() -> None:
    @change_flags(floatX="float32", scan__allow_gc=True)
    def inside(depth: int = 1) -> tuple[str, bool]:
        return inside(depth - 1) if depth else (config.floatX, config.scan.allow_gc)

    before = config.floatX
    assert inside() == ("float32", True)
    with pytest.raises(ZeroDivisionError), config.change_flags(floatX="float16"):
        _ = 1 / 0
    assert (config.floatX, config.scan.allow_gc) == (before, False)


def test_a_copy_is_the_same_set_of_flags() -> None:
    for copied in (copy.copy(config), copy.deepcopy(config.scan)):
        assert copied is config or copied is config.scan


def test_a_wrong_flag_changes_none() -> None:
    before = config.floatX
    with (
        pytest.raises(ValueError, match="int_division"),
        change_flags(floatX="float16", int_division="sometimes"),
    ):
        pass
    assert config.floatX == before


def test_declaring_flags() -> None:
    AddConfigVar("testing.text", "A text.", StrParam("a"))
    AddConfigVar("testing.count", "A count.", IntParam(3, lambda n: n > 0))
    AddConfigVar("testing.ratio", "A ratio.", FloatParam(0.5))
    AddConfigVar("testing.on", "On or off.", BoolParam(False))
    AddConfigVar("testing.choice", "A choice.", EnumStr("a", "b"))
    config.testing.on = "1"
    config.testing.ratio = 2
    assert (config.testing.on, config.testing.ratio, config.testing.choice) == (True, 2.0, "a")
    with pytest.raises(ValueError, match=r"testing\.count"):
        config.testing.count = 0
    with pytest.raises(AttributeError, match="already"):
        AddConfigVar("testing.on", "Again.", BoolParam(True))
    assert "testing.count = 3" in str(config)


def from_outside(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from ltensor.config import config as c;"
         "print(c.floatX, c.scan.allow_gc, c.openmp)"],
        capture_output=True,
        text=True,
        env={**child_environment(), **environment},
    )  # fmt: skip
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_flags_from_outside(tmp_path: os.PathLike[str]) -> None:
    rc = os.path.join(tmp_path, "rc")
    with open(rc, "w") as file:
        file.write("[global]\nfloatX = float16\nopenmp = True\n[scan]\nallow_gc = True\n")
    assert from_outside() == "float64 False False"
    assert from_outside(THEANORC=rc) == "float16 True True"
    assert from_outside(THEANORC=rc, THEANO_FLAGS="floatX=float32,openmp=0") == "float32 True False"
    assert (
        from_outside(THEANO_FLAGS="floatX=float32", LTENSOR_FLAGS="floatX=float64")[:7] == "float64"
    )
    assert "Invalid value ('x') for configuration variable 'floatX'" in from_outside(
        THEANO_FLAGS="floatX=x"
    )
    assert "should be written name=value" in from_outside(THEANO_FLAGS="floatX")
