"""Adaptive pooling and upsampling."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.resampling import Resampling
from gpucnn.backends.contract.window import Pair
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.grids import INT_MAX
from gpucnn.errors import ShapeError


class CudaResampling(CudaArrays, Resampling):
    """Adaptive average and max pooling, and upsampling to the nearest pixel."""

    def _resample(self, kernel: str, size: Pair, *inputs: Any) -> Array:
        """Return planes of ``size``: the outputs, or the gradient of the inputs."""
        other, output = inputs[0].shape[2:], self.empty((*inputs[0].shape[:2], *size))
        plane, outputs = (size, other) if kernel.endswith("backward") else (other, size)
        self._kernels.launch_each(
            kernel, output.size, *inputs, output, output.size, *_sizes(plane, outputs)
        )
        return output

    def _adaptive_avg_pool2d(self, input: Array, size: Pair) -> Array:
        return self._resample("adaptive_avg_pool2d_forward", size, input)

    def _adaptive_avg_pool2d_backward(self, grad: Array, plane: Pair) -> Array:
        return self._resample("adaptive_avg_pool2d_backward", plane, grad)

    def _adaptive_max_pool2d(
        self, input: Array, size: Pair, return_indices: bool
    ) -> tuple[Array, Array | None]:
        output = self.empty((*input.shape[:2], *size))
        indices = self.empty(output.shape, np.int64) if return_indices else None
        self._kernels.launch_each(
            "adaptive_max_pool2d_forward",
            output.size, input, output, indices, output.size, *_sizes(input.shape[2:], size),
        )  # fmt: skip
        return output, indices

    def _adaptive_max_pool2d_backward(self, grad: Array, indices: Array, plane: Pair) -> Array:
        return self._resample("adaptive_max_pool2d_backward", plane, grad, indices)

    def _upsample_nearest2d(self, input: Array, size: Pair) -> Array:
        return self._resample("upsample_nearest2d_forward", size, input)

    def _upsample_nearest2d_backward(self, grad: Array, plane: Pair) -> Array:
        return self._resample("upsample_nearest2d_backward", plane, grad)


def _sizes(plane: Pair, outputs: Pair) -> tuple[int, int, int, int]:
    """Return H, W, P and Q; ShapeError if a product of sizes does not fit 32 bits."""
    for size, count in zip(plane, outputs, strict=True):
        if (size + 1) * (count + 1) > INT_MAX:
            raise ShapeError(
                f"resampling {plane} pixels to {outputs}: the product of the sizes of an axis "
                f"exceeds {INT_MAX}"
            )
    if max(plane[0] * plane[1], outputs[0] * outputs[1]) > INT_MAX:
        raise ShapeError(f"a plane of {plane} or {outputs} has more than {INT_MAX} elements")
    return (*plane, *outputs)
