"""Adaptive pooling and upsampling: rows and columns one after the other."""

from __future__ import annotations

import numpy as np

from gpucnn.arithmetic import adaptive_windows, nearest_copies
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.resampling import Resampling
from gpucnn.backends.contract.window import Pair, Window
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.windows import (
    add_at_indices,
    add_to_spans,
    batch_first,
    batch_last,
    max_with_index,
    reduce_spans,
)


class NumpyResampling(NumpyArrays, Resampling):
    """Adaptive average and max pooling, and upsampling to the nearest pixel."""

    def _adaptive_avg_pool2d(self, input: Array, size: Pair) -> Array:
        plane: Pair = input.shape[2:]
        total = batch_last(input)
        for axis in (0, 1):
            total = reduce_spans(np.add, total, 1 + axis, adaptive_windows(plane[axis], size[axis]))
        total /= self._elements(plane, size)
        return batch_first(total)

    def _adaptive_avg_pool2d_backward(self, grad: Array, plane: Pair) -> Array:
        size: Pair = grad.shape[2:]
        share = batch_last(grad) / self._elements(plane, size)
        for axis in (1, 0):
            windows = adaptive_windows(plane[axis], size[axis])
            share = add_to_spans(share, 1 + axis, windows, plane[axis])
        return batch_first(share)

    def _elements(self, plane: Pair, size: Pair) -> Array:
        """Return the number of elements of each window, (P, Q, 1)."""
        counts = [
            [end - start for start, end in adaptive_windows(plane[axis], size[axis])]
            for axis in (0, 1)
        ]
        return np.multiply.outer(*map(np.array, counts))[:, :, None].astype(self.dtype)

    def _adaptive_max_pool2d(
        self, input: Array, size: Pair, return_indices: bool
    ) -> tuple[Array, Array | None]:
        x, plane = batch_last(input), input.shape[2:]
        rows, columns = (adaptive_windows(plane[axis], size[axis]) for axis in (0, 1))
        if not return_indices:
            best = reduce_spans(np.maximum, reduce_spans(np.maximum, x, 2, columns), 1, rows)
            return batch_first(best), None
        best = np.empty((len(x), *size, x.shape[3]), self.dtype)
        indices = np.empty(best.shape, np.int64)
        for p, (top, bottom) in enumerate(rows):
            for q, (left, right) in enumerate(columns):
                part = x[:, top:bottom, left:right]
                maxima, index = max_with_index(part, _one_window(part.shape[1:3]))
                row, column = np.divmod(index[:, 0, 0], right - left)
                best[:, p, q] = maxima[:, 0, 0]
                indices[:, p, q] = (row + top) * plane[1] + (column + left)
        return batch_first(best), batch_first(indices)

    def _adaptive_max_pool2d_backward(self, grad: Array, indices: Array, plane: Pair) -> Array:
        return add_at_indices(grad, indices, plane)

    def _upsample_nearest2d(self, input: Array, size: Pair) -> Array:
        x, plane = batch_last(input), input.shape[2:]
        for axis in (1, 0):
            x = x.take(np.arange(size[axis]) * plane[axis] // size[axis], 1 + axis)
        return batch_first(x)

    def _upsample_nearest2d_backward(self, grad: Array, plane: Pair) -> Array:
        size, total = grad.shape[2:], batch_last(grad)
        for axis in (0, 1):
            total = reduce_spans(np.add, total, 1 + axis, nearest_copies(plane[axis], size[axis]))
        return batch_first(total)


def _one_window(plane: Pair) -> Window:
    """Return the window that is a plane."""
    return Window(plane, (1, 1), ((0, 0), (0, 0)), (1, 1), plane, (1, 1))
