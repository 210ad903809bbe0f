"""Convolution and transposed convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.window import (
    IntOrPair,
    Padding,
    Pair,
    Window,
    conv_transpose_window,
    conv_window,
    pair,
)
from gpucnn.config import check_integer
from gpucnn.errors import SettingError, ShapeError
from gpucnn.nn.layers.base import LARGE_PLANE, Fields, Shape, TrainingPass, _Weighted, widen


class _Convolution(_Weighted):
    op: ClassVar[str]

    in_channels: int
    out_channels: int
    kernel_size: IntOrPair
    stride: IntOrPair
    dilation: IntOrPair
    groups: int

    def _setup(self, transposed: bool) -> None:
        kind = type(self).__name__
        for name in ("in_channels", "out_channels", "groups"):
            check_integer(f"{kind}: {name}", getattr(self, name), 1)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise SettingError(
                f"{kind}: groups {self.groups} must divide in_channels {self.in_channels} and "
                f"out_channels {self.out_channels}"
            )
        self.kernel: Pair = pair(f"{kind}: kernel_size", self.kernel_size, 1)
        ends = (self.in_channels, self.out_channels)
        first, second = ends if transposed else ends[::-1]
        shape = (first, second // self.groups, *self.kernel)
        # As in PyTorch, also for transposed convolutions: fans follow from the weight's shape.
        fan_in, fan_out = math.prod(shape[1:]), first * math.prod(self.kernel)
        self._set_parameters(shape, self.out_channels, fan_in, fan_out)
        self._window(LARGE_PLANE)  # raises for bad arguments

    def window(self, shape: Shape) -> Window:
        """Return the window arithmetic for an input of ``shape``."""
        return self._window(self._plane(shape))

    def _window(self, plane: Pair) -> Window:
        raise NotImplementedError

    def _options(self) -> dict[str, Any]:
        raise NotImplementedError

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        return getattr(be, self.op)(x, *self.weights(), **self._options()), x

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        input_gradient, _, _ = getattr(be, f"{self.op}_backward")(
            grad,
            saved,
            self.weights()[0],
            input_grad=input_grad,
            out=self.weight_grads(),
            **self._options(),
        )
        return input_gradient

    def _plane(self, shape: Shape) -> Pair:
        if len(shape) != 3 or shape[0] != self.in_channels:
            raise ShapeError(
                f"expected ({self.in_channels}, H, W) for {self.in_channels} channels, got {shape}"
            )
        return shape[1], shape[2]


@dataclass(eq=False, repr=False)
class Conv2d(_Convolution):
    """2-D cross-correlation plus bias, as ``torch.nn.Conv2d``: (C, H, W) to (K, P, Q).

    Args:
        in_channels: C, a multiple of ``groups``.
        out_channels: K, a multiple of ``groups``.
        kernel_size: (R, S), or one integer for both. So are stride and dilation.
        stride: the distance of adjacent windows.
        padding: rows and columns of zeros on each side: one integer, (vertical, horizontal),
            ((top, bottom), (left, right)), "same" or "valid".
        dilation: the distance of adjacent kernel elements.
        groups: each output channel sees C / groups input channels.
        bias: whether to add a bias (K,).
        init: an initializer of ``gpucnn.rng.INITIALIZERS``.

    The weight is (K, C / groups, R, S); P = (H + 2 padding - dilation (R - 1) - 1) // stride + 1.
    """

    in_channels: int
    out_channels: int
    kernel_size: IntOrPair
    stride: IntOrPair = 1
    padding: Padding | str = 0
    dilation: IntOrPair = 1
    groups: int = 1
    bias: bool = True
    init: str = "uniform"

    op = "conv2d"
    takes_relu = True

    def __post_init__(self) -> None:
        self._setup(transposed=False)

    def forward(
        self,
        be: Backend,
        x: Array,
        training: TrainingPass | None = None,
        *,
        relu: bool = False,
        weights: tuple[Array, Array | None] | None = None,
    ) -> tuple[Array, Any]:
        """As ``Layer.forward``; ``weights`` are used in place of the layer's own."""
        return be.conv2d(x, *(weights or self.weights()), **self._options(), relu=relu), x

    def _window(self, plane: Pair) -> Window:
        return conv_window(plane, self.kernel, self.stride, self.padding, self.dilation)

    def output_shape(self, shape: Shape) -> Shape:
        return (self.out_channels, *self.window(shape).output)

    def _spec(self, shape: Shape) -> tuple[str, dict[str, Any]]:
        return self.op, {"window": self.window(shape), "groups": self.groups, "bias": self.bias}

    def multiply_adds(self, shape: Shape) -> int:
        return self.parameters["weight"].size * math.prod(self.output_shape(shape)[1:])

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        return widen(fields, self._window(LARGE_PLANE))

    def _options(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }


@dataclass(eq=False, repr=False)
class ConvTranspose2d(_Convolution):
    """Transposed convolution plus bias, as ``torch.nn.ConvTranspose2d``: (C, H, W) to (K, P, Q).

    It is the input gradient of a convolution with the same arguments, from K to C channels. The
    weight is (C, K / groups, R, S), and P = (H - 1) stride - 2 padding + dilation (R - 1) +
    output_padding + 1. Arguments are those of ``Conv2d``, but for:

    Args:
        padding: rows and columns that are cut off each side of the output; as for ``Conv2d``, but
            not a string.
        output_padding: rows and columns added at the bottom and right, less than the stride or the
            dilation: which of the shapes that a convolution maps to (H, W) the output has.
    """

    in_channels: int
    out_channels: int
    kernel_size: IntOrPair
    stride: IntOrPair = 1
    padding: Padding = 0
    output_padding: IntOrPair = 0
    groups: int = 1
    bias: bool = True
    dilation: IntOrPair = 1
    init: str = "uniform"

    op = "conv_transpose2d"

    def __post_init__(self) -> None:
        self._setup(transposed=True)

    def _window(self, plane: Pair) -> Window:
        return conv_transpose_window(
            plane, self.kernel, self.stride, self.padding, self.output_padding, self.dilation
        )

    def output_shape(self, shape: Shape) -> Shape:
        return (self.out_channels, *self.window(shape).plane)

    def multiply_adds(self, shape: Shape) -> int:
        return self.parameters["weight"].size * math.prod(shape[1:])

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        window = self._window(LARGE_PLANE)
        if fields is None:
            return None
        vertical, horizontal = (
            fields[axis].after_conv_transpose(
                window.kernel[axis],
                window.stride[axis],
                window.padding[axis],
                window.dilation[axis],
            )
            for axis in (0, 1)
        )
        return vertical, horizontal

    def _options(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "output_padding": self.output_padding,
            "groups": self.groups,
            "dilation": self.dilation,
        }
