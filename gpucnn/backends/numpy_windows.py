"""Windows over maps that lie in memory as (C, H, W, N), the way the NumPy backend keeps them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from gpucnn.backends.checks import Array
from gpucnn.backends.window import Window

PART_BYTES = 1 << 22
"""How much memory a part of a convolution's columns takes: a share of the last cache."""

# --- memory order -------------------------------------------------------------------------------


def batch_last(array: Array) -> Array:
    """(N, ...) to (..., N), contiguous: free where the batch is innermost already."""
    return np.ascontiguousarray(array.transpose(*range(1, array.ndim), 0))


def batch_first(array: Array) -> Array:
    """(..., N) to (N, ...), a view."""
    return array.transpose(array.ndim - 1, *range(array.ndim - 1))


def rectify(x: Array) -> Array:
    """Return max(x, 0), NaN where x is NaN, in the same memory order."""
    lying = x.transpose(*range(1, x.ndim), 0) if x.ndim else x
    if not lying.flags.c_contiguous:
        return np.maximum(x, 0, out=np.empty_like(x))
    # NumPy's fast loop takes two arrays and no number: rows of zeros that stay in the cache.
    flat, result = lying.reshape(-1), np.empty_like(lying)
    zeros, whole = np.zeros(2048, x.dtype), flat.size // 2048 * 2048
    rows, tail = result.reshape(-1)[:whole], result.reshape(-1)[whole:]
    np.maximum(flat[:whole].reshape(-1, 2048), zeros, out=rows.reshape(-1, 2048))
    np.maximum(flat[whole:], zeros[: tail.size], out=tail)
    return batch_first(result) if x.ndim else result


# --- windows ------------------------------------------------------------------------------------


def each_tap(window: Window) -> Iterator[tuple[int, int]]:
    """Go through the window's taps in row-major order."""
    return np.ndindex(window.kernel)


def covered(window: Window, axis: int) -> int:
    """Return how many pixels the padded plane needs: a ceil_mode window may hang over its end."""
    reach = (window.kernel[axis] - 1) * window.dilation[axis] + 1
    last = (window.output[axis] - 1) * window.stride[axis]
    return max(last + reach, window.padding[axis][0] + window.plane[axis])


def pad(x: Array, window: Window, fill: float = 0.0) -> Array:
    """Return (C, H, W, N) with the window's padding around it."""
    size = (x.shape[0], covered(window, 0), covered(window, 1), x.shape[3])
    if size == x.shape:
        return x
    padded = np.full(size, fill, x.dtype)
    crop(padded, window)[...] = x
    return padded


def crop(padded: Array, window: Window) -> Array:
    """Return the view of a padded (C, H', W', N) array without its padding."""
    (top, _), (left, _) = window.padding
    return padded[:, top : top + window.plane[0], left : left + window.plane[1]]


def slide(padded: Array, window: Window) -> Array:
    """Return the view (C, kh, kw, H', W', N): where each tap of the window meets the plane."""
    c, h, w, n = padded.strides
    (dh, dw), (sh, sw) = window.dilation, window.stride
    return as_strided(
        padded,
        (padded.shape[0], *window.kernel, *window.output, padded.shape[3]),
        (c, h * dh, w * dw, h * sh, w * sw, n),
    )


def zero_windows(
    channels: int, samples: int, window: Window, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Return a padded plane of zeros, (C, H, W, N), and its windows."""
    padded = np.zeros((channels, covered(window, 0), covered(window, 1), samples), dtype)
    return padded, slide(padded, window)


def reduce_taps(add: np.ufunc, x: Array, window: Window, fill: float) -> Array:
    """Return (C, H', W', N): ``add`` over the window's taps, the padding being ``fill``."""
    views = slide(pad(x, window, fill), window)
    total = views[:, 0, 0].copy()
    for i, j in itertools.islice(each_tap(window), 1, None):
        add(total, views[:, i, j], out=total)
    return total


def spread(share: Array, window: Window) -> Array:
    """Return the plane that gets each window's ``share`` (C, H', W', N) at each of its taps."""
    padded, views = zero_windows(share.shape[0], share.shape[3], window, share.dtype)
    for i, j in each_tap(window):
        views[:, i, j] += share
    return crop(padded, window)


def divisors(
    window: Window, count_include_pad: bool, override: int | None, dtype: np.dtype[Any]
) -> Array:
    """Return what average pooling divides each stop's sum by, as (H', W', 1)."""
    if override is not None:
        return np.full((1, 1, 1), override, dtype)
    counts = []
    for axis in (0, 1):
        size, after = window.plane[axis], window.padding[axis][1]
        starts = np.array(window.starts(axis))
        ends = np.minimum(starts + window.kernel[axis], size + after)
        inside = np.minimum(ends, size) - np.maximum(starts, 0)
        counts.append(ends - starts if count_include_pad else inside)
    return np.multiply.outer(*counts)[:, :, None].astype(dtype)


def masked(grad: Array, kept: Array) -> Array:
    """Return ``grad`` where ``kept`` is true and zero elsewhere, also where it is infinite or NaN.

    True is -1 as an integer, all bits set, so that "and" keeps a number's bits: as fast as a
    product, which would make NaN of zero times infinity, and ten times as fast as np.where.
    """
    integers = np.dtype(f"i{grad.itemsize}")
    return np.bitwise_and(grad.view(integers), -kept.view(np.int8)).view(grad.dtype)


# --- where a maximum came from ------------------------------------------------------------------


def corner_indices(window: Window) -> Array:
    """Return the plane's flat index under each stop's first tap, as (H', W', 1)."""
    rows, columns = (np.array(window.starts(axis)) for axis in (0, 1))
    return (rows[:, None] * window.plane[1] + columns)[:, :, None]


def tap_offset(window: Window, i: int, j: int) -> int:
    """Return how far tap (i, j) lies behind the first one in the plane's flat order."""
    return i * window.dilation[0] * window.plane[1] + j * window.dilation[1]


def max_with_index(x: Array, window: Window) -> tuple[Array, Array]:
    """Return the greatest element of each window of (C, H, W, N), and its index in the plane."""
    views = slide(pad(x, window, -np.inf), window)
    taps = list(each_tap(window))
    best = views[:, *taps[0]].copy()
    number = np.zeros(best.shape, np.min_scalar_type(len(taps)))  # of the tap that is the greatest
    for k, tap in enumerate(taps[1:], 1):
        seen = views[:, *tap]
        # Only a greater one replaces what came before it, and then has the greatest number.
        np.maximum(number, number.dtype.type(k) * (seen > best), out=number)
        np.maximum(best, seen, out=best)
    if not np.isfinite(best).all():
        return best, _first_index(views, best, window)
    offsets = np.array([tap_offset(window, *tap) for tap in taps])
    return best, offsets[number] + corner_indices(window)


def _first_index(views: Array, best: Array, window: Window) -> Array:
    """Return the index of the first tap that holds ``best``, which may be infinite or NaN.

    A NaN counts as equal to a NaN. Padding is -inf, which must not be taken for an element that
    is -inf. Going through the taps backwards, the first of equals is written last.
    """
    rows, columns = (np.array(window.taps_inside(axis)) for axis in (0, 1))
    indices = np.zeros(best.shape, np.int64)
    for i, j in reversed(list(each_tap(window))):
        tap = views[:, i, j]
        holds = (tap == best) | np.isnan(tap)
        holds &= (rows[:, i, None] & columns[:, j])[:, :, None]
        np.putmask(indices, holds, tap_offset(window, i, j))
    return indices + corner_indices(window)


# --- convolution as a matrix product ------------------------------------------------------------


class Columns:
    """Columns that hold a window each, made for a few rows of stops at a time.

    All columns of a layer together are many times its input: in parts they stay in the caches, and
    a part's memory serves the next one. A part is (groups, C / groups * kh * kw, stops * N).
    """

    def __init__(self, window: Window, channels: int, samples: int, groups: int) -> None:
        self.window, self.groups = window, groups
        self.row = window.output[1] * samples
        self.length = channels * window.taps
        self.shape = (channels, *window.kernel, window.output[0], window.output[1], samples)

    def parts(self, dtype: np.dtype[Any]) -> Iterator[tuple[slice, slice, Array, Array]]:
        """Yield rows of stops, where they lie in a matrix of all stops, and memory for columns.

        The memory comes twice: by channel, tap and stop, and as matrices.
        """
        rows = max(1, PART_BYTES // (self.length * self.row * dtype.itemsize))
        rows = min(rows, self.window.output[0])
        memory = np.empty(self.length * rows * self.row, dtype)
        for start in range(0, self.window.output[0], rows):
            count = min(rows, self.window.output[0] - start)
            part = memory[: self.length * count * self.row]
            by_tap = part.reshape(*self.shape[:3], count, *self.shape[4:])
            matrix = part.reshape(self.groups, self.length // self.groups, -1)
            stops = slice(start * self.row, (start + count) * self.row)
            yield slice(start, start + count), stops, by_tap, matrix


def columns_of(x: Array, window: Window, groups: int) -> Iterator[tuple[slice, Array]]:
    """Go through the columns of ``x`` (C, H, W, N): where a part lies among all, and the part."""
    views = slide(pad(x, window), window)
    columns = Columns(window, x.shape[0], x.shape[3], groups)
    for rows, stops, by_tap, part in columns.parts(x.dtype):
        by_tap[...] = views[:, :, :, rows]
        yield stops, part


def correlate(x: Array, matrix: Array, window: Window) -> Array:
    """Return ``matrix`` (groups, M, K) times the columns of ``x`` (C, H, W, N), (groups, M, ...).

    The last axis goes through stops and samples.
    """
    groups, rows, _ = matrix.shape
    output = np.empty((groups, rows, math.prod(window.output) * x.shape[3]), x.dtype)
    for stops, part in columns_of(x, window, groups):
        np.matmul(matrix, part, out=output[:, :, stops])
    return output


def correlate_weight_grad(x: Array, grads: Array, window: Window) -> Array:
    """Return ``grads`` (groups, M, stops * N) times the transposed columns of ``x``."""
    groups, rows, _ = grads.shape
    total: Array = np.zeros((groups, rows, x.shape[0] // groups * window.taps), x.dtype)
    for stops, part in columns_of(x, window, groups):
        total += grads[:, :, stops] @ part.transpose(0, 2, 1)
    return total


def correlate_input_grad(grads: Array, matrix: Array, window: Window, channels: int) -> Array:
    """Return the plane (C, H, W, N) that the transpose of ``correlate`` makes of its output."""
    samples = grads.shape[2] // math.prod(window.output)
    columns = Columns(window, channels, samples, matrix.shape[0])
    padded, views = zero_windows(channels, samples, window, grads.dtype)
    transposed = matrix.transpose(0, 2, 1)
    for rows, stops, by_tap, part in columns.parts(grads.dtype):
        np.matmul(transposed, grads[:, :, stops], out=part)
        for i, j in each_tap(window):
            views[:, i, j, rows] += by_tap[:, i, j]
    return crop(padded, window)


def matrices(weight: Array, groups: int) -> Array:
    """Return the weight as (groups, first axis / groups, the rest)."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def group_rows(array: Array, groups: int) -> Array:
    """Return (N, C, H, W) as (groups, C / groups, H * W * N)."""
    return batch_last(array).reshape(groups, array.shape[1] // groups, -1)


def as_map(rows: Array, channels: int, size: tuple[int, int], bias: Any = None) -> Array:
    """Return (groups, C / groups, H * W * N) as (N, C, H, W), the bias added."""
    if bias is not None:
        rows += bias.reshape(rows.shape[0], -1, 1)
    return batch_first(rows.reshape(channels, *size, -1))
