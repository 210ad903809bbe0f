"""Normalisation over the batch.

Feature maps are rows (C, M) in memory, one for each channel, and are processed a tile at a time, so
that the second pass over it finds it in the cache.

With the mean near zero, sums of x² and of x dy suffice: y is one factor times x plus one term, and
so is its gradient. Where the mean is several deviations from zero these sums would cancel, and the
mean is subtracted first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.group_normalization import Normalized
from gpucnn.backends.contract.normalization import Folded, Normalization, Running
from gpucnn.backends.numpy.elementwise import masked, relu_of
from gpucnn.backends.numpy.group_normalization import NumpyGroupNormalization
from gpucnn.backends.numpy.windows import batch_first, batch_last

TILE_BYTES = 1 << 21
"""Size of a tile: a share of the last-level cache. With smaller ones, calls of NumPy take longer
than what they compute."""

NEAR = 8.0
"""The largest mean² / variance that is near zero: sums of squares lose three bits there."""

Tile = tuple[slice, slice]


class NumpyNormalization(NumpyGroupNormalization, Normalization):
    """Normalisation of each channel over the batch, and that of ``NumpyGroupNormalization``."""

    def _batch_norm(
        self,
        input: Array,
        running: Running,
        weight: Array | None,
        bias: Array | None,
        eps: float,
        relu: bool,
    ) -> Normalized:
        x = _rows(input)
        count = x.shape[1]
        mean, var = _statistics(x)
        _update(running, mean, var * (count / (count - 1)))
        invstd = 1 / np.sqrt(var + eps)
        output = _normalize(x, mean, invstd, weight, bias, relu)
        return Normalized(_like(output, input), mean.astype(self.dtype), invstd.astype(self.dtype))

    def _batch_norm_inference(
        self,
        input: Array,
        mean: Array,
        var: Array,
        weight: Array | None,
        bias: Array | None,
        eps: float,
        relu: bool,
    ) -> Array:
        invstd = 1 / np.sqrt(var.astype(np.float64) + eps)
        x = _rows(input)
        return _like(_normalize(x, mean.astype(np.float64), invstd, weight, bias, relu), input)

    def _batch_norm_backward(
        self,
        grad: Array,
        input: Array,
        mean: Array,
        invstd: Array,
        weight: Array | None,
        relu_output: Array | None,
        input_grad: bool,
        out: tuple[Array, Array],
    ) -> Array | None:
        dy, x = _rows(grad), _rows(input)
        y, kept = (None, dy) if relu_output is None else (_rows(relu_output), np.empty_like(dy))
        means, scales = mean.astype(np.float64), invstd.astype(np.float64)
        total, product = np.zeros(len(x)), np.zeros(len(x))
        near = (means * scales) ** 2 <= NEAR
        ones = np.ones(x.shape[1], x.dtype)
        for tile in _tiles(x):
            rows, columns = tile
            if y is not None:
                masked(dy[tile], y[tile] > 0, kept[tile])
            total[rows] += kept[tile] @ ones[columns]
            product[rows] += np.vecdot(kept[tile], x[tile])
        dy = kept
        product -= means * total
        for row in np.flatnonzero(~near):
            product[row] = np.dot(dy[row], x[row] - mean[row])
        product *= scales
        out[0][...], out[1][...] = product, total
        if not input_grad:
            return None
        factor = scales if weight is None else scales * weight
        slope, shift = -scales * product / x.shape[1], -total / x.shape[1]
        out_rows = np.empty_like(x) if relu_output is None else dy
        result = _input_grad(dy, x, out_rows, mean, near, factor, slope, shift)
        return _like(result, input)

    def _fold_batch_norm(
        self,
        input_weight: Array,
        mean: Array,
        var: Array,
        input_bias: Array | None,
        weight: Array | None,
        bias: Array | None,
        eps: float,
    ) -> Folded:
        scale = 1 / np.sqrt(var.astype(np.float64) + eps)
        if weight is not None:
            scale *= weight
        shift = -mean * scale if input_bias is None else (input_bias - mean) * scale
        if bias is not None:
            shift += bias
        columns = scale.astype(self.dtype).reshape(-1, *(1 for _ in input_weight.shape[1:]))
        return Folded(input_weight * columns, shift.astype(self.dtype))


# --- channels as rows ---------------------------------------------------------------------------


def _rows(array: Array) -> Array:
    """Return (N, C, ...) as (C, M), a view if the batch is innermost in memory."""
    return batch_last(array).reshape(array.shape[1], -1)


def _like(rows: Array, array: Array) -> Array:
    """Return (C, M) in the shape of ``array`` (N, C, ...), a view."""
    return batch_first(rows.reshape(*array.shape[1:], array.shape[0]))


def _tiles(x: Array) -> Iterator[Tile]:
    """Yield slices of rows and columns: several rows, or a part of one."""
    count, length = x.shape
    most = TILE_BYTES // x.itemsize
    height, width = max(1, most // length), min(length, most)
    for row in range(0, count, height):
        for column in range(0, length, width):
            yield slice(row, row + height), slice(column, column + width)


def _statistics(x: Array) -> tuple[Array, Array]:
    """Return the mean and the variance of each row, in float64."""
    total, squares = np.zeros(len(x)), np.zeros(len(x))
    ones, count = np.ones(x.shape[1], x.dtype), x.shape[1]
    for rows, columns in _tiles(x):
        tile = x[rows, columns]
        total[rows] += tile @ ones[columns]
        squares[rows] += np.vecdot(tile, tile)
    mean = total / count
    var = squares / count - mean * mean
    for row in np.flatnonzero(~(mean * mean <= NEAR * var)):
        mean[row] = x[row].mean(dtype=np.float64)
        centred = x[row] - x.dtype.type(mean[row])
        var[row] = np.maximum(0, np.dot(centred, centred) / count - centred.mean() ** 2)
    return mean, var


def _update(running: Running, mean: Array, var: Array) -> None:
    """Update running statistics in place by those of a batch; ``var`` is the unbiased variance."""
    if running.batches is not None:
        running.batches[...] += 1
    if running.mean is None or running.var is None:
        return
    share = running.momentum
    if share is None:
        assert running.batches is not None
        share = 1 / float(running.batches)
    with np.errstate(over="ignore", invalid="ignore"):
        new_mean = ((1 - share) * running.mean + share * mean).astype(running.mean.dtype)
        new_var = ((1 - share) * running.var + share * var).astype(running.var.dtype)
    finite = np.isfinite(new_mean) & np.isfinite(new_var)
    np.copyto(running.mean, new_mean, where=finite)
    np.copyto(running.var, new_var, where=finite)


def _normalize(
    x: Array, mean: Array, invstd: Array, weight: Array | None, bias: Array | None, relu: bool
) -> Array:
    """Return (x - mean) * invstd * weight + bias of rows ``x``."""
    near = (mean * invstd) ** 2 <= NEAR
    scale = invstd if weight is None else invstd * weight
    shift = np.where(near, -mean * scale, 0)
    if bias is not None:
        shift += bias
    centre = np.where(near, 0, mean)
    scale, shift, centre = (values.astype(x.dtype)[:, None] for values in (scale, shift, centre))
    output = np.empty_like(x)
    for rows, columns in _tiles(x):
        target, source = output[rows, columns], x[rows, columns]
        if not near[rows].all():
            source = source - centre[rows]
        np.multiply(source, scale[rows], out=target)
        target += shift[rows]
        if relu:
            relu_of(target, target)
    return output


def _input_grad(
    dy: Array, x: Array, out: Array, mean: Array, near: Array, factor: Array, slope: Array,
    shift: Array,
) -> Array:  # fmt: skip
    """Return factor * (dy + slope * (x - mean) + shift) of rows in ``out``, which may be ``dy``."""
    shift = np.where(near, shift - slope * mean, shift)
    centre = np.where(near, 0, mean)
    factor, slope, shift, centre = (
        values.astype(x.dtype)[:, None] for values in (factor, slope, shift, centre)
    )
    buffer = np.empty(min(TILE_BYTES // x.itemsize, x.size), x.dtype)
    for rows, columns in _tiles(x):
        source, target = x[rows, columns], out[rows, columns]
        terms = buffer[: source.size].reshape(source.shape)
        if not near[rows].all():
            source = source - centre[rows]
        np.multiply(source, slope[rows], out=terms)
        terms += shift[rows]
        np.add(dy[rows, columns], terms, out=target)
        target *= factor[rows]
    return out
