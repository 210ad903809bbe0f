"""Convolution and transposed convolution."""

from __future__ import annotations

from abc import abstractmethod

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.window import IntOrPair, Padding, Window


class Convolution(Arrays):
    """Convolution and transposed convolution."""

    def conv2d(
        self,
        input: Array,
        weight: Array,
        bias: Array | None = None,
        stride: IntOrPair = 1,
        padding: Padding | str = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        *,
        relu: bool = False,
    ) -> Array:
        """Cross-correlate (N, C, H, W) with (O, C / groups, kh, kw), giving (N, O, H', W').

        With ``relu``, the operation is followed by ``relu``; the result has the same bits.
        """
        window = self._conv_window("conv2d", input, weight, bias, stride, padding, dilation, groups)
        return self._conv2d(input, weight, bias, window, groups, bool(relu))

    @abstractmethod
    def _conv2d(
        self,
        input: Array,
        weight: Array,
        bias: Array | None,
        window: Window,
        groups: int,
        relu: bool,
    ) -> Array: ...

    def conv2d_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        stride: IntOrPair = 1,
        padding: Padding | str = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        *,
        input_grad: bool = True,
        out: ParameterGrads | None = None,
    ) -> tuple[Array | None, Array, Array | None]:
        """Return the gradients of input, weight and bias; ``grad`` is that of the output.

        Without ``input_grad``, the first is None. ``out`` is a pair of arrays that the other two
        are written to; its second is None if there is no bias.
        """
        op = "conv2d_backward"
        window = self._conv_window(op, input, weight, None, stride, padding, dilation, groups)
        self._check(op, "grad", grad, (input.shape[0], weight.shape[0], *window.output))
        out = self._parameter_grads(op, out, weight.shape, weight.shape[0])
        return self._conv2d_backward(grad, input, weight, window, groups, input_grad, out), *out

    @abstractmethod
    def _conv2d_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        window: Window,
        groups: int,
        input_grad: bool,
        out: ParameterGrads,
    ) -> Array | None: ...

    def conv_transpose2d(
        self,
        input: Array,
        weight: Array,
        bias: Array | None = None,
        stride: IntOrPair = 1,
        padding: Padding = 0,
        output_padding: IntOrPair = 0,
        groups: int = 1,
        dilation: IntOrPair = 1,
    ) -> Array:
        """Transposed convolution of (N, C, H, W) with (C, O / groups, kh, kw)."""
        window = self._conv_transpose_window(
            "conv_transpose2d",
            input, weight, bias, stride, padding, output_padding, groups, dilation,
        )  # fmt: skip
        return self._conv_transpose2d(input, weight, bias, window, groups)

    @abstractmethod
    def _conv_transpose2d(
        self, input: Array, weight: Array, bias: Array | None, window: Window, groups: int
    ) -> Array: ...

    def conv_transpose2d_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        stride: IntOrPair = 1,
        padding: Padding = 0,
        output_padding: IntOrPair = 0,
        groups: int = 1,
        dilation: IntOrPair = 1,
        *,
        input_grad: bool = True,
        out: ParameterGrads | None = None,
    ) -> tuple[Array | None, Array, Array | None]:
        """Return the gradients of input, weight and bias; see ``conv2d_backward``."""
        op = "conv_transpose2d_backward"
        window = self._conv_transpose_window(
            op, input, weight, None, stride, padding, output_padding, groups, dilation
        )
        channels = weight.shape[1] * groups
        self._check(op, "grad", grad, (input.shape[0], channels, *window.plane))
        out = self._parameter_grads(op, out, weight.shape, channels)
        return (
            self._conv_transpose2d_backward(grad, input, weight, window, groups, input_grad, out),
            *out,
        )

    @abstractmethod
    def _conv_transpose2d_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        window: Window,
        groups: int,
        input_grad: bool,
        out: ParameterGrads,
    ) -> Array | None: ...
