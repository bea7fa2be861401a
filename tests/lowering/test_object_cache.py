"""The disk cache: found again, checked, and never in the way."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

import ltensor
from ltensor.lowering.cpu import code_generation, jit, object_cache

TEXT = "define i64 @answer() { ret i64 42 }"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LTENSOR_CACHE", "1")
    monkeypatch.setenv("LTENSOR_CACHE_DIR", str(tmp_path / "objects"))
    return tmp_path / "objects"


def _run(text: str = TEXT) -> int:
    module = jit.compile_module(text)
    return ctypes.CFUNCTYPE(ctypes.c_int64)(module.address("answer"))()


def test_second_compile_reads_the_entry(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run() == 42
    (entry,) = cache.glob("*.o")
    monkeypatch.setattr(code_generation, "prepared", lambda *_: pytest.fail("compiled again"))
    assert _run() == 42
    assert entry.exists()


def test_damaged_entry_is_made_anew(cache: Path) -> None:
    assert _run() == 42
    (entry,) = cache.glob("*.o")
    whole = entry.read_bytes()
    for damaged in (whole[:-3], whole[:25] + b"\0" + whole[26:], b""):
        entry.write_bytes(damaged)
        assert _run() == 42
        assert entry.read_bytes() == whole


def test_other_text_is_another_entry(cache: Path) -> None:
    _run()
    _run(TEXT.replace("42", "43"))
    assert len(list(cache.glob("*.o"))) == 2


def test_off(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTENSOR_CACHE", "0")
    assert _run() == 42
    assert not cache.exists()


def test_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("LTENSOR_CACHE_DIR", str(blocked / "below"))
    assert _run() == 42


def test_prune_keeps_the_newest(cache: Path) -> None:
    cache.mkdir()
    for number in range(10):
        path = cache / f"{number}.o"
        path.write_bytes(b"x" * 100)
        os.utime(path, (number, number))
    assert object_cache.size() == (10, 1000)
    assert object_cache.prune(999) == 6
    assert sorted(p.name for p in cache.glob("*.o")) == ["6.o", "7.o", "8.o", "9.o"]


def test_hashed_sources_are_the_whole_package() -> None:
    assert Path(ltensor.__file__).parent == object_cache.PACKAGE
