"""Imports go down only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ltensor

PACKAGE = Path(ltensor.__file__).parent

LAYERS: dict[int, tuple[str, ...]] = {
    0: ("errors", "source", "config", "config_flags", "version"),
    1: ("ir",),
    2: ("ops",),
    3: ("passes",),
    4: ("lowering", "cuda_ptx", "runtime", "hooks"),
    5: (),  # everything else that users import
    6: ("compat", "cli", "dump", "testing", "theano_names", "__main__"),
}
#: siblings of layer 4 from the bottom up: renderers below what runs their code
SIBLINGS = ("lowering", "cuda_ptx", "runtime", "hooks")
OF_NAME = {name: layer for layer, names in LAYERS.items() for name in names}


def _layer(module: str) -> int:
    parts = module.split(".")
    # the package itself is the door, above all that it lets users see
    return OF_NAME.get(parts[1], 5) if len(parts) > 1 else 6


def _imports(path: Path) -> list[tuple[str, int, bool]]:
    """Imported ltensor modules with line; last: whether only for type checking."""
    tree = ast.parse(path.read_text())
    found = []

    def visit(node: ast.AST, typing_only: bool) -> None:
        for child in ast.iter_child_nodes(node):
            guarded = typing_only or (
                isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            )
            if isinstance(child, ast.ImportFrom) and child.module and child.level == 0:
                if child.module == "ltensor":
                    found.extend((f"ltensor.{a.name}", child.lineno, guarded) for a in child.names)
                elif child.module.startswith("ltensor."):
                    found.append((child.module, child.lineno, guarded))
            elif isinstance(child, ast.Import):
                found.extend(
                    (a.name, child.lineno, guarded)
                    for a in child.names
                    if a.name.startswith("ltensor.")
                )
            visit(child, guarded)

    visit(tree, False)
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(PACKAGE)) for p in FILES])
def test_imports_go_down(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    name = ".".join(("ltensor", *relative.with_suffix("").parts)).removesuffix(".__init__")
    layer = _layer(name)
    own = name.split(".")[1] if "." in name else ""
    wrong = []
    for module, line, typing_only in _imports(path):
        other = _layer(module)
        target = module.split(".")[1]
        if typing_only:
            continue
        if other > layer:
            wrong.append(f"line {line}: {module} (layer {other}) from layer {layer}")
        siblings = layer == other == 4 and own in SIBLINGS and target in SIBLINGS
        if siblings and SIBLINGS.index(target) > SIBLINGS.index(own):
            wrong.append(f"line {line}: {module} lies above {own}")
    assert not wrong, f"{relative}: " + "; ".join(wrong)
