"""Pooling."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, checked_divisor, checked_norm
from gpucnn.backends.contract.window import IntOrPair, Padding, Window, pool_window

PoolOptions = tuple[IntOrPair, IntOrPair | None, Padding, bool]
"""kernel_size, stride, padding, ceil_mode"""


class Pooling(Arrays):
    """Max, average, sum and Lp pooling."""

    def max_pool2d(
        self,
        input: Array,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """Return the maximum of each window, and with ``return_indices`` also its index.

        Indices are int64 and refer to the flattened H by W plane. Of equal elements the first in
        row-major order is the maximum, and NaN is greater than any number.
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
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        ceil_mode: bool = False,
        *,
        relu_output: Array | None = None,
    ) -> Array:
        """Return the gradient of the input: ``grad`` added at ``indices``, zero elsewhere.

        With ``relu_output``, the output of this pooling, ``relu_backward`` is included: elements
        where it is not positive get no gradient. This is for a pooling whose input is a ``relu``.
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
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Array:
        """Return the mean of each window.

        The divisor is ``divisor_override`` if given. Otherwise it is the number of elements of the
        window inside the input and, with ``count_include_pad``, its padding.
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
        padding: Padding = 0,
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
        padding: Padding = 0,
        ceil_mode: bool = False,
    ) -> Array:
        """Return the sum of each window, which is average pooling with a divisor of 1."""
        options = (kernel_size, stride, padding, ceil_mode)
        return self._checked_avg_pool("sum_pool2d", input, options, True, 1)

    def sum_pool2d_backward(
        self,
        grad: Array,
        input_shape: Sequence[int],
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: Padding = 0,
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
        """Return (sum of x^p)^(1/p) of each window, where p is ``norm_type``, 1 or 2.

        As in PyTorch, p = 1 is the sum without absolute values, and the sum of a window that
        extends past the input (``ceil_mode``) is scaled to the full number of elements.
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
        """Return the gradient of the input, which for p = 2 is zero where the output is zero."""
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
