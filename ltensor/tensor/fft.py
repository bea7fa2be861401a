"""``theano.tensor.fft``: Fourier transforms of real arrays."""

from __future__ import annotations

from ltensor.ops.fourier import irfft, rfft

__all__ = ["irfft", "rfft"]
