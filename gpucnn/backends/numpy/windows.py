"""Windows over maps that lie in memory as (C, H, W, N), the way the NumPy backend keeps them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.window import Window

PART_BYTES = 1 << 22
"""How much memory a part of a convolution's columns takes: a share of the last cache."""

WIDE = 512
"""How many columns a row of stops needs to be worth a matrix product of its own."""

MANY = 32
"""From so many channels in a group on, an input's gradient is best made by a convolution."""

# --- memory order -------------------------------------------------------------------------------


def batch_last(array: Array) -> Array:
    """(N, ...) to (..., N), contiguous: free where the batch is innermost already."""
    return np.ascontiguousarray(array.transpose(*range(1, array.ndim), 0))


def batch_first(array: Array) -> Array:
    """(..., N) to (N, ...), a view."""
    return array.transpose(array.ndim - 1, *range(array.ndim - 1))


def rectify(x: Array, out: Array | None = None) -> Array:
    """Return max(x, 0), NaN where x is NaN, in the same memory order.

    ``out`` may be ``x`` itself, where that has no gaps.
    """
    result = np.empty_like(x) if out is None else out
    if x.strides != result.strides:  # with gaps, repeated or backwards
        return np.maximum(x, 0, out=result)
    # NumPy's fast loop takes two arrays and no number: rows of zeros that stay in the cache.
    seen, made, zeros = x.ravel("K"), result.ravel("K"), _zeros(x.dtype)
    size = zeros.size
    whole = seen.size // size * size
    if whole:
        rows = made[:whole].reshape(-1, size)
        np.maximum(seen[:whole].reshape(-1, size), zeros, out=rows)
    np.maximum(seen[whole:], zeros[: seen.size - whole], out=made[whole:])
    return result


@cache
def _zeros(dtype: np.dtype[Any]) -> Array:
    """Return a row of zeros to take part in operations, never to be written to.

    Shorter ones NumPy would gather in its buffer, of 8192 elements, at up to ten times the cost.
    """
    return np.zeros(8192, dtype)


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
# A column holds what a stop sees of one sample, ordered (kh, C / groups, kw), and so does a row of
# the weight's matrix. All columns of a layer together are many times its input: they are made for
# a few rows of stops at a time, so that they stay in the caches, and their memory serves again.


def columns_of(x: Array, window: Window, groups: int) -> Iterator[tuple[slice, Array]]:
    """Go through the columns of ``x`` (C, H, W, N): some rows of stops, and the columns of these.

    Columns are (products, groups, K, stops * N): what a matrix product each is made of.
    """
    padded = pad(x, window)
    wide = window.output[1] * x.shape[3] >= WIDE
    if wide and window.dilation[0] == 1 and window.stride[0] < window.kernel[0]:
        return _columns_by_line(padded, window, groups)
    return _columns_by_tap(padded, window, groups)


def _columns_by_tap(padded: Array, window: Window, groups: int) -> Iterator[tuple[slice, Array]]:
    """Copy what each tap sees; all rows of stops together make one product."""
    seen = _taps(padded, window, groups)
    for rows, by_tap, part in _parts(window, seen.shape, padded.dtype):
        by_tap[...] = seen[..., rows, :, :]
        yield rows, part[None]


def _columns_by_line(padded: Array, window: Window, groups: int) -> Iterator[tuple[slice, Array]]:
    """Copy what each tap of a row sees; each row of stops makes a product.

    With the lines of pixels one behind the other in memory, each with the taps of a row, ``kh``
    lines in succession are the columns of a row of stops, and overlap with those of the next.
    """
    (kh, kw), (height, width) = window.kernel, window.output
    step = window.stride[0]
    row = replace(
        window, kernel=(1, kw), stride=(1, window.stride[1]), output=(padded.shape[1], width)
    )
    seen = np.moveaxis(_taps(padded, row, groups)[:, 0], 3, 1)  # (groups, H, C / groups, kw, ...)
    lines = PART_BYTES // (seen[:, 0].size * padded.itemsize)
    count = min(max(1, (lines - kh) // step + 1), height)
    memory = np.empty((groups, (count - 1) * step + kh, *seen.shape[2:]), padded.dtype)
    group, line, _, tap, _, _ = memory.strides
    shape = groups, kh * math.prod(seen.shape[2:4]), width * padded.shape[3]
    for start in range(0, height, count):
        rows = slice(start, min(start + count, height))
        first, last = start * step, (rows.stop - 1) * step + kh
        memory[:, : last - first] = seen[:, first:last]
        strides = (step * line, group, tap, padded.itemsize)
        yield rows, as_strided(memory, (rows.stop - start, *shape), strides)


def _taps(padded: Array, window: Window, groups: int) -> Array:
    """Return the view (groups, kh, C / groups, kw, H', W', N) of what each tap meets."""
    views = slide(padded, window)
    return views.reshape(groups, -1, *views.shape[1:]).swapaxes(1, 2)


def _parts(
    window: Window, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[tuple[slice, Array, Array]]:
    """Yield rows of stops, and memory for their columns, in two forms: as ``shape``, which is that
    of ``_taps``, with these rows alone, and as matrices (groups, K, stops * N).
    """
    height, row = window.output[0], math.prod(shape) // window.output[0]
    count = min(max(1, PART_BYTES // (row * dtype.itemsize)), height)
    memory = np.empty(count * row, dtype)
    for start in range(0, height, count):
        rows = slice(start, min(start + count, height))
        number = rows.stop - start
        part = memory[: number * row]
        by_tap = part.reshape(*shape[:4], number, *shape[5:])
        yield rows, by_tap, part.reshape(shape[0], math.prod(shape[1:4]), -1)


def correlate(x: Array, matrix: Array, window: Window) -> Array:
    """Return ``matrix`` (groups, M, K) times the columns of ``x``, as (groups, M, H', W' * N)."""
    groups, outputs, _ = matrix.shape
    height, width = window.output
    output = np.empty((groups, outputs, height, width * x.shape[3]), x.dtype)
    for rows, columns in columns_of(x, window, groups):
        np.matmul(matrix, columns, out=_products(output, rows, columns))
    return output


def correlate_weight_grad(x: Array, grads: Array, window: Window) -> Array:
    """Return ``grads`` (groups, M, H', W' * N) times the transposed columns of ``x``, as a weight.

    That is (groups * M, C / groups, kh, kw).
    """
    groups, outputs, _, _ = grads.shape
    total: Array = np.zeros((groups, outputs, x.shape[0] // groups * window.taps), x.dtype)
    for rows, columns in columns_of(x, window, groups):
        products = _products(grads, rows, columns) @ columns.transpose(0, 1, 3, 2)
        total += products.sum(0)
    kh, kw = window.kernel
    return total.reshape(groups * outputs, kh, -1, kw).swapaxes(1, 2)


def _products(stops: Array, rows: slice, columns: Array) -> Array:
    """Return the view of these rows of (groups, M, H', W' * N) as the ``columns`` are divided."""
    groups, outputs, _, _ = stops.shape
    return np.moveaxis(stops[:, :, rows].reshape(groups, outputs, columns.shape[0], -1), 2, 0)


def correlate_input_grad(grads: Array, matrix: Array, window: Window, samples: int) -> Array:
    """Return the plane (C, H, W, N) that the transpose of ``correlate`` makes of its output."""
    groups, outputs, length = matrix.shape
    channels, turned = groups * length // window.taps, _turned(window)
    if turned and channels >= MANY * groups:
        kernel = matrix.reshape(groups, outputs, window.kernel[0], -1, window.kernel[1])
        kernel = kernel[:, :, ::-1, :, ::-1].transpose(0, 3, 2, 1, 4)
        maps = grads.reshape(groups * outputs, *window.output, samples)
        plane = correlate(maps, kernel.reshape(groups, channels // groups, -1), turned)
        return plane.reshape(channels, *window.plane, samples)
    padded, _ = zero_windows(channels, samples, window, grads.dtype)
    views = _taps(padded, window, groups)
    transposed = matrix.transpose(0, 2, 1)
    for rows, by_tap, part in _parts(window, views.shape, grads.dtype):
        np.matmul(transposed, _products(grads, rows, part[None])[0], out=part)
        for i, j in each_tap(window):
            views[:, i, :, j, rows] += by_tap[:, i, :, j]
    return crop(padded, window)


def _turned(window: Window) -> Window | None:
    """Return the window that slides over the gradients of ``window``'s output to make its input's.

    That is a convolution with the kernel turned by half a turn, for a stride of 1. None where the
    stride is another, or where pixels of padding would be a good part of the work.
    """
    pads = []
    for axis in (0, 1):
        top = window.padding[axis][0]
        before = (window.kernel[axis] - 1) * window.dilation[axis] - top
        pads.append((before, window.plane[axis] - window.output[axis] + top))
    much = math.prod(window.plane) > 1.2 * math.prod(window.output)
    if window.stride != (1, 1) or much or min(map(min, pads)) < 0:
        return None
    return replace(window, padding=(pads[0], pads[1]), plane=window.output, output=window.plane)


def matrices(weight: Array, groups: int) -> Array:
    """Return a weight as (groups, first axis / groups, K), ordered as a column is."""
    first, second, kh, kw = weight.shape
    return weight.swapaxes(1, 2).reshape(groups, first // groups, kh * second * kw)


def group_rows(array: Array, groups: int) -> Array:
    """Return (N, C, H, W) as (groups, C / groups, H, W * N)."""
    samples, channels, height, width = array.shape
    return batch_last(array).reshape(groups, channels // groups, height, width * samples)


def as_map(rows: Array, samples: int, bias: Any = None) -> Array:
    """Return (groups, C / groups, H, W * N) as (N, C, H, W), the bias added."""
    groups, channels, height, _ = rows.shape
    if bias is not None:
        rows += bias.reshape(groups, channels, 1, 1)
    return batch_first(rows.reshape(groups * channels, height, -1, samples))


def sum_channels(rows: Array, out: Array | None) -> None:
    """Write the sum of each of ``out``'s channels, the leading axes of ``rows``, to ``out``."""
    if out is not None:
        np.sum(rows.reshape(out.size, -1), axis=1, out=out)
