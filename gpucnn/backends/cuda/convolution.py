"""Convolution by implicit matrix products (kernels/conv2d.cuh)."""

from __future__ import annotations

import math

from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.convolution import Convolution
from gpucnn.backends.contract.window import Window
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.grids import conv2d_struct, count_splits, stride_classes
from gpucnn.backends.cuda.tiles import Untiled

PACK = 4
"""Elements that kernels store together: the rows of partial sums are multiples of it."""


class CudaConvolution(CudaArrays, Convolution):
    """Convolution and transposed convolution."""

    def _conv2d(
        self,
        input: Array,
        weight: Array,
        bias: Array | None,
        window: Window,
        groups: int,
        relu: bool,
    ) -> Array:
        batch, outputs = input.shape[0], weight.shape[0]
        output = self.empty((batch, outputs, *window.output))
        conv = conv2d_struct(batch, input.shape[1], outputs, groups, window)
        self._product(
            "conv2d_forward",
            outputs // groups, batch * math.prod(window.output), groups,
            input, weight, bias, output, conv, relu,
        )  # fmt: skip
        return output

    def _conv2d_input(
        self, grad: Array, weight: Array, bias: Array | None, window: Window, groups: int
    ) -> Array:
        """Return the gradient of a convolution's input, plus ``bias`` if it is not None."""
        batch, each = grad.shape[0], weight.shape[1]
        output = self.empty((batch, each * groups, *window.plane))
        classes, elements = stride_classes(window)
        conv = conv2d_struct(batch, each * groups, weight.shape[0], groups, window)
        self._product(
            "conv2d_backward_input",
            each, batch * elements, groups,
            grad, weight, bias, output, conv, classes=classes,
        )  # fmt: skip
        return output

    def _conv2d_weight(
        self, grad: Array, input: Array, out: ParameterGrads, window: Window, groups: int
    ) -> None:
        """Write the gradients of a convolution's weight, and of its bias if any, to ``out``."""
        weight, bias = out
        batch, channels = input.shape[:2]
        outputs, biases = weight.shape[0], 0 if bias is None else 1
        rows, columns = outputs // groups, math.prod(weight.shape[1:]) + biases
        conv = conv2d_struct(batch, channels, outputs, groups, window)
        kernel, elements = "conv2d_backward_weight", outputs * columns
        tile = self._tile(kernel, rows, columns, groups)
        if tile is Untiled.NAIVE:
            self._kernels.launch_each(f"{kernel}_naive", elements, grad, input, *out, conv)
        elif tile is Untiled.FEW_ROWS:
            self._kernels.launch(f"{kernel}_block", elements, grad, input, *out, conv)
        else:
            x, y = -(-columns // tile.columns), -(-rows // tile.rows)
            splits = count_splits(batch * math.prod(window.output), x * y * groups)
            pitch = -(-columns // PACK) * PACK
            partials = weight if splits == 1 else self.empty((splits, outputs, pitch))
            self._kernels.launch(
                tile.kernel,
                (x, y, groups * splits), grad, input, partials, bias, conv, splits, pitch,
            )  # fmt: skip
            if splits > 1:
                self._kernels.launch_each(
                    "sum_splits",
                    outputs * pitch, partials, *out, splits, outputs, pitch, columns - biases,
                )  # fmt: skip

    def _sum_channels(self, grad: Array, out: Array | None) -> None:
        """Write the sum of each of ``grad``'s channels, a bias's gradient, to ``out``."""
        if out is not None:
            batch, channels, *plane = grad.shape
            self._kernels.launch(
                "sum_channels", channels, grad, out, batch, channels, math.prod(plane)
            )

    def _conv2d_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        window: Window,
        groups: int,
        input_grad: bool,
        out: ParameterGrads,
    ) -> Array | None:
        self._conv2d_weight(grad, input, out, window, groups)
        return self._conv2d_input(grad, weight, None, window, groups) if input_grad else None

    # A transposed convolution is the input gradient of a convolution, and the other way round.

    def _conv_transpose2d(
        self, input: Array, weight: Array, bias: Array | None, window: Window, groups: int
    ) -> Array:
        return self._conv2d_input(input, weight, bias, window, groups)

    def _conv_transpose2d_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        window: Window,
        groups: int,
        input_grad: bool,
        out: ParameterGrads,
    ) -> Array | None:
        self._conv2d_weight(input, grad, (out[0], None), window, groups)
        self._sum_channels(grad, out[1])
        return self._conv2d(grad, weight, None, window, groups, False) if input_grad else None
