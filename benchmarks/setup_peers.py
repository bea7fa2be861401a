"""Make the peers' environments: ``python benchmarks/setup_peers.py [jax] [numba] ...``.

Each peer gets a virtual environment of its own, from the package registry, under the folder that
``LTENSOR_BENCHMARKS_DIR`` names (default ``~/.cache/ltensor-benchmarks``). With no names, all of
them. ``--force`` makes them anew.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.kernels import cache_folder

#: Environment to packages. SciPy is for numba's products of matrices.
PACKAGES = {
    "jax": ["jax==0.10.2"],
    "pytensor": ["pytensor==3.0.7"],
    "numba": ["numba==0.68.1", "scipy"],
    "torch": ["torch==2.13.0+cpu", "numpy", "setuptools"],
}
#: Where packages are that the registry does not have: PyTorch's builds for the processor alone.
INDEXES = {"torch": "https://download.pytorch.org/whl/cpu"}


def make(name: str, folder: Path, force: bool) -> bool:
    """One environment; False where its packages could not be had."""
    if folder.exists() and force:
        shutil.rmtree(folder)
    if (folder / "complete").exists():
        print(f"{name}: there already, in {folder}")
        return True
    venv.create(folder, with_pip=True, clear=folder.exists())
    install = [folder / "bin" / "python", "-m", "pip", "install", *PACKAGES[name]]
    done = subprocess.run(install)
    if done.returncode and name in INDEXES:
        done = subprocess.run([*install, "--extra-index-url", INDEXES[name]])
    if done.returncode:
        shutil.rmtree(folder)
        print(f"{name}: could not be installed", file=sys.stderr)
        return False
    (folder / "complete").touch()
    print(f"{name}: in {folder}")
    return True


def main() -> None:
    """Make those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", metavar="PEER", help=", ".join(PACKAGES))
    parser.add_argument("--force", action="store_true", help="make them anew")
    options = parser.parse_args()
    unknown = set(options.peers) - set(PACKAGES)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    results = [make(name, root / name, options.force) for name in options.peers or PACKAGES]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
