"""What the tests of PTX share: ptxas, and the reasons to skip."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ltensor.cuda_ptx.emulator import available

PTXAS = shutil.which("ptxas")
needs_ptxas = pytest.mark.skipif(PTXAS is None, reason="ptxas is not on PATH")
emulated = pytest.mark.skipif(not available(), reason="the emulator's fibers need Linux")


def assemble(ptx: str, folder: Path, arch: str = "sm_80") -> None:
    source = folder / "kernels.ptx"
    source.write_text(ptx)
    done = subprocess.run(
        [
            PTXAS or "ptxas",
            f"-arch={arch}",
            "-O0",
            str(source),
            "-o",
            str(folder / "kernels.cubin"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
