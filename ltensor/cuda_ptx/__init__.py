"""The second target: kernel programs as PTX for NVIDIA GPUs (layer 4).

`render_function` gives the PTX text with the launch plan; `ltensor.cuda_ptx.emulator` runs the same
kernels on the host. There is no driver here yet.
"""

from ltensor.cuda_ptx.render import render_function, render_program

__all__ = ["render_function", "render_program"]
