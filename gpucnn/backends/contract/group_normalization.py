"""Normalisation over groups of channels, and over the last axes; what it shares with batches."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, SupportsIndex

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.errors import SettingError, ShapeError


class Normalized(NamedTuple):
    """The result of a normalisation in training: the output, and what its backward needs."""

    output: Array
    mean: Array
    """The mean of each channel or group"""
    invstd: Array
    """1 / sqrt(variance + eps) of each"""


class Groups(NamedTuple):
    """How an array of N samples is divided into groups with statistics of their own.

    The array is seen as (samples, groups, channels of a group, inner); each channel of a sample has
    a weight and a bias. A layer norm has one group, and a channel for each element.
    """

    samples: int
    groups: int
    channels: int
    inner: int

    @property
    def size(self) -> int:
        """The number of elements of a group."""
        return self.channels * self.inner


class GroupNormalization(Arrays):
    """Group and layer normalisation: (x - mean) / sqrt(variance + eps) * weight + bias."""

    def group_norm(
        self,
        input: Array,
        num_groups: int,
        weight: Array | None = None,
        bias: Array | None = None,
        *,
        eps: float = 1e-5,
    ) -> Normalized:
        """Normalise each of ``num_groups`` groups of channels of each sample of (N, C, ...).

        Weight and bias are (C,), mean and invstd (N, num_groups).
        """
        op = "group_norm"
        channels = self._check_channels(op, input, weight, bias)
        groups = self._channel_groups(op, input, num_groups, channels)
        result = self._group_norm(input, groups, weight, bias, checked_eps(op, eps))
        return _reshaped(result, (groups.samples, groups.groups))

    def group_norm_backward(
        self,
        grad: Array,
        input: Array,
        mean: Array,
        invstd: Array,
        num_groups: int,
        weight: Array | None = None,
        *,
        input_grad: bool = True,
        out: ParameterGrads | None = None,
    ) -> tuple[Array | None, Array, Array | None]:
        """Return the gradients of input, weight and bias; see ``batch_norm_backward``."""
        op = "group_norm_backward"
        channels = self._check_channels(op, input, weight, None)
        groups = self._channel_groups(op, input, num_groups, channels)
        self._check_pair(op, "input", input, "grad", grad)
        self._check(op, "mean", mean, (groups.samples, groups.groups))
        self._check(op, "invstd", invstd, (groups.samples, groups.groups))
        out, sums = self._affine_grads(op, out, (channels,))
        given = (grad, input, groups, mean, invstd, weight)
        return self._group_norm_backward(*given, input_grad, sums), *out

    def layer_norm(
        self,
        input: Array,
        normalized_shape: Sequence[int],
        weight: Array | None = None,
        bias: Array | None = None,
        *,
        eps: float = 1e-5,
    ) -> Normalized:
        """Normalise over the last axes of ``input``, whose sizes are ``normalized_shape``.

        Weight and bias have this shape, and mean and invstd that of the axes before.
        """
        op = "layer_norm"
        shape = self._check_last_axes(op, input, normalized_shape, weight, bias)
        groups = _last_axes_groups(input, shape)
        result = self._group_norm(input, groups, weight, bias, checked_eps(op, eps))
        return _reshaped(result, tuple(input.shape[: input.ndim - len(shape)]))

    def layer_norm_backward(
        self,
        grad: Array,
        input: Array,
        mean: Array,
        invstd: Array,
        normalized_shape: Sequence[int],
        weight: Array | None = None,
        *,
        input_grad: bool = True,
        out: ParameterGrads | None = None,
    ) -> tuple[Array | None, Array, Array | None]:
        """Return the gradients of input, weight and bias; see ``batch_norm_backward``."""
        op = "layer_norm_backward"
        shape = self._check_last_axes(op, input, normalized_shape, weight, None)
        self._check_pair(op, "input", input, "grad", grad)
        rows = tuple(input.shape[: input.ndim - len(shape)])
        self._check(op, "mean", mean, rows)
        self._check(op, "invstd", invstd, rows)
        out, sums = self._affine_grads(op, out, shape)
        groups = _last_axes_groups(input, shape)
        given = (grad, input, groups, mean, invstd, weight)
        return self._group_norm_backward(*given, input_grad, sums), *out

    @abstractmethod
    def _group_norm(
        self, input: Array, groups: Groups, weight: Array | None, bias: Array | None, eps: float
    ) -> Normalized:
        """Return the output, and ``mean`` and ``invstd`` with an element for each group."""

    @abstractmethod
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
    ) -> Array | None: ...

    # --- checks ---------------------------------------------------------------------------------

    def _check_channels(
        self, op: str, input: Array, weight: Array | None, bias: Array | None
    ) -> int:
        """Check the input (N, C, ...) and the parameters (C,), and return C."""
        self._check(op, "input", input)
        if input.ndim < 2:
            raise ShapeError(
                f"{op}: input must have shape (N, C) or (N, C, ...), got {tuple(input.shape)}"
            )
        channels: int = input.shape[1]
        for name, array in (("weight", weight), ("bias", bias)):
            if array is not None:
                self._check(op, name, array, (channels,))
        return channels

    def _channel_groups(self, op: str, input: Array, num_groups: int, channels: int) -> Groups:
        if not isinstance(num_groups, SupportsIndex) or num_groups < 1 or channels % num_groups:
            raise SettingError(f"{op}: num_groups {num_groups} must divide {channels} channels")
        inner = math.prod(input.shape[2:])
        return Groups(int(input.shape[0]), int(num_groups), channels // int(num_groups), inner)

    def _check_last_axes(
        self,
        op: str,
        input: Array,
        normalized_shape: Sequence[int],
        weight: Array | None,
        bias: Array | None,
    ) -> tuple[int, ...]:
        self._check(op, "input", input)
        shape = self._shape(op, "normalized_shape", normalized_shape, max(len(normalized_shape), 1))
        if tuple(input.shape[-len(shape) :]) != shape:
            raise ShapeError(f"{op}: input {tuple(input.shape)} does not end in {shape}")
        for name, array in (("weight", weight), ("bias", bias)):
            if array is not None:
                self._check(op, name, array, shape)
        return shape

    def _affine_grads(
        self, op: str, out: ParameterGrads | None, shape: tuple[int, ...]
    ) -> tuple[ParameterGrads, tuple[Array, Array]]:
        """Return ``out`` checked, or fresh arrays for the gradients of weight and bias.

        The second result has both: the gradient of the input is computed from them.
        """
        if out is None:
            out = self.empty(shape), self.empty(shape)
        weight, bias = out
        self._check(op, "out[0]", weight, shape)
        if bias is None:
            return out, (weight, self.empty(shape))
        self._check(op, "out[1]", bias, shape)
        return out, (weight, bias)


def _last_axes_groups(input: Array, shape: tuple[int, ...]) -> Groups:
    """Return the groups of a layer norm over the last axes, of ``shape``."""
    size = math.prod(shape)
    return Groups(input.size // size, 1, size, 1)


def checked_eps(op: str, eps: float) -> float:
    """Return ``eps`` as a float; SettingError unless it is finite and at least 0."""
    if not eps >= 0 or math.isinf(eps):
        raise SettingError(f"{op}: eps must be a number of at least 0, got {eps!r}")
    return float(eps)


def _reshaped(result: Normalized, shape: tuple[int, ...]) -> Normalized:
    output, mean, invstd = result
    return Normalized(output, mean.reshape(shape), invstd.reshape(shape))
