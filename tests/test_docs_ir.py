"""Pages of docs: their programs run, the table of ops is up to date."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from ltensor.ir.text import print_function
from ltensor.ops.textual import parse

ROOT = Path(__file__).parent.parent


def _blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    fences = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    return [body for name, body in fences if name == language]


def test_table_of_ops_is_up_to_date() -> None:
    path = ROOT / "tools" / "list_ops.py"
    spec = importlib.util.spec_from_file_location("list_ops", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--check"]) == 0, "run python tools/list_ops.py"


@pytest.mark.parametrize("page", ["ir.md", "adding_a_pass.md"])
def test_programs_run(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ltensor.passes import manager

    monkeypatch.setattr(manager, "_PASSES", dict(manager.passes()))
    scope: dict[str, Any] = {"__name__": "page"}
    for block in _blocks(page, "python"):
        exec(compile(block, page, "exec", dont_inherit=True), scope)
    printed = capsys.readouterr().out
    assert "func @f" in printed
    if page == "ir.md":
        assert _blocks(page, "")[0].strip() == printed.strip()


def test_programs_about_scan_run(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {"__name__": "page"}
    for block in _blocks("scan.md", "python"):
        exec(compile(block, "rnn.py", "exec", dont_inherit=True), scope)
    # columns are as wide as their widest entry, which depends on the machine
    printed = " ".join(capsys.readouterr().out.split())
    (report, *_) = _blocks("scan.md", "")
    for line in filter(None, report.splitlines()):
        assert " ".join(line.split()) in printed


def test_printed_ir_of_the_page() -> None:
    shown = [block for block in _blocks("ir.md", "") if block.startswith("func @")]
    assert len(shown) == 2
    for block in shown:
        function = parse(block)
        assert parse(print_function(function)).name == function.name
    assert print_function(parse(shown[0])) == shown[0]
