"""Batch, group and layer normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.config import check_flag, check_integer, check_number
from gpucnn.errors import SettingError, ShapeError
from gpucnn.nn.layers.base import Fields, Layer, Shape, TrainingPass
from gpucnn.nn.layers.state import Buffer, Parameter


class _Normalization(Layer):
    """Base of layers with a weight of ones and a bias of zeros, unless they have none."""

    eps: float

    def _check_eps(self) -> None:
        check_number(f"{type(self).__name__}: eps", self.eps, 0.0)

    def _set_parameters(self, shape: Shape, weight: bool, bias: bool) -> None:
        parameters = {}
        if weight:
            parameters["weight"] = Parameter(shape, init=1.0)
        if bias:
            parameters["bias"] = Parameter(shape, init=0.0)
        self._parameters = parameters

    def weights(self) -> tuple[Array | None, Array | None]:
        """Return the weight and the bias, None where there is none."""
        weight, bias = (self.parameters.get(name) for name in ("weight", "bias"))
        return weight and weight.data, bias and bias.data

    def _grads(self) -> ParameterGrads | None:
        """Return where the backend writes gradients; None for arrays that are not kept."""
        weight, bias = (self.parameters.get(name) for name in ("weight", "bias"))
        return None if weight is None else (weight.grad, bias and bias.grad)


class BatchNorm(_Normalization, register=False):
    """Base of BatchNorm1d and BatchNorm2d."""

    takes_relu = True

    shapes: ClassVar[dict[int, str]]
    """What an input is called, by its number of axes without the batch"""

    num_features: int
    momentum: float | None
    affine: bool
    track_running_stats: bool

    def __post_init__(self) -> None:
        name = type(self).__name__
        features = check_integer(f"{name}: num_features", self.num_features, 1)
        self._check_eps()
        if self.momentum is not None and check_number(f"{name}: momentum", self.momentum, 0.0) > 1:
            raise SettingError(f"{name}: momentum must be at most 1, got {self.momentum!r}")
        check_flag(f"{name}: affine", self.affine)
        check_flag(f"{name}: track_running_stats", self.track_running_stats)
        self._set_parameters((features,), self.affine, self.affine)
        if self.track_running_stats:
            self._buffers = {
                "running_mean": Buffer((features,)),
                "running_var": Buffer((features,), 1.0),
                "num_batches_tracked": Buffer((), dtype=np.int64, optional=True),
            }

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) not in self.shapes or shape[0] != self.num_features:
            expected = " or ".join(self.shapes.values()).replace("C", str(self.num_features))
            raise ShapeError(f"expected {expected}, got {shape}")
        return shape

    def least_batch(self, shape: Shape) -> int:
        """The variance of one value is not defined."""
        return 2 if math.prod(shape[1:]) == 1 else 1

    def statistics(self) -> tuple[Array, Array] | None:
        """Return the running mean and variance, None if the layer keeps none."""
        if not self.track_running_stats:
            return None
        return self.buffers["running_mean"].data, self.buffers["running_var"].data

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None, *, relu: bool = False
    ) -> tuple[Array, Any]:
        statistics = self.statistics()
        if statistics is not None and (training is None or training.evaluation):
            given = (x, *statistics, *self.weights())
            return be.batch_norm_inference(*given, eps=self.eps, relu=relu), None
        tracked = training is not None and not training.evaluation and self.track_running_stats
        mean, var, batches = (self.buffers[n].data if tracked else None for n in _RUNNING)
        weight, bias = self.weights()
        momentum = self.momentum if tracked else 0.0
        output, mean, invstd = be.batch_norm(
            x, mean, var, weight, bias, batches, momentum=momentum, eps=self.eps, relu=relu
        )
        return output, (x, mean, invstd)

    def backward(
        self,
        be: Backend,
        grad: Array,
        saved: Any,
        input_grad: bool = True,
        *,
        relu_output: Array | None = None,
    ) -> Array | None:
        """As ``Layer.backward``; ``relu_output`` is the output of a forward with ``relu``."""
        weight, _ = self.weights()
        if saved is None:
            return self._inference_backward(be, grad, weight, relu_output)
        x, mean, invstd = saved
        given, out = (grad, x, mean, invstd, weight), self._grads()
        return be.batch_norm_backward(
            *given, relu_output=relu_output, input_grad=input_grad, out=out
        )[0]

    def _inference_backward(
        self, be: Backend, grad: Array, weight: Array | None, relu_output: Array | None
    ) -> Array:
        """Return the gradient of the input of a pass in evaluation, an affine map of each channel.

        The gradients of weight and bias stay as they are.
        """
        variance = self.buffers["running_var"].data
        if relu_output is not None:
            grad = be.relu_backward(grad, relu_output)
        zeros = be.zeros((self.num_features,))
        return be.batch_norm_inference(grad, zeros, variance, weight, eps=self.eps)


_RUNNING = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(eq=False, repr=False)
class BatchNorm2d(BatchNorm):
    """Normalises each channel of feature maps, as ``torch.nn.BatchNorm2d``: (C, H, W).

    In training by the mean and variance of the batch, in inference by running statistics of
    training: y = (x - mean) / sqrt(variance + eps) * weight + bias. The running variance is the
    unbiased one. Running statistics are buffers: part of ``state_dict`` and checkpoints.

    With several worker processes, each normalises its part of a batch by itself, and the running
    statistics are those of the first process.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: the share of a batch in the running statistics; None: the mean of all batches.
        affine: whether there are weight and bias (C,).
        track_running_stats: whether there are running statistics; if not, inference normalises by
            the statistics of its batch, too.

    A batch with one value of each channel raises ShapeError in training.

    Source: Ioffe, Szegedy, "Batch normalization" (arXiv:1502.03167).
    """

    num_features: int
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True

    shapes: ClassVar[dict[int, str]] = {3: "(C, H, W)"}


@dataclass(eq=False, repr=False)
class BatchNorm1d(BatchNorm):
    """Normalises each feature, as ``torch.nn.BatchNorm1d``: (C,) or (C, L).

    Arguments, and what it computes, are those of ``BatchNorm2d``.
    """

    num_features: int
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True

    shapes: ClassVar[dict[int, str]] = {1: "(C,)", 2: "(C, L)"}


@dataclass(eq=False, repr=False)
class GroupNorm(_Normalization):
    """Normalises groups of channels of each sample, as ``torch.nn.GroupNorm``: (C, ...).

    The same in training and in inference, for batches of any size.

    Args:
        num_groups: number of groups of adjacent channels.
        num_channels: C, a multiple of it.
        eps: added to the variance.
        affine: whether there are weight and bias (C,).

    Source: Wu, He, "Group normalization" (arXiv:1803.08494).
    """

    num_groups: int
    num_channels: int
    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self) -> None:
        check_integer("GroupNorm: num_groups", self.num_groups, 1)
        check_integer("GroupNorm: num_channels", self.num_channels, 1)
        if self.num_channels % self.num_groups:
            raise SettingError(
                f"GroupNorm: num_groups {self.num_groups} must divide num_channels "
                f"{self.num_channels}"
            )
        self._check_eps()
        check_flag("GroupNorm: affine", self.affine)
        self._set_parameters((self.num_channels,), self.affine, self.affine)

    def output_shape(self, shape: Shape) -> Shape:
        if not shape or shape[0] != self.num_channels:
            raise ShapeError(f"expected ({self.num_channels}, ...), got {shape}")
        return shape

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        """Every output depends on the whole image."""
        return None

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        output, mean, invstd = be.group_norm(x, self.num_groups, *self.weights(), eps=self.eps)
        return output, (x, mean, invstd)

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        x, mean, invstd = saved
        given = (grad, x, mean, invstd, self.num_groups, self.weights()[0])
        return be.group_norm_backward(*given, input_grad=input_grad, out=self._grads())[0]


@dataclass(eq=False, repr=False)
class LayerNorm(_Normalization):
    """Normalises over the last axes of each sample, as ``torch.nn.LayerNorm``.

    Args:
        normalized_shape: the sizes of these axes: (C, H, W) for all of a feature map, or one
            integer for the last one.
        eps: added to the variance.
        elementwise_affine: whether there are weight and bias of this shape.
        bias: whether there is a bias; without it, there is a weight only.

    Source: Ba, Kiros, Hinton, "Layer normalization" (arXiv:1607.06450).
    """

    normalized_shape: int | Sequence[int]
    eps: float = 1e-5
    elementwise_affine: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        sizes = self.normalized_shape
        sizes = (sizes,) if isinstance(sizes, int | np.integer) else tuple(sizes)
        self.sizes = tuple(check_integer("LayerNorm: normalized_shape", n, 1) for n in sizes)
        if not sizes:
            raise SettingError("LayerNorm: normalized_shape must have at least one size")
        self._check_eps()
        for name in ("elementwise_affine", "bias"):
            check_flag(f"LayerNorm: {name}", getattr(self, name))
        affine = self.elementwise_affine
        self._set_parameters(self.sizes, affine, affine and self.bias)

    def output_shape(self, shape: Shape) -> Shape:
        if shape[-len(self.sizes) :] != self.sizes:
            expected = ", ".join(map(str, self.sizes))
            raise ShapeError(f"expected (..., {expected}), got {shape}")
        return shape

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        """Outputs depend on the whole image, or on their row where only rows are normalised."""
        if fields is None or len(shape) != 3 or len(self.sizes) > 1:
            return None
        vertical, horizontal = fields
        # A window as wide as the row, which does not move from one output to the next.
        return vertical, horizontal.after_conv(shape[2], stride=0)

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        output, mean, invstd = be.layer_norm(x, self.sizes, *self.weights(), eps=self.eps)
        return output, (x, mean, invstd)

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        x, mean, invstd = saved
        given = (grad, x, mean, invstd, self.sizes, self.weights()[0])
        return be.layer_norm_backward(*given, input_grad=input_grad, out=self._grads())[0]
