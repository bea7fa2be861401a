"""``theano.misc.pkl_utils``: pickles whose arrays are members of a zip file."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ltensor
import ltensor.tensor as T
from ltensor.compat import pkl_utils


def dumped(obj: Any, **how: Any) -> io.BytesIO:
    file = io.BytesIO()
    pkl_utils.dump(obj, file, **how)
    file.seek(0)
    return file


def test_numpy_finds_values_by_the_names_of_shared_variables() -> None:
    first, second = ltensor.shared(0, name="foo"), ltensor.shared(np.ones(3), name="foo")
    plain = np.array(2.0)
    file = dumped((first, second, plain, [plain]))
    with np.load(file, allow_pickle=False) as members:
        assert set(members) == {"foo", "foo_2", "array_0", "pkl"}
        assert members["foo"] == 0
        assert members["foo_2"].tolist() == [1, 1, 1]
    a, b, c, [d] = pkl_utils.load(file)
    assert (a.name, b.name) == ("foo", "foo")
    assert a.get_value() == 0
    assert b.get_value().tolist() == [1, 1, 1]
    assert c == 2
    assert c is d


def test_a_graph_comes_back_with_its_values(tmp_path: Path) -> None:
    x, w = T.dvector("x"), ltensor.shared(np.array([2.0, 3.0]), name="w")
    state = np.random.RandomState(1)
    odd = np.array([1, "a"], dtype=object)
    with (tmp_path / "model.zip").open("wb") as file:
        pkl_utils.dump({"in": x, "out": x * w, "w": w, "state": state, "odd": odd}, file)
    with (tmp_path / "model.zip").open("rb") as file:
        back = pkl_utils.load(file)
    f = ltensor.function([back["in"]], back["out"], updates=[(back["w"], back["w"] + 1)])
    assert f([1.0, 1.0]).tolist() == [2, 3]
    assert f([1.0, 1.0]).tolist() == [3, 4]
    assert w.get_value().tolist() == [2, 3]
    assert back["state"].rand() == state.rand()
    assert back["odd"].tolist() == [1, "a"]


def test_names_that_are_refused() -> None:
    def strict(zip_file: zipfile.ZipFile) -> Any:
        return pkl_utils.PersistentSharedVariableID(zip_file, False, False)

    two = [ltensor.shared(np.zeros(2), name="v") for _ in range(2)]
    with pytest.raises(ValueError, match="multiple shared variables with the name `v`"):
        dumped(two, persistent_id=strict)
    with pytest.raises(ValueError, match="unnamed shared variable"):
        dumped(ltensor.shared(np.zeros(2)), persistent_id=strict)
    with pytest.raises(ValueError, match="name `pkl`"):
        dumped(ltensor.shared(np.zeros(2), name="pkl"))


def test_other_ways_to_tell_names() -> None:
    w = ltensor.shared(np.zeros(2), name="w")
    file = dumped(w, persistent_id=pkl_utils.PersistentNdarrayID, protocol=2)
    assert zipfile.ZipFile(file).namelist() == ["array_0", "pkl"]
    assert pkl_utils.load(file).get_value().tolist() == [0, 0]


def test_strip_pickler_leaves_tags_out_and_the_variable_as_it_was() -> None:
    x = T.dvector("x")
    x.tag.test_value = np.ones(2)
    x.tag.note = "kept"
    x.tag.secret = "gone"
    text = io.BytesIO()
    pkl_utils.StripPickler(text, protocol=-1, extra_tag_to_remove=["secret"]).dump([x, x * 2])
    back = pickle.loads(text.getvalue())[0]
    assert back.tag.note == "kept"
    assert not hasattr(back.tag, "test_value")
    assert not hasattr(back.tag, "secret")
    assert x.tag.secret == "gone"
    assert x.tag.test_value.tolist() == [1, 1]
