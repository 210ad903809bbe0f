"""The contract: every operation once, with its meaning, its shapes and its checks.

An operation means what PyTorch's function of that name means, with its argument names and
defaults. The public method here checks its arguments and hands them, made uniform, to the method
of the same name with an underscore, which each backend writes; a backend that lacks one cannot be
built. So every backend refuses the same input with the same words, and a plan that has checked its
shapes once may call the underscored methods directly.

Shapes: N samples, C channels, H by W pixels, F features. Feature maps are logically (N, C, H, W)
wherever a backend puts them in memory; weights are (out, in / groups, kh, kw), transposed
convolution's (in, out / groups, kh, kw). A gradient has the shape of what it is the gradient of.
Every operation returns new arrays, but for the optimiser steps, which work in place, and ``out``.
Refused input raises ArrayError (not this backend's array, or another dtype), ShapeError or
SettingError.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpucnn.backends.checks import (
    Array,
    Checks,
    ParameterGrads,
    Reduction,
    checked_axis,
    checked_divisor,
    checked_norm,
    checked_reduction,
    loss_scale,
)
from gpucnn.backends.lenet5 import LeNet5Sizes
from gpucnn.backends.window import IntOrPair, Window, pool_window
from gpucnn.config import whole
from gpucnn.errors import SettingError, ShapeError, unknown

PRECISIONS = ("ieee", "tf32")
"""How matrix products take their operands in float32: as they are, or rounded to TF32."""

PoolOptions = tuple[IntOrPair, IntOrPair | None, IntOrPair, bool]
"""kernel_size, stride, padding, ceil_mode"""


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


class Backend(Checks, ABC):
    """Arrays of one device and the operations on them, in one floating-point type."""

    name: str

    waits: ClassVar[bool] = True
    """Whether reading a result waits for a device, so that a training loop does so seldom."""

    side_by_side: ClassVar[bool] = False
    """Whether operations called from several threads are done at the same time."""

    captures: bool = False
    """Whether ``repeated`` records work and repeats it as a whole; may be set to False."""

    work_at_once: float = 0.0
    """Multiply-adds that a launch of recorded steps may have: it cannot be stopped midway."""

    def __init__(self, dtype: DTypeLike = "float32", precision: str = "ieee") -> None:
        try:
            self.dtype = np.dtype(object if dtype is None else dtype)
        except TypeError:
            self.dtype = np.dtype(object)
        if self.dtype not in (np.dtype("float32"), np.dtype("float64")):
            raise SettingError(f"dtype must be float32 or float64, got {dtype!r}")
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        if precision != "ieee" and self.dtype != np.dtype("float32"):
            raise SettingError(f"precision {precision} is for float32, not {self.dtype}")
        self.precision = precision

    def __repr__(self) -> str:
        precision = "" if self.precision == "ieee" else f", {self.precision}"
        return f"<{self.name} backend, {self.dtype}{precision}>"

    # --- arrays ---------------------------------------------------------------------------------

    @abstractmethod
    def asarray(self, data: Any, dtype: DTypeLike | None = None) -> Array:
        """Return ``data`` (an array, a number or nested sequences) as an array of this backend.

        Unless ``dtype`` says otherwise, floating-point data become the backend's dtype and
        integers, labels and indices, become int64.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> NDArray[Any]:
        """Return a copy of ``array`` in host memory, C-contiguous."""

    @abstractmethod
    def empty(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        """Return an array with unset contents, of the backend's dtype unless ``dtype`` is given."""

    @abstractmethod
    def zeros(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        """Return an array of zeros, of the backend's dtype unless ``dtype`` is given."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until everything that was asked for has been done."""

    def repeated(
        self,
        work: Callable[[], None],
        record: bool = True,
        beside: Callable[[int], None] | None = None,
    ) -> Callable[[int], None]:
        """Return what does ``work`` a number of times: as one launch, if the backend ``captures``.

        The work must do the same operations on the same arrays each time, and read none of them on
        the host: what changes from time to time must lie in arrays (``begin_step``). Arrays that it
        asks for are its own, and those of ``beside``, other such work that never runs at the same
        time. Without ``record`` it may do anything.
        """
        if record and self.captures:
            return self._recorded(work, beside)

        def repeat(times: int) -> None:
            for _ in range(times):
                work()

        return repeat

    def _recorded(
        self, work: Callable[[], None], beside: Callable[[int], None] | None
    ) -> Callable[[int], None]:
        raise NotImplementedError

    # --- convolution ----------------------------------------------------------------------------

    def conv2d(
        self,
        input: Array,
        weight: Array,
        bias: Array | None = None,
        stride: IntOrPair = 1,
        padding: IntOrPair | str = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        *,
        relu: bool = False,
    ) -> Array:
        """Cross-correlate (N, C, H, W) with (O, C / groups, kh, kw), giving (N, O, H', W').

        With ``relu``, the result has gone through ``relu``, to the same bits.
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
        padding: IntOrPair | str = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        *,
        input_grad: bool = True,
        out: ParameterGrads | None = None,
    ) -> tuple[Array | None, Array, Array | None]:
        """Return the gradients of input, weight and bias, ``grad`` being that of the output.

        The first is None unless ``input_grad``. ``out`` holds arrays to write the other two to;
        its second is None where there is no bias.
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
        padding: IntOrPair = 0,
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
        padding: IntOrPair = 0,
        output_padding: IntOrPair = 0,
        groups: int = 1,
        dilation: IntOrPair = 1,
        *,
        input_grad: bool = True,
        out: ParameterGrads | None = None,
    ) -> tuple[Array | None, Array, Array | None]:
        """Return the gradients of input, weight and bias, as ``conv2d_backward`` does."""
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

    # --- pooling --------------------------------------------------------------------------------

    def max_pool2d(
        self,
        input: Array,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        dilation: IntOrPair = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """Return the greatest element of each window, and where it lies if ``return_indices``.

        Indices are int64 into the flattened H by W plane. The first of equal elements in
        row-major order wins, and a NaN wins over any number.
        """
        self._check("max_pool2d", "input", input, (None,) * 4)
        window = pool_window(
            input.shape[2:], kernel_size, stride, padding, dilation, bool(ceil_mode)
        )
        output, indices = self._max_pool2d(input, window, return_indices)
        return (output, indices) if return_indices else output

    @abstractmethod
    def _max_pool2d(
        self, input: Array, window: Window, return_indices: bool
    ) -> tuple[Array, Array | None]: ...

    def max_pool2d_backward(
        self,
        grad: Array,
        indices: Array,
        input_shape: Sequence[int],
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        dilation: IntOrPair = 1,
        ceil_mode: bool = False,
        *,
        relu_output: Array | None = None,
    ) -> Array:
        """Return the gradient of the input: each output's goes to the element it was taken from.

        ``relu_output`` is the pooling's output, given where its input came through ``relu``: what
        that cut off gets no gradient, as ``relu_backward`` would have it.
        """
        op = "max_pool2d_backward"
        samples, channels, height, width = self._shape(op, "input_shape", input_shape, 4)
        window = pool_window(
            (height, width), kernel_size, stride, padding, dilation, bool(ceil_mode)
        )
        self._check(op, "grad", grad, (samples, channels, *window.output))
        self._check(op, "indices", indices, grad.shape, np.int64)
        if relu_output is not None:
            self._check(op, "relu_output", relu_output, grad.shape)
        return self._max_pool2d_backward(grad, indices, relu_output, window)

    @abstractmethod
    def _max_pool2d_backward(
        self, grad: Array, indices: Array, relu_output: Array | None, window: Window
    ) -> Array: ...

    def avg_pool2d(
        self,
        input: Array,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Array:
        """Return the mean of each window.

        The divisor counts the window's elements inside the input and its padding, or inside the
        input alone unless ``count_include_pad``, or is ``divisor_override``.
        """
        options = (kernel_size, stride, padding, ceil_mode)
        divisor = checked_divisor(divisor_override)
        return self._checked_avg_pool("avg_pool2d", input, options, count_include_pad, divisor)

    @abstractmethod
    def _avg_pool2d(
        self, input: Array, window: Window, count_include_pad: bool, divisor: int | None
    ) -> Array: ...

    def avg_pool2d_backward(
        self,
        grad: Array,
        input_shape: Sequence[int],
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Array:
        """Return the gradient of the input, of shape ``input_shape``."""
        options = (kernel_size, stride, padding, ceil_mode)
        divisor = checked_divisor(divisor_override)
        return self._checked_avg_pool_backward(
            "avg_pool2d_backward", grad, input_shape, options, count_include_pad, divisor
        )

    @abstractmethod
    def _avg_pool2d_backward(
        self, grad: Array, window: Window, count_include_pad: bool, divisor: int | None
    ) -> Array: ...

    def sum_pool2d(
        self,
        input: Array,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        ceil_mode: bool = False,
    ) -> Array:
        """Return the sum of each window: average pooling with a divisor of 1."""
        options = (kernel_size, stride, padding, ceil_mode)
        return self._checked_avg_pool("sum_pool2d", input, options, True, 1)

    def sum_pool2d_backward(
        self,
        grad: Array,
        input_shape: Sequence[int],
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        ceil_mode: bool = False,
    ) -> Array:
        """Return the gradient of the input, of shape ``input_shape``."""
        options = (kernel_size, stride, padding, ceil_mode)
        return self._checked_avg_pool_backward(
            "sum_pool2d_backward", grad, input_shape, options, True, 1
        )

    def _checked_avg_pool(
        self, op: str, input: Array, options: PoolOptions, include_pad: bool, divisor: int | None
    ) -> Array:
        kernel_size, stride, padding, ceil_mode = options
        self._check(op, "input", input, (None,) * 4)
        window = pool_window(input.shape[2:], kernel_size, stride, padding, 1, bool(ceil_mode))
        return self._avg_pool2d(input, window, include_pad, divisor)

    def _checked_avg_pool_backward(
        self,
        op: str,
        grad: Array,
        input_shape: Sequence[int],
        options: PoolOptions,
        include_pad: bool,
        divisor: int | None,
    ) -> Array:
        kernel_size, stride, padding, ceil_mode = options
        samples, channels, height, width = self._shape(op, "input_shape", input_shape, 4)
        window = pool_window((height, width), kernel_size, stride, padding, 1, bool(ceil_mode))
        self._check(op, "grad", grad, (samples, channels, *window.output))
        return self._avg_pool2d_backward(grad, window, include_pad, divisor)

    def lp_pool2d(
        self,
        input: Array,
        norm_type: float,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        ceil_mode: bool = False,
    ) -> Array:
        """Return (sum of x^p)^(1/p) of each window, p being ``norm_type``, 1 or 2.

        As in PyTorch, p = 1 is the plain sum, signs kept, and a window that ``ceil_mode`` lets hang
        over the edge counts as if its mean went on outside.
        """
        self._check("lp_pool2d", "input", input, (None,) * 4)
        window = pool_window(input.shape[2:], kernel_size, stride, 0, 1, bool(ceil_mode))
        return self._lp_pool2d(input, checked_norm(norm_type), window)

    @abstractmethod
    def _lp_pool2d(self, input: Array, norm: int, window: Window) -> Array: ...

    def lp_pool2d_backward(
        self,
        grad: Array,
        input: Array,
        output: Array,
        norm_type: float,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        ceil_mode: bool = False,
    ) -> Array:
        """Return the gradient of the input: zero where p = 2 and the window's sum is zero."""
        op = "lp_pool2d_backward"
        self._check(op, "input", input, (None,) * 4)
        window = pool_window(input.shape[2:], kernel_size, stride, 0, 1, bool(ceil_mode))
        self._check(op, "output", output, (*input.shape[:2], *window.output))
        self._check(op, "grad", grad, output.shape)
        return self._lp_pool2d_backward(grad, input, output, checked_norm(norm_type), window)

    @abstractmethod
    def _lp_pool2d_backward(
        self, grad: Array, input: Array, output: Array, norm: int, window: Window
    ) -> Array: ...

    # --- activations ----------------------------------------------------------------------------

    def relu(self, input: Array) -> Array:
        """Return max(x, 0) of each element; NaN stays NaN."""
        return self._checked_activation("relu", input)

    def relu_backward(self, grad: Array, output: Array) -> Array:
        """Return ``grad`` where ``output`` is above zero, and zero elsewhere."""
        return self._checked_activation_backward("relu", grad, output)

    def sigmoid(self, input: Array) -> Array:
        """Return 1 / (1 + exp(-x)) of each element."""
        return self._checked_activation("sigmoid", input)

    def sigmoid_backward(self, grad: Array, output: Array) -> Array:
        """Return ``grad`` times y (1 - y), y being ``output``."""
        return self._checked_activation_backward("sigmoid", grad, output)

    def tanh(self, input: Array) -> Array:
        """Return the hyperbolic tangent of each element."""
        return self._checked_activation("tanh", input)

    def tanh_backward(self, grad: Array, output: Array) -> Array:
        """Return ``grad`` times 1 - y², y being ``output``."""
        return self._checked_activation_backward("tanh", grad, output)

    def _checked_activation(self, op: str, input: Array) -> Array:
        self._check(op, "input", input)
        return self._activation(op, input)

    def _checked_activation_backward(self, op: str, grad: Array, output: Array) -> Array:
        self._check_pair(f"{op}_backward", "grad", grad, "output", output)
        return self._activation_backward(op, grad, output)

    @abstractmethod
    def _activation(self, op: str, input: Array) -> Array:
        """Return the activation named ``op`` of each element."""

    @abstractmethod
    def _activation_backward(self, op: str, grad: Array, output: Array) -> Array:
        """Return ``grad`` times the derivative of ``op``, in terms of its output."""

    def softmax(self, input: Array, dim: int = 1) -> Array:
        """Return exp(x) / sum of exp(x) along axis ``dim``."""
        self._check("softmax", "input", input)
        return self._softmax(input, checked_axis("softmax", dim, input.ndim))

    @abstractmethod
    def _softmax(self, input: Array, dim: int) -> Array: ...

    def softmax_backward(self, grad: Array, output: Array, dim: int = 1) -> Array:
        """Return y (g - sum of g y along ``dim``), y being ``output`` and g ``grad``."""
        self._check_pair("softmax_backward", "grad", grad, "output", output)
        return self._softmax_backward(
            grad, output, checked_axis("softmax_backward", dim, output.ndim)
        )

    @abstractmethod
    def _softmax_backward(self, grad: Array, output: Array, dim: int) -> Array: ...

    def dropout(self, input: Array, mask: Array) -> Array:
        """Return input times mask, which holds 0 or 1 / (1 - p) for each element.

        The mask is the caller's (``gpucnn.init.dropout_mask``), the same on every backend.
        """
        self._check_pair("dropout", "input", input, "mask", mask)
        return self._dropout(input, mask)

    @abstractmethod
    def _dropout(self, input: Array, mask: Array) -> Array: ...

    def dropout_backward(self, grad: Array, mask: Array) -> Array:
        """Return ``grad`` times mask."""
        self._check_pair("dropout_backward", "grad", grad, "mask", mask)
        return self._dropout(grad, mask)

    # --- linear ---------------------------------------------------------------------------------

    def linear(
        self, input: Array, weight: Array, bias: Array | None = None, *, relu: bool = False
    ) -> Array:
        """Return x wᵀ + b: (N, F) with (O, F) gives (N, O); ``relu`` as for ``conv2d``."""
        self._check("linear", "input", input, (None, None))
        self._check("linear", "weight", weight, (None, input.shape[1]))
        if bias is not None:
            self._check("linear", "bias", bias, (weight.shape[0],))
        return self._linear(input, weight, bias, bool(relu))

    @abstractmethod
    def _linear(self, input: Array, weight: Array, bias: Array | None, relu: bool) -> Array: ...

    def linear_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        *,
        input_grad: bool = True,
        out: ParameterGrads | None = None,
    ) -> tuple[Array | None, Array, Array | None]:
        """Return the gradients of input, weight and bias, as ``conv2d_backward`` does."""
        op = "linear_backward"
        self._check(op, "input", input, (None, None))
        self._check(op, "weight", weight, (None, input.shape[1]))
        self._check(op, "grad", grad, (input.shape[0], weight.shape[0]))
        out = self._parameter_grads(op, out, weight.shape, weight.shape[0])
        return self._linear_backward(grad, input, weight, input_grad, out), *out

    @abstractmethod
    def _linear_backward(
        self, grad: Array, input: Array, weight: Array, input_grad: bool, out: ParameterGrads
    ) -> Array | None: ...

    def flatten(self, input: Array) -> Array:
        """Return (N, ...) as (N, product of the rest), a view where memory order allows one."""
        self._check("flatten", "input", input)
        if not input.ndim:
            raise ShapeError("flatten: input must have shape (N, ...), got ()")
        return self._reshape(input, (input.shape[0], math.prod(input.shape[1:])))

    def flatten_backward(self, grad: Array, input_shape: Sequence[int]) -> Array:
        """Return ``grad`` in the shape that was flattened."""
        op = "flatten_backward"
        shape = self._shape(op, "input_shape", input_shape, max(len(input_shape), 1))
        self._check(op, "grad", grad, (shape[0], math.prod(shape[1:])))
        return self._reshape(grad, shape)

    @abstractmethod
    def _reshape(self, input: Array, shape: tuple[int, ...]) -> Array:
        """Reshape all axes but the first, which keeps its size."""

    # --- losses ---------------------------------------------------------------------------------
    # Each returns one number as an array of shape (), or with "none" the loss of every element;
    # ``grad`` of the backward is that of the reduced loss: one number for "mean" and "sum" ("none"
    # has the gradient of "sum").

    def cross_entropy(self, input: Array, target: Array, reduction: Reduction = "mean") -> Array:
        """Return -log softmax(input)[target]: scores (N, C) and classes (N,) of int64."""
        self._check_classes("cross_entropy", "input", input, target)
        return self._cross_entropy(input, target, checked_reduction(reduction))

    @abstractmethod
    def _cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array: ...

    def cross_entropy_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (softmax(input) - onehot(target)) times ``grad`` (/ N for "mean")."""
        self._check_classes("cross_entropy_backward", "input", input, target)
        scale = loss_scale(reduction, grad, input.shape[0])
        return self._cross_entropy_backward(input, target, scale)

    @abstractmethod
    def _cross_entropy_backward(self, input: Array, target: Array, scale: float) -> Array: ...

    def mse_loss(self, input: Array, target: Array, reduction: Reduction = "mean") -> Array:
        """Return (x - t)²."""
        return self._checked_loss("mse_loss", input, target, reduction)

    def mse_loss_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return 2 (x - t) times ``grad`` (/ the number of elements for "mean")."""
        return self._checked_loss_backward("mse_loss", input, target, reduction, grad)

    def half_squared_error(
        self, input: Array, target: Array, reduction: Reduction = "mean"
    ) -> Array:
        """Return ½ (x - t)², whose gradient is the plain difference."""
        return self._checked_loss("half_squared_error", input, target, reduction)

    def half_squared_error_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (x - t) times ``grad`` (/ the number of elements for "mean")."""
        return self._checked_loss_backward("half_squared_error", input, target, reduction, grad)

    def binary_cross_entropy(
        self, input: Array, target: Array, reduction: Reduction = "mean"
    ) -> Array:
        """Return -t log x - (1 - t) log(1 - x) of probabilities x; a logarithm is at least -100."""
        return self._checked_loss("binary_cross_entropy", input, target, reduction)

    def binary_cross_entropy_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (x - t) / max(x (1 - x), 1e-12) times ``grad`` (/ the number for "mean")."""
        return self._checked_loss_backward("binary_cross_entropy", input, target, reduction, grad)

    def binary_cross_entropy_with_logits(
        self, input: Array, target: Array, reduction: Reduction = "mean"
    ) -> Array:
        """Return the binary cross-entropy of sigmoid(x), without overflow at any x."""
        return self._checked_loss("binary_cross_entropy_with_logits", input, target, reduction)

    def binary_cross_entropy_with_logits_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (sigmoid(x) - t) times ``grad`` (/ the number of elements for "mean")."""
        return self._checked_loss_backward(
            "binary_cross_entropy_with_logits", input, target, reduction, grad
        )

    def _checked_loss(self, op: str, input: Array, target: Array, reduction: Reduction) -> Array:
        self._check_pair(op, "input", input, "target", target)
        return self._pointwise_loss(op, input, target, checked_reduction(reduction))

    def _checked_loss_backward(
        self, op: str, input: Array, target: Array, reduction: Reduction, grad: float
    ) -> Array:
        self._check_pair(f"{op}_backward", "input", input, "target", target)
        scale = loss_scale(reduction, grad, math.prod(input.shape))
        return self._pointwise_loss_backward(op, input, target, scale)

    @abstractmethod
    def _pointwise_loss(self, op: str, input: Array, target: Array, reduction: Reduction) -> Array:
        """Return the loss named ``op``, which is a sum over elements, reduced."""

    @abstractmethod
    def _pointwise_loss_backward(self, op: str, input: Array, target: Array, scale: float) -> Array:
        """Return ``scale`` times the derivative of ``op`` at each element."""

    # --- training -------------------------------------------------------------------------------

    def one_hot(self, target: Array, num_classes: int) -> Array:
        """Return (N, num_classes) of the backend's dtype: 1 at each sample's class, else 0."""
        self._check("one_hot", "target", target, (None,), np.int64)
        return self._one_hot(target, whole("one_hot: num_classes", num_classes, 1))

    @abstractmethod
    def _one_hot(self, target: Array, num_classes: int) -> Array: ...

    def begin_step(
        self,
        counter: Array,
        order: Array,
        labels: Array,
        table: Array,
        indices: Array,
        target: Array,
        rates: Array,
        batch_size: int,
    ) -> None:
        """Set what is new in a training step, from ``counter``, int64 (2,), and go on counting.

        ``counter`` holds b, the batches begun in the epoch, and the steps begun in the run; both
        are one more afterwards. ``indices`` (count,) become order[b * batch_size:][:count], the
        next batch's images, ``target`` (count,) their ``labels`` (M,), all of them int64, and
        ``rates`` (K,) the row b of ``table`` (steps, K). So a step that reads these arrays can be
        repeated without the host. Beyond order and table NumPy raises ShapeError; a device, which
        nobody waits for, sets indices and targets of -1 and rates of NaN, which show in the loss.
        """
        op = "begin_step"
        self._check(op, "counter", counter, (2,), np.int64)
        self._check(op, "order", order, (None,), np.int64)
        self._check(op, "labels", labels, (None,), np.int64)
        self._check(op, "table", table, (None, None))
        self._check(op, "indices", indices, (None,), np.int64)
        self._check(op, "target", target, (indices.shape[0],), np.int64)
        self._check(op, "rates", rates, (table.shape[1],))
        whole(f"{op}: batch_size", batch_size, 1)
        self._begin_step(counter, order, labels, table, indices, target, rates, batch_size)

    @abstractmethod
    def _begin_step(
        self,
        counter: Array,
        order: Array,
        labels: Array,
        table: Array,
        indices: Array,
        target: Array,
        rates: Array,
        batch_size: int,
    ) -> None: ...

    def gather_images(self, images: Array, indices: Array, scale: Array, shift: Array) -> Array:
        """Return images[indices] times ``scale`` plus ``shift``.

        ``images`` (M, C, H, W) are uint8, ``indices`` (N,) int64, and scale and shift (C,) are of
        the backend's dtype, so that a batch is (N, C, H, W) of that dtype.
        """
        op = "gather_images"
        self._check(op, "images", images, (None,) * 4, np.uint8)
        self._check(op, "indices", indices, (None,), np.int64)
        self._check(op, "scale", scale, (images.shape[1],))
        self._check(op, "shift", shift, (images.shape[1],))
        return self._gather_images(images, indices, scale, shift)

    @abstractmethod
    def _gather_images(
        self, images: Array, indices: Array, scale: Array, shift: Array
    ) -> Array: ...

    def gather_labels(self, labels: Array, indices: Array) -> Array:
        """Return labels[indices], (N,); all are int64."""
        self._check("gather_labels", "labels", labels, (None,), np.int64)
        self._check("gather_labels", "indices", indices, (None,), np.int64)
        return self._gather_labels(labels, indices)

    @abstractmethod
    def _gather_labels(self, labels: Array, indices: Array) -> Array: ...

    def add_metrics(self, totals: Array, loss: Array, scores: Array, target: Array) -> None:
        """Add N times ``loss`` and the number of right classes to ``totals`` (2,) of float64.

        ``loss`` is the mean over the N rows of ``scores`` (N, C); a row's class is the first of its
        greatest scores, and a row with a NaN is never right. Nothing waits for the device.
        """
        self._check("add_metrics", "totals", totals, (2,), np.float64)
        self._check("add_metrics", "loss", loss, ())
        self._check_classes("add_metrics", "scores", scores, target)
        self._add_metrics(totals, loss, scores, target)

    @abstractmethod
    def _add_metrics(self, totals: Array, loss: Array, scores: Array, target: Array) -> None: ...

    def all_finite(self, array: Array) -> bool:
        """Return whether no element is NaN or infinite; waits for the device."""
        self._check("all_finite", "array", array)
        return self._all_finite(array)

    @abstractmethod
    def _all_finite(self, array: Array) -> bool: ...

    def check_finite(self, flag: Array, loss: Array, grads: Array, step: Array) -> None:
        """Write ``step`` to ``flag`` if that is 0 and a loss or gradient is not finite.

        Both are int64 (1,), and ``loss`` is of shape (). An optimiser step that is given a flag
        that is not 0 does nothing: so a run stops before the weights take in what is not a number,
        and nothing waits.
        """
        self._check("check_finite", "flag", flag, (1,), np.int64)
        self._check("check_finite", "loss", loss, ())
        self._check("check_finite", "grads", grads, (None,))
        self._check("check_finite", "step", step, (1,), np.int64)
        self._check_finite(flag, loss, grads, step)

    @abstractmethod
    def _check_finite(self, flag: Array, loss: Array, grads: Array, step: Array) -> None: ...

    # What changes from step to step is in ``rates``, an array, so that a step can be repeated.

    def sgd_step(
        self,
        param: Array,
        grad: Array,
        velocity: Array,
        rates: Array,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        flag: Array | None = None,
    ) -> None:
        """One step of ``torch.optim.SGD`` in place, λ being ``weight_decay`` and μ the momentum.

        g = grad + λp; v = μv + g; p -= lr v, or lr (g + μv) with ``nesterov``. ``rates`` (1,) is
        (lr,): ``gpucnn.optim.SGD.rates``.
        """
        self._check_step("sgd_step", param, flag, grad=grad, velocity=velocity)
        self._check("sgd_step", "rates", rates, (1,))
        # Plain floats: a NumPy number would widen the arithmetic of float32 arrays.
        settings = float(momentum), float(weight_decay), bool(nesterov)
        self._sgd_step(param, grad, velocity, rates, *settings, flag)

    @abstractmethod
    def _sgd_step(
        self,
        param: Array,
        grad: Array,
        velocity: Array,
        rates: Array,
        momentum: float,
        weight_decay: float,
        nesterov: bool,
        flag: Array | None,
    ) -> None: ...

    def adam_step(
        self,
        param: Array,
        grad: Array,
        exp_avg: Array,
        exp_avg_sq: Array,
        rates: Array,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        flag: Array | None = None,
    ) -> None:
        """One step of ``torch.optim.Adam`` in place.

        ``rates`` (3,) is what depends on the number t of the step, from 1 on, and on its learning
        rate: lr / (1 - β₁ᵗ), sqrt(1 - β₂ᵗ), and what the parameters are multiplied by beforehand, 1
        or, for AdamW with its decay λ, 1 - lr λ: ``gpucnn.optim.Adam.rates``.
        """
        self._check_step(
            "adam_step", param, flag, grad=grad, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq
        )
        self._check("adam_step", "rates", rates, (3,))
        decay = float(betas[0]), float(betas[1])
        settings = decay, float(eps), float(weight_decay)
        self._adam_step(param, grad, exp_avg, exp_avg_sq, rates, *settings, flag)

    @abstractmethod
    def _adam_step(
        self,
        param: Array,
        grad: Array,
        exp_avg: Array,
        exp_avg_sq: Array,
        rates: Array,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        flag: Array | None,
    ) -> None: ...

    def _parameter_grads(
        self, op: str, out: ParameterGrads | None, shape: tuple[int, ...], channels: int
    ) -> ParameterGrads:
        """Return ``out`` checked, or fresh arrays for the gradients of weight and bias."""
        if out is None:
            return self.empty(shape), self.empty((channels,))
        self._check(op, "out[0]", out[0], shape)
        if out[1] is not None:
            self._check(op, "out[1]", out[1], (channels,))
        return out
