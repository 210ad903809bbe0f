"""Adaptive pooling and upsampling: windows that follow from the sizes of input and output."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.window import IntOrPair, Pair, pair
from gpucnn.errors import SettingError

OutputSize = SupportsIndex | Sequence[SupportsIndex | None]
"""(P, Q), or one integer for both; None in the pair keeps the input's size."""


class Resampling(Arrays):
    """Adaptive average and max pooling, and upsampling to the nearest pixel."""

    # Along an axis of H pixels, the window of output p of P pools floor(p H / P) to
    # ceil((p + 1) H / P) - 1, and output p of an upsampling is pixel floor(p H / P).

    def adaptive_avg_pool2d(self, input: Array, output_size: OutputSize) -> Array:
        """Return the mean of each of P by Q windows, (N, C, H, W) to (N, C, P, Q)."""
        self._check("adaptive_avg_pool2d", "input", input, (None,) * 4)
        return self._adaptive_avg_pool2d(input, adaptive_size(input.shape[2:], output_size))

    @abstractmethod
    def _adaptive_avg_pool2d(self, input: Array, size: Pair) -> Array: ...

    def adaptive_avg_pool2d_backward(self, grad: Array, input_shape: Sequence[int]) -> Array:
        """Return the gradient of the input, of shape ``input_shape``."""
        op = "adaptive_avg_pool2d_backward"
        return self._adaptive_avg_pool2d_backward(grad, self._planes(op, grad, input_shape))

    @abstractmethod
    def _adaptive_avg_pool2d_backward(self, grad: Array, plane: Pair) -> Array: ...

    def adaptive_max_pool2d(
        self, input: Array, output_size: OutputSize, return_indices: bool = False
    ) -> Any:
        """Return the maximum of each of P by Q windows, and with ``return_indices`` its index.

        Indices, ties and NaN are as in ``max_pool2d``.
        """
        self._check("adaptive_max_pool2d", "input", input, (None,) * 4)
        size = adaptive_size(input.shape[2:], output_size)
        output, indices = self._adaptive_max_pool2d(input, size, return_indices)
        return (output, indices) if return_indices else output

    @abstractmethod
    def _adaptive_max_pool2d(
        self, input: Array, size: Pair, return_indices: bool
    ) -> tuple[Array, Array | None]: ...

    def adaptive_max_pool2d_backward(
        self, grad: Array, indices: Array, input_shape: Sequence[int]
    ) -> Array:
        """Return the gradient of the input: ``grad`` added at ``indices``, zero elsewhere."""
        op = "adaptive_max_pool2d_backward"
        plane = self._planes(op, grad, input_shape)
        self._check(op, "indices", indices, grad.shape, np.int64)
        return self._adaptive_max_pool2d_backward(grad, indices, plane)

    @abstractmethod
    def _adaptive_max_pool2d_backward(self, grad: Array, indices: Array, plane: Pair) -> Array: ...

    def upsample_nearest2d(self, input: Array, output_size: IntOrPair) -> Array:
        """Return the pixels nearest to those of a plane of another size, to (N, C, P, Q)."""
        self._check("upsample_nearest2d", "input", input, (None,) * 4)
        return self._upsample_nearest2d(input, pair("output_size", output_size, 1))

    @abstractmethod
    def _upsample_nearest2d(self, input: Array, size: Pair) -> Array: ...

    def upsample_nearest2d_backward(self, grad: Array, input_shape: Sequence[int]) -> Array:
        """Return the gradient of the input: the sum of ``grad`` over the copies of each pixel."""
        op = "upsample_nearest2d_backward"
        return self._upsample_nearest2d_backward(grad, self._planes(op, grad, input_shape))

    @abstractmethod
    def _upsample_nearest2d_backward(self, grad: Array, plane: Pair) -> Array: ...

    def _planes(self, op: str, grad: Array, input_shape: Sequence[int]) -> Pair:
        """Return (H, W) of an input whose samples and channels are those of ``grad``."""
        samples, channels, height, width = self._shape(op, "input_shape", input_shape, 4)
        self._check(op, "grad", grad, (samples, channels, None, None))
        return height, width


def adaptive_size(plane: Sequence[int], output_size: OutputSize) -> Pair:
    """Return (P, Q) of an adaptive pooling of (H, W) pixels; SettingError for another size."""
    try:
        sizes = (
            output_size if isinstance(output_size, Sequence) else [operator.index(output_size)] * 2
        )
        height, width = (
            operator.index(side if size is None else size)
            for side, size in zip(plane, sizes, strict=True)
        )
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise SettingError(
            "output_size must be an integer of at least 1, or a pair of these, with None for the "
            f"input's size; got {output_size!r}"
        )
    return height, width
