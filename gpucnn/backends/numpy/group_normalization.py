"""Normalisation over groups of channels, and over the last axes."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.group_normalization import GroupNormalization, Groups, Normalized
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.windows import batch_first, batch_last


class NumpyGroupNormalization(NumpyArrays, GroupNormalization):
    """Group and layer normalisation."""

    def _group_norm(
        self, input: Array, groups: Groups, weight: Array | None, bias: Array | None, eps: float
    ) -> Normalized:
        view = _Grouped(input, groups)
        x = view.of(input)
        mean = view.means(x)
        z = x - mean
        rest = view.means(z)  # of the rounded mean
        z -= rest
        invstd = 1 / np.sqrt(view.means(z * z) + self.dtype.type(eps))
        z *= invstd
        if weight is not None:
            z *= view.parameters(weight)
        if bias is not None:
            z += view.parameters(bias)
        return Normalized(view.back(z), view.per_group(mean + rest), view.per_group(invstd))

    def _group_norm_backward(
        self,
        grad: Array,
        input: Array,
        groups: Groups,
        mean: Array,
        invstd: Array,
        weight: Array | None,
        input_grad: bool,
        out: tuple[Array, Array],
    ) -> Array | None:
        view = _Grouped(input, groups)
        scales = view.statistics(invstd)
        z, dy = (view.of(input) - view.statistics(mean)) * scales, view.of(grad)
        out[0][...] = view.parameter_sums(dy * z).reshape(out[0].shape)
        out[1][...] = view.parameter_sums(dy).reshape(out[1].shape)
        if not input_grad:
            return None
        h = dy if weight is None else dy * view.parameters(weight)
        z *= view.means(h * z)
        result = h - view.means(h)
        result -= z
        result *= scales
        return view.back(result)


class _Grouped:
    """Views of arrays by groups, with the samples on the first or, as maps have them, last axis.

    ``of`` returns (samples, groups, channels, inner) or (groups, channels, inner, samples).
    """

    def __init__(self, array: Array, groups: Groups) -> None:
        self.groups, self.shape = groups, tuple(array.shape)
        self.last = not array.flags.c_contiguous and array.shape[0] == groups.samples
        self.axes = (1, 2) if self.last else (2, 3)

    def of(self, array: Array) -> Array:
        """Return the array by groups, a view if its memory order permits."""
        samples, *rest = self.groups
        if self.last:
            return batch_last(array).reshape(*rest, samples)
        return np.ascontiguousarray(array).reshape(self.groups)

    def back(self, array: Array) -> Array:
        """Return an array by groups in its original shape."""
        if self.last:
            return batch_first(array.reshape(*self.shape[1:], self.shape[0]))
        return array.reshape(self.shape)

    def means(self, x: Array) -> Array:
        """Return the mean of each group, with axes of size 1."""
        samples, groups, *_ = self.groups
        ones = np.ones(self.groups.size, x.dtype)
        if self.last:
            sums = ones @ x.reshape(groups, -1, samples)
        else:
            sums = x.reshape(samples, groups, -1) @ ones
        return np.expand_dims(sums / x.dtype.type(self.groups.size), self.axes)

    def statistics(self, values: Array) -> Array:
        """Return values of groups, in the order (samples, groups), with axes of size 1."""
        table = values.reshape(self.groups[:2])
        return np.expand_dims(table.T if self.last else table, self.axes)

    def per_group(self, values: Array) -> Array:
        """Return the inverse of ``statistics``: (samples * groups,)."""
        table = values.reshape(values.shape[0], -1) if not self.last else values[:, 0, 0].T
        return np.ascontiguousarray(table).reshape(-1)

    def parameters(self, values: Array) -> Array:
        """Return weights or biases, shaped to multiply arrays by groups."""
        table = values.reshape(self.groups[1:3])
        return table[:, :, None, None] if self.last else table[:, :, None]

    def parameter_sums(self, x: Array) -> Array:
        """Return the sum over the elements of each weight: (groups, channels)."""
        _, groups, channels, _ = self.groups
        if self.last:
            return x.reshape(groups, channels, -1).sum(2)
        return x.sum((0, 3))
