"""Memory order, and sliding windows over maps that are stored as (C, H, W, N).

Shapes: C channels, H by W pixels of the plane, N samples, kh by kw kernel elements, H' by W' output
positions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.window import Pair, Window

# --- memory order -------------------------------------------------------------------------------


def batch_last(array: Array) -> Array:
    """Return (N, ...) as a contiguous (..., N); a view if the batch is already innermost."""
    return np.ascontiguousarray(array.transpose(*range(1, array.ndim), 0))


def batch_first(array: Array) -> Array:
    """Return (..., N) as (N, ...), a view."""
    return array.transpose(array.ndim - 1, *range(array.ndim - 1))


# --- windows ------------------------------------------------------------------------------------


def kernel_indices(window: Window) -> Iterator[tuple[int, int]]:
    """Return an iterator over (kernel_y, kernel_x) in row-major order."""
    return np.ndindex(window.kernel)


def padded_size(window: Window, axis: int) -> int:
    """Return the size of the padded plane, including what a ceil_mode window adds to its end."""
    extent = (window.kernel[axis] - 1) * window.dilation[axis] + 1
    last = (window.output[axis] - 1) * window.stride[axis]
    return max(last + extent, window.padding[axis][0] + window.plane[axis])


def pad(x: Array, window: Window, fill: float = 0.0) -> Array:
    """Return (C, H, W, N) with the window's padding added."""
    size = (x.shape[0], padded_size(window, 0), padded_size(window, 1), x.shape[3])
    if size == x.shape:
        return x
    padded = np.full(size, fill, x.dtype)
    crop(padded, window)[...] = x
    return padded


def crop(padded: Array, window: Window) -> Array:
    """Return the view of a padded plane without its padding."""
    (top, _), (left, _) = window.padding
    return padded[:, top : top + window.plane[0], left : left + window.plane[1]]


def window_view(padded: Array, window: Window) -> Array:
    """Return the view (C, kh, kw, H', W', N): the pixel under each kernel element."""
    c, h, w, n = padded.strides
    (dh, dw), (sh, sw) = window.dilation, window.stride
    return as_strided(
        padded,
        (padded.shape[0], *window.kernel, *window.output, padded.shape[3]),
        (c, h * dh, w * dw, h * sh, w * sw, n),
    )


def padded_zeros(channels: int, samples: int, window: Window, dtype: np.dtype[Any]) -> Array:
    """Return a padded plane of zeros, (C, H, W, N)."""
    return np.zeros((channels, padded_size(window, 0), padded_size(window, 1), samples), dtype)


def reduce_windows(ufunc: np.ufunc, x: Array, window: Window, fill: float) -> Array:
    """Return (C, H', W', N): ``ufunc`` reduced over each window, ``fill`` being the padding."""
    view = window_view(pad(x, window, fill), window)
    total = view[:, 0, 0].copy()
    for i, j in itertools.islice(kernel_indices(window), 1, None):
        ufunc(total, view[:, i, j], out=total)
    return total


def add_to_windows(share: Array, window: Window) -> Array:
    """Return a plane in which ``share`` (C, H', W', N) is added to every pixel of its window."""
    padded = padded_zeros(share.shape[0], share.shape[3], window, share.dtype)
    view = window_view(padded, window)
    for i, j in kernel_indices(window):
        view[:, i, j] += share
    return crop(padded, window)


def divisors(
    window: Window, count_include_pad: bool, override: int | None, dtype: np.dtype[Any]
) -> Array:
    """Return the divisor of average pooling at each output position, (H', W', 1)."""
    if override is not None:
        return np.full((1, 1, 1), override, dtype)
    counts = []
    for axis in (0, 1):
        size, pad_after = window.plane[axis], window.padding[axis][1]
        starts = np.array(window.starts(axis))
        ends = np.minimum(starts + window.kernel[axis], size + pad_after)
        inside = np.minimum(ends, size) - np.maximum(starts, 0)
        counts.append(ends - starts if count_include_pad else inside)
    return np.multiply.outer(*counts)[:, :, None].astype(dtype)


# --- spans of an axis ---------------------------------------------------------------------------


def reduce_spans(ufunc: np.ufunc, x: Array, axis: int, spans: Sequence[Pair]) -> Array:
    """Return ``ufunc`` reduced over each span (start, end) of an axis; sums may have no terms."""
    reduced = np.empty((*x.shape[:axis], len(spans), *x.shape[axis + 1 :]), x.dtype)
    source, target = x.swapaxes(0, axis), reduced.swapaxes(0, axis)
    for i, (start, end) in enumerate(spans):
        ufunc.reduce(source[start:end], 0, out=target[i])
    return reduced


def add_to_spans(share: Array, axis: int, spans: Sequence[Pair], size: int) -> Array:
    """Return an axis of ``size`` in which ``share`` is added to every element of its span."""
    total = np.zeros((*share.shape[:axis], size, *share.shape[axis + 1 :]), share.dtype)
    source, target = share.swapaxes(0, axis), total.swapaxes(0, axis)
    for i, (start, end) in enumerate(spans):
        target[start:end] += source[i]
    return total


# --- indices of maxima --------------------------------------------------------------------------


def _first_element(window: Window) -> Array:
    """Return the flat plane index of the first kernel element at each position, (H', W', 1)."""
    rows, columns = (np.array(window.starts(axis)) for axis in (0, 1))
    return (rows[:, None] * window.plane[1] + columns)[:, :, None]


def _index_offset(window: Window, i: int, j: int) -> int:
    """Return the flat plane index of kernel element (i, j), relative to the first."""
    return i * window.dilation[0] * window.plane[1] + j * window.dilation[1]


def add_at_indices(grad: Array, indices: Array, size: Pair) -> Array:
    """Return (N, C, *size) in which ``grad`` (N, C, P, Q) is added at flat indices of the plane."""
    samples, channels = grad.shape[:2]
    plane = np.zeros((channels, *size, samples), grad.dtype)
    # Indices into flat memory. Windows may share an element, so its gradients are added.
    first = np.arange(0, plane.size, plane[0].size)[:, None, None, None] + np.arange(samples)
    flat_indices = batch_last(indices) * samples
    flat_indices += first
    np.add.at(plane.reshape(-1), flat_indices.reshape(-1), batch_last(grad).reshape(-1))
    return batch_first(plane)


def max_with_index(x: Array, window: Window) -> tuple[Array, Array]:
    """Return the maximum of each window of (C, H, W, N), and its flat index in the plane."""
    view = window_view(pad(x, window, -np.inf), window)
    elements = list(kernel_indices(window))
    offsets = [_index_offset(window, *element) for element in elements]
    candidates = [view[:, *element] for element in elements]
    best = candidates[0] if len(elements) > 1 else candidates[0].copy()
    argmax, offset = (np.zeros(best.shape, np.min_scalar_type(offsets[-1])) for _ in range(2))
    exceeds = np.empty(best.shape, bool)
    for k, candidate in enumerate(candidates[1:], 1):
        # The last element that exceeds all before it has the greatest offset: padding never does.
        np.greater(candidate, best, out=exceeds)
        np.multiply(exceeds, argmax.dtype.type(offsets[k]), out=offset)
        np.maximum(argmax, offset, out=argmax)
        best = np.maximum(best, candidate, out=best if k > 1 else None)
    if not np.isfinite(best).all():
        return best, _first_index(view, best, window)
    return best, argmax + _first_element(window)


def _first_index(view: Array, best: Array, window: Window) -> Array:
    """Return the flat plane index of the first element equal to ``best``, which may be NaN or inf.

    Two NaN count as equal. Padding is -inf, so elements outside the plane are excluded. The loop
    runs backwards, so that the first of equal elements is written last.
    """
    rows, columns = (np.array(window.elements_inside(axis)) for axis in (0, 1))
    indices = np.zeros(best.shape, np.int64)
    for i, j in reversed(list(kernel_indices(window))):
        candidate = view[:, i, j]
        is_best = (candidate == best) | np.isnan(candidate)
        is_best &= (rows[:, i, None] & columns[:, j])[:, :, None]
        np.putmask(indices, is_best, _index_offset(window, i, j))
    return indices + _first_element(window)
