"""Normalisation over the batch, over groups of channels, and over the last axes."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, SupportsIndex

import numpy as np

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


class Folded(NamedTuple):
    """A convolution's or linear layer's parameters that include a batch normalisation."""

    output_weight: Array
    output_bias: Array


class Running(NamedTuple):
    """Running statistics of a batch normalisation, and how a batch changes them."""

    mean: Array | None
    var: Array | None
    batches: Array | None
    momentum: float | None


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


class Normalization(Arrays):
    """Batch, group and layer normalisation: (x - mean) / sqrt(variance + eps) * weight + bias."""

    def batch_norm(
        self,
        input: Array,
        running_mean: Array | None = None,
        running_var: Array | None = None,
        weight: Array | None = None,
        bias: Array | None = None,
        num_batches_tracked: Array | None = None,
        *,
        momentum: float | None = 0.1,
        eps: float = 1e-5,
        relu: bool = False,
    ) -> Normalized:
        """Normalise each channel of ``input`` (N, C, ...) by the batch's own statistics.

        Running statistics (C,) become (1 - momentum) times themselves plus momentum times the
        batch's mean and unbiased variance, in place; those of a channel stay as they are where one
        of both would become NaN or infinite. ``num_batches_tracked``, int64 (), is counted up. With
        ``momentum`` None they are the means of all batches, which needs the number. ``relu`` is as
        in ``conv2d``. ``mean`` and ``invstd`` of the result are (C,).

        Raises ShapeError if a channel has only one value.
        """
        op = "batch_norm"
        channels = self._check_channels(op, input, weight, bias)
        if input.size == channels:
            raise ShapeError(
                f"{op}: expected more than 1 value per channel in training, "
                f"got input of shape {tuple(input.shape)}"
            )
        running = Running(running_mean, running_var, num_batches_tracked, momentum)
        self._check_running(op, running, channels)
        return self._batch_norm(input, running, weight, bias, _checked_eps(op, eps), bool(relu))

    @abstractmethod
    def _batch_norm(
        self,
        input: Array,
        running: Running,
        weight: Array | None,
        bias: Array | None,
        eps: float,
        relu: bool,
    ) -> Normalized: ...

    def batch_norm_backward(
        self,
        grad: Array,
        input: Array,
        mean: Array,
        invstd: Array,
        weight: Array | None = None,
        *,
        relu_output: Array | None = None,
        input_grad: bool = True,
        out: ParameterGrads | None = None,
    ) -> tuple[Array | None, Array, Array | None]:
        """Return the gradients of input, weight and bias; see ``conv2d_backward``.

        ``mean`` and ``invstd`` are those of the forward. With ``relu_output``, the output of a
        forward with ``relu``, elements where it is not positive get no gradient.
        """
        op = "batch_norm_backward"
        channels = self._check_channels(op, input, weight, None)
        self._check_pair(op, "input", input, "grad", grad)
        self._check(op, "mean", mean, (channels,))
        self._check(op, "invstd", invstd, (channels,))
        if relu_output is not None:
            self._check(op, "relu_output", relu_output, tuple(input.shape))
        out, sums = self._affine_grads(op, out, (channels,))
        given = (grad, input, mean, invstd, weight, relu_output)
        return self._batch_norm_backward(*given, input_grad, sums), *out

    @abstractmethod
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
    ) -> Array | None: ...

    def batch_norm_inference(
        self,
        input: Array,
        running_mean: Array,
        running_var: Array,
        weight: Array | None = None,
        bias: Array | None = None,
        *,
        eps: float = 1e-5,
        relu: bool = False,
    ) -> Array:
        """Normalise each channel of ``input`` (N, C, ...) by the running statistics (C,)."""
        op = "batch_norm_inference"
        channels = self._check_channels(op, input, weight, bias)
        self._check(op, "running_mean", running_mean, (channels,))
        self._check(op, "running_var", running_var, (channels,))
        given = (input, running_mean, running_var, weight, bias)
        return self._batch_norm_inference(*given, _checked_eps(op, eps), bool(relu))

    @abstractmethod
    def _batch_norm_inference(
        self,
        input: Array,
        mean: Array,
        var: Array,
        weight: Array | None,
        bias: Array | None,
        eps: float,
        relu: bool,
    ) -> Array: ...

    def fold_batch_norm(
        self,
        input_weight: Array,
        running_mean: Array,
        running_var: Array,
        input_bias: Array | None = None,
        weight: Array | None = None,
        bias: Array | None = None,
        *,
        eps: float = 1e-5,
    ) -> Folded:
        """Return the weight (O, ...) and bias (O,) of a layer that include the normalisation.

        ``input_weight`` (O, ...) and ``input_bias`` are those of a convolution or linear layer; the
        other arguments are those of the ``batch_norm_inference`` after it, of O channels.
        """
        op = "fold_batch_norm"
        self._check(op, "input_weight", input_weight)
        if input_weight.ndim < 2:
            raise ShapeError(
                f"{op}: input_weight must have shape (O, ...), got {tuple(input_weight.shape)}"
            )
        channels = (input_weight.shape[0],)
        given = {"running_mean": running_mean, "running_var": running_var}
        given |= {"input_bias": input_bias, "weight": weight, "bias": bias}
        for name, array in given.items():
            if array is not None:
                self._check(op, name, array, channels)
        return self._fold_batch_norm(
            input_weight, running_mean, running_var, input_bias, weight, bias, _checked_eps(op, eps)
        )

    @abstractmethod
    def _fold_batch_norm(
        self,
        input_weight: Array,
        mean: Array,
        var: Array,
        input_bias: Array | None,
        weight: Array | None,
        bias: Array | None,
        eps: float,
    ) -> Folded: ...

    # --- groups of a sample ---------------------------------------------------------------------

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
        result = self._group_norm(input, groups, weight, bias, _checked_eps(op, eps))
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
        groups = Groups(input.size // math.prod(shape), 1, math.prod(shape), 1)
        result = self._group_norm(input, groups, weight, bias, _checked_eps(op, eps))
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
        groups = Groups(input.size // math.prod(shape), 1, math.prod(shape), 1)
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

    def _check_running(self, op: str, running: Running, channels: int) -> None:
        for name, array in (("running_mean", running.mean), ("running_var", running.var)):
            if array is not None:
                self._check(op, name, array, (channels,))
        if (running.mean is None) != (running.var is None):
            raise SettingError(f"{op}: give both running_mean and running_var, or none")
        if running.batches is not None:
            self._check(op, "num_batches_tracked", running.batches, (), np.int64)
        if running.momentum is None and running.mean is not None and running.batches is None:
            raise SettingError(f"{op}: momentum None needs num_batches_tracked")

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


def _checked_eps(op: str, eps: float) -> float:
    if not eps >= 0 or math.isinf(eps):
        raise SettingError(f"{op}: eps must be a number of at least 0, got {eps!r}")
    return float(eps)


def _reshaped(result: Normalized, shape: tuple[int, ...]) -> Normalized:
    output, mean, invstd = result
    return Normalized(output, mean.reshape(shape), invstd.reshape(shape))
