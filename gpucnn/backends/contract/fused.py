"""Fused operations: what a backend may do as one."""

from __future__ import annotations

from typing import Protocol

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import (
    Array,
    ParameterGrads,
)
from gpucnn.backends.contract.window import Window
from gpucnn.backends.cuda.lenet5 import LeNet5Sizes


class JoinedConvolution(Protocol):
    """A convolution and what follows it as one operation, with memory of its own for one shape.

    One forward after the other: ``backward`` belongs to the last one, and no two threads share it.
    """

    def forward(self, input: Array, weight: Array, bias: Array | None) -> Array:
        """Return the output, a new array."""

    def backward(self, grad: Array, input_grad: bool, out: ParameterGrads) -> Array | None:
        """Return the last input's gradient, None unless asked for; write the others to ``out``."""


class JoinedGradients(Protocol):
    """All from a batch's images to a network's gradients as one operation, for one batch size."""

    def set_grads(
        self,
        images: Array,
        indices: Array,
        targets: Array,
        scale: Array,
        shift: Array,
        parameters: Array,
        grads: Array,
        totals: Array,
        failed: Array,
        step: Array,
    ) -> None:
        """Do to ``grads`` what ``gather_images``, layers, loss and their backward passes do.

        And what ``add_metrics`` does to ``totals`` and ``check_finite`` to ``failed``.
        """


class Fusion(Arrays):
    """Operations that a backend may offer as one."""

    def join_conv_relu_max_pool(
        self,
        conv: Window,
        pool: Window,
        channels: int,
        outputs: int,
        groups: int,
        samples: int,
        training: bool = True,
    ) -> JoinedConvolution | None:
        """Return convolution, bias, ReLU and max-pooling as one operation for a shape, if it pays.

        ``conv`` slides over (samples, channels, H, W), ``pool`` over its ``outputs`` channels. It
        has a ``backward`` only if made for ``training``.
        """
        return self._join_conv_relu_max_pool(
            conv, pool, channels, outputs, groups, samples, training
        )

    def _join_conv_relu_max_pool(
        self,
        conv: Window,
        pool: Window,
        channels: int,
        outputs: int,
        groups: int,
        samples: int,
        training: bool,
    ) -> JoinedConvolution | None:
        return None

    def join_lenet5(self, sizes: LeNet5Sizes, batch: int) -> JoinedGradients | None:
        """Return the gradients of LeNet-5 and the mean cross-entropy as one operation, or None."""
        return self._join_lenet5(sizes, batch)

    def _join_lenet5(self, sizes: LeNet5Sizes, batch: int) -> JoinedGradients | None:
        return None
