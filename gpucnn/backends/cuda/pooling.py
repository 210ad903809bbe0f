"""Pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.pooling import Pooling
from gpucnn.backends.contract.window import Window
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.grids import average_sizes, window_struct


class CudaPooling(CudaArrays, Pooling):
    """Max, average, sum and Lp pooling."""

    def _pool(self, kernel: str, window: Window, inputs: tuple[Any, ...], *sizes: int) -> Array:
        """Return a pooling's output, or the gradient of its input."""
        plane = window.plane if kernel.endswith("backward") else window.output
        output = self.empty((*inputs[0].shape[:2], *plane))
        planes = output.shape[0] * output.shape[1]
        self._kernels.launch_each(
            kernel, output.size, *inputs, output, window_struct(window), planes, *sizes
        )
        return output

    def _max_pool2d(
        self, input: Array, window: Window, return_indices: bool
    ) -> tuple[Array, Array | None]:
        shape = (*input.shape[:2], *window.output)
        output = self.empty(shape)
        indices = self.empty(shape, np.int64) if return_indices else None
        self._kernels.launch_each(
            "max_pool2d_forward",
            output.size, input, output, indices, window_struct(window), shape[0] * shape[1],
        )  # fmt: skip
        return output, indices

    def _max_pool2d_backward(
        self, grad: Array, indices: Array, relu_output: Array | None, window: Window
    ) -> Array:
        return self._pool("max_pool2d_backward", window, (grad, indices, relu_output))

    def _avg_pool2d(
        self, input: Array, window: Window, count_include_pad: bool, divisor: int | None
    ) -> Array:
        sizes = average_sizes(window, count_include_pad, divisor)
        return self._pool("avg_pool2d_forward", window, (input,), *sizes)

    def _avg_pool2d_backward(
        self, grad: Array, window: Window, count_include_pad: bool, divisor: int | None
    ) -> Array:
        sizes = average_sizes(window, count_include_pad, divisor)
        return self._pool("avg_pool2d_backward", window, (grad,), *sizes)

    def _lp_pool2d(self, input: Array, norm: int, window: Window) -> Array:
        return self._pool("lp_pool2d_forward", window, (input,), norm)

    def _lp_pool2d_backward(
        self, grad: Array, input: Array, output: Array, norm: int, window: Window
    ) -> Array:
        return self._pool("lp_pool2d_backward", window, (grad, input, output), norm)
