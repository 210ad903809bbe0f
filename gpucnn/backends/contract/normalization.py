"""Normalisation over the batch."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import numpy as np

from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.group_normalization import (
    GroupNormalization,
    Normalized,
    checked_eps,
)
from gpucnn.errors import SettingError, ShapeError


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


class Normalization(GroupNormalization):
    """Normalisation of each channel over the batch, and that of ``GroupNormalization``."""

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
        return self._batch_norm(input, running, weight, bias, checked_eps(op, eps), bool(relu))

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
        return self._batch_norm_inference(*given, checked_eps(op, eps), bool(relu))

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
            input_weight, running_mean, running_var, input_bias, weight, bias, checked_eps(op, eps)
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

    # --- checks ---------------------------------------------------------------------------------

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
