"""Pooling: a loop over the kernel elements, each iteration a pass over whole maps."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.pooling import Pooling
from gpucnn.backends.contract.window import Window
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.elementwise import masked
from gpucnn.backends.numpy.windows import (
    add_at_indices,
    add_to_windows,
    batch_first,
    batch_last,
    divisors,
    max_with_index,
    reduce_windows,
)


class NumpyPooling(NumpyArrays, Pooling):
    """Max, average, sum and Lp pooling."""

    def _max_pool2d(
        self, input: Array, window: Window, return_indices: bool
    ) -> tuple[Array, Array | None]:
        x = batch_last(input)
        if not return_indices:
            return batch_first(reduce_windows(np.maximum, x, window, -np.inf)), None
        best, indices = max_with_index(x, window)
        return batch_first(best), batch_first(indices)

    def _max_pool2d_backward(
        self, grad: Array, indices: Array, relu_output: Array | None, window: Window
    ) -> Array:
        if relu_output is not None:
            grad = masked(grad, relu_output > 0)
        return add_at_indices(grad, indices, window.plane)

    def _avg_pool2d(
        self, input: Array, window: Window, count_include_pad: bool, divisor: int | None
    ) -> Array:
        total = reduce_windows(np.add, batch_last(input), window, 0.0)
        total /= divisors(window, count_include_pad, divisor, self.dtype)
        return batch_first(total)

    def _avg_pool2d_backward(
        self, grad: Array, window: Window, count_include_pad: bool, divisor: int | None
    ) -> Array:
        share = batch_last(grad) / divisors(window, count_include_pad, divisor, self.dtype)
        return batch_first(add_to_windows(share, window))

    def _lp_pool2d(self, input: Array, norm: int, window: Window) -> Array:
        x = batch_last(input)
        total = reduce_windows(np.add, x if norm == 1 else x * x, window, 0.0)
        total *= window.kernel_elements / divisors(window, True, None, self.dtype)
        return batch_first(total if norm == 1 else np.sqrt(total))

    def _lp_pool2d_backward(
        self, grad: Array, input: Array, output: Array, norm: int, window: Window
    ) -> Array:
        share = batch_last(grad) * (
            window.kernel_elements / divisors(window, True, None, self.dtype)
        )
        if norm == 1:
            return batch_first(add_to_windows(share, window))
        norms = batch_last(output)
        share = np.divide(share, norms, out=np.zeros_like(share), where=norms != 0)
        return batch_first(add_to_windows(share, window) * batch_last(input))
