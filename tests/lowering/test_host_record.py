"""What is known of the processor without LLVM: found again, and never that of somebody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltensor.lowering.cpu import host_record, machine, object_cache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LTENSOR_CACHE", "1")
    monkeypatch.setenv("LTENSOR_CACHE_DIR", str(tmp_path))
    # sources may be edited while tests run
    monkeypatch.setattr(object_cache, "sources", lambda: "these")
    return tmp_path


def known() -> tuple[machine.Host, str]:
    """What this process would find out if it began now."""
    return machine._known.__wrapped__()


needs_record = pytest.mark.skipif(
    host_record._processor() is None, reason="the system does not say what the processor is"
)


@needs_record
def test_found_again_without_llvm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = known()
    assert len(list(folder.glob("*.host"))) == 1
    monkeypatch.setattr(machine, "llvm", None)
    assert known() == first


@needs_record
def test_named_by_all_that_it_depends_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor, library = host_record._processor(), host_record._library()
    assert processor
    assert library
    names = {host_record.name(""), host_record.name("-fma")}
    for other, what in (
        (lambda: [*processor, "more"], "_processor"),
        (lambda: [*library, "more"], "_library"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(host_record, what, other)
            names.add(host_record.name(""))
    monkeypatch.setattr(object_cache, "sources", lambda: "others")
    names.add(host_record.name(""))
    assert len(names) == 5
    monkeypatch.setattr(object_cache, "sources", lambda: None)
    assert host_record.name("") is None
    assert None not in names


@needs_record
@pytest.mark.parametrize("text", [b"", b"no json", b"{}", b"[1, 2]", b"\xff"])
def test_what_is_no_record_is_made_anew(folder: Path, text: bytes) -> None:
    expected = known()
    name = host_record.name("")
    assert name is not None
    object_cache.store(name, text, "host")
    assert known() == expected
    assert host_record.load(name) is not None
    (folder / f"{name}.host").write_bytes(b"damaged")
    assert host_record.load(name) is None
    assert known() == expected


def test_without_a_cache_nothing_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTENSOR_CACHE", "0")
    assert known() == known()
    assert not list(folder.iterdir())
