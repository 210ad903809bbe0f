"""Windows over maps that lie in memory as (C, H, W, N), the way the NumPy backend keeps them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from gpucnn.backends.checks import Array
from gpucnn.backends.window import Window

# --- memory order -------------------------------------------------------------------------------


def batch_last(array: Array) -> Array:
    """(N, ...) to (..., N), contiguous: free where the batch is innermost already."""
    return np.ascontiguousarray(array.transpose(*range(1, array.ndim), 0))


def batch_first(array: Array) -> Array:
    """(..., N) to (N, ...), a view."""
    return array.transpose(array.ndim - 1, *range(array.ndim - 1))


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


def zero_windows(like: Array, window: Window) -> tuple[Array, Array]:
    """Return a padded plane of zeros for the maps of ``like`` (C, ..., N), and its windows."""
    size = (like.shape[0], covered(window, 0), covered(window, 1), like.shape[-1])
    padded = np.zeros(size, like.dtype)
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
    padded, views = zero_windows(share, window)
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


def first_index(x: Array, best: Array, window: Window) -> Array:
    """Return the flat index of the first tap that holds ``best``, a NaN counting as equal to NaN.

    Going through the taps backwards, the first of equals is written last.
    """
    views = slide(pad(x, window, -np.inf), window)
    rows, columns = (np.array(window.taps_inside(axis)) for axis in (0, 1))
    any_nan = bool(np.isnan(best).any())
    indices = np.zeros(best.shape, np.int64)
    for i, j in reversed(list(each_tap(window))):
        tap = views[:, i, j]
        holds = tap == best
        if any_nan:
            holds |= np.isnan(tap)
        # Padding is -inf, which must not be taken for an element that is -inf.
        holds &= (rows[:, i, None] & columns[:, j])[:, :, None]
        np.putmask(indices, holds, tap_offset(window, i, j))
    return indices + corner_indices(window)


# --- convolution as a matrix product ------------------------------------------------------------


def unfold(x: Array, window: Window, groups: int) -> Array:
    """Return (groups, C / groups * kh * kw, H' * W' * N): a column for each stop of the window."""
    views = slide(pad(x, window), window)
    per_group = x.shape[0] // groups * window.taps
    return np.ascontiguousarray(views).reshape(groups, per_group, -1)


def fold(columns: Array, window: Window) -> Array:
    """Add columns back to where ``columns`` took them from; returns (N, C, H, W)."""
    places = window.output[0] * window.output[1]
    channels = columns.shape[0] * columns.shape[1] // window.taps
    taps = columns.reshape(channels, *window.kernel, *window.output, columns.shape[2] // places)
    padded, views = zero_windows(taps, window)
    for i, j in each_tap(window):
        views[:, i, j] += taps[:, i, j]
    return batch_first(crop(padded, window))


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
