"""What joins the outputs of several layers."""

from __future__ import annotations

import math

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.joining import Joining
from gpucnn.backends.cuda.arrays import CudaArrays


class CudaJoining(CudaArrays, Joining):
    """What joins the outputs of several layers."""

    def _add(self, input: Array, other: Array, relu: bool) -> Array:
        return self._map("add_forward", input, other, scalars=(relu,))

    def _write_channels(self, output: Array, input: Array, start: int) -> None:
        self._copy_channels("write_channels", output, input, start)

    def _read_channels(self, input: Array, start: int, channels: int) -> Array:
        output = self.empty((input.shape[0], channels, *input.shape[2:]))
        self._copy_channels("read_channels", input, output, start)
        return output

    def _copy_channels(self, kernel: str, every: Array, some: Array, start: int) -> None:
        """Copy between channels of ``every`` from ``start`` and ``some``."""
        pixels = math.prod(every.shape[2:])
        sizes = every.shape[1] * pixels, some.shape[1] * pixels, start * pixels
        self._kernels.launch_each(kernel, some.size, every, some, some.size, *sizes)
