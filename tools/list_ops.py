"""Writes the table of operations into docs/ir.md: ``python tools/list_ops.py [--check]``."""

from __future__ import annotations

import sys
from pathlib import Path

import ltensor  # noqa: F401 - declares all ops
from ltensor.ops.opdef import REGISTRY, Declaration

PAGE = Path(__file__).parent.parent / "docs" / "ir.md"
BEGIN, END = "<!-- begin: written by tools/list_ops.py -->", "<!-- end -->"


def _example(declaration: Declaration) -> object | None:
    """Some op of the declaration, for its kind and the names of its attributes."""
    for arguments in ((), ("float64",), (0,), ((0,),), ((True,),)):
        try:
            return declaration.make(*arguments)
        except Exception:
            continue
    return None


def _row(name: str, declaration: Declaration) -> str:
    op = _example(declaration)
    kind = getattr(op, "kind", "") or "region"
    attributes = ", ".join(f"`{p}`" for p in getattr(op, "__props__", ()))
    doc = " ".join(declaration.doc.split()).replace("|", "\\|")
    return f"| `{name}` | {kind} | {attributes} | {doc} |"


def table() -> str:
    """The table, in Markdown."""
    rows = [_row(name, d) for name, d in sorted(REGISTRY.items()) if not name.startswith("cast_")]
    casts = [name[5:] for name in REGISTRY if name.startswith("cast_")]
    doc = f"Conversion to a dtype; `cast_` and one of {', '.join(casts)}."
    rows.append(f"| `cast_float64`, ... | pointwise |  | {doc} |")
    return "\n".join(["| op | kind | attributes | |", "|---|---|---|---|", *sorted(rows)])


def updated(text: str) -> str:
    """The page with a fresh table."""
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


def main(arguments: list[str]) -> int:
    """Write the page, or say whether it is up to date."""
    text = PAGE.read_text(encoding="utf-8")
    if "--check" in arguments:
        if updated(text) == text:
            return 0
        print(f"{PAGE} is not up to date: run python tools/list_ops.py", file=sys.stderr)
        return 1
    PAGE.write_text(updated(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
