"""Losses."""

from __future__ import annotations

import math
from typing import Any

from gpucnn.backends.contract.checks import Array, Reduction
from gpucnn.backends.contract.losses import LabelOptions, Losses, broadcast_block
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.grids import WIDE, count_parts


class CudaLosses(CudaArrays, Losses):
    """Losses and their gradients."""

    def _sum(self, kernel: str, n: int, inputs: tuple[Array | None, ...], *sizes: Any) -> Array:
        """Return the sum of n terms: by one block, or as partial sums that a second launch adds."""
        output = self.empty(())
        parts = count_parts(n)
        partials = output if parts == 1 else self.empty((parts,))
        self._kernels.launch(kernel, parts, *inputs, partials, *sizes)
        if parts > 1:
            self._kernels.launch("sum_partials", 1, partials, output, parts)
        return output

    def _cross_entropy(
        self, input: Array, target: Array, reduction: Reduction, labels: LabelOptions
    ) -> Array:
        rows, classes, inner = _sizes(input, target)
        mean = int(reduction == "mean")
        options = (rows, classes, inner, labels.ignore_index)
        if classes < WIDE and reduction == "none":
            losses, kernel = self.empty(target.shape), "cross_entropy_forward"
            arrays = (input, target, labels.weight, losses)
            self._kernels.launch_each(kernel, rows, *arrays, *options, labels.smoothing)
            return losses
        weights = self._sum_of_weights(target, classes, labels) if mean else None
        inputs = (input, target, labels.weight, weights)
        if classes < WIDE:
            sizes = (*options, mean, labels.smoothing)
            return self._sum("cross_entropy_forward_sum", rows, inputs, *sizes)
        losses, kernel = self.empty(target.shape), "cross_entropy_forward_wide"
        self._kernels.launch(kernel, rows, *inputs, losses, *options, mean, labels.smoothing)
        if reduction == "none":
            return losses
        output = self.empty(())
        self._kernels.launch("sum_partials", 1, losses, output, rows)
        return output

    def _cross_entropy_backward(
        self, input: Array, target: Array, mean: bool, grad: float, labels: LabelOptions
    ) -> Array:
        rows, classes, inner = _sizes(input, target)
        output = self.empty(input.shape)
        weights = self._sum_of_weights(target, classes, labels) if mean else None
        arrays = (input, target, labels.weight, weights, output)
        sizes = (rows, classes, inner, labels.ignore_index, int(mean), labels.smoothing, grad)
        if classes < WIDE:
            self._kernels.launch_each("cross_entropy_backward", rows, *arrays, *sizes)
        else:
            self._kernels.launch("cross_entropy_backward_wide", rows, *arrays, *sizes)
        return output

    def _sum_of_weights(self, target: Array, classes: int, labels: LabelOptions) -> Array | None:
        """Return the divisor of a mean, or None if each block of a kernel adds it up itself."""
        if count_parts(target.size) == 1:
            return None
        kernel, rows = "cross_entropy_weight_sum", target.size
        return self._sum(kernel, rows, (target, labels.weight), rows, classes, labels.ignore_index)

    def _mse_loss(self, input: Array, target: Array, reduction: Reduction) -> Array:
        return self._pointwise_loss("mse_loss", input, target, reduction=reduction)

    def _mse_loss_backward(self, input: Array, target: Array, scale: float) -> Array:
        return self._map("mse_loss_backward", input, target, scalars=(scale,))

    def _half_squared_error(self, input: Array, target: Array, reduction: Reduction) -> Array:
        return self._pointwise_loss("half_squared_error", input, target, reduction=reduction)

    def _half_squared_error_backward(self, input: Array, target: Array, scale: float) -> Array:
        return self._map("half_squared_error_backward", input, target, scalars=(scale,))

    def _binary_cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array:
        return self._pointwise_loss("binary_cross_entropy", input, target, reduction=reduction)

    def _binary_cross_entropy_backward(self, input: Array, target: Array, scale: float) -> Array:
        return self._map("binary_cross_entropy_backward", input, target, scalars=(scale,))

    def _binary_cross_entropy_with_logits(
        self, input: Array, target: Array, reduction: Reduction, pos_weight: Array | None
    ) -> Array:
        op, arrays = "binary_cross_entropy_with_logits", (input, target, pos_weight)
        return self._pointwise_loss(
            op, *arrays, reduction=reduction, sizes=_block(input, pos_weight)
        )

    def _binary_cross_entropy_with_logits_backward(
        self, input: Array, target: Array, scale: float, pos_weight: Array | None
    ) -> Array:
        kernel, arrays = "binary_cross_entropy_with_logits_backward", (input, target, pos_weight)
        return self._map(kernel, *arrays, scalars=(*_block(input, pos_weight), scale))

    def _pointwise_loss(
        self, op: str, *inputs: Array, reduction: Reduction, sizes: tuple[int, ...] = ()
    ) -> Array:
        """Return a loss that is a sum over elements; its kernels are named after ``op``."""
        if reduction == "none":
            return self._map(f"{op}_forward", *inputs, scalars=sizes)
        size = inputs[0].size
        scale = 1 / size if reduction == "mean" else 1.0
        return self._sum(f"{op}_forward_sum", size, inputs, size, *sizes, scale)


def _sizes(input: Array, target: Array) -> tuple[int, int, int]:
    """Return the number of rows, of classes, and the distance between the classes of a row."""
    return target.size, input.shape[1], math.prod(input.shape[2:])


def _block(input: Array, pos_weight: Array | None) -> tuple[int, int]:
    """Return how ``pos_weight`` is repeated: count and inner of the kernels."""
    shape = () if pos_weight is None else tuple(pos_weight.shape)
    return broadcast_block(shape, tuple(input.shape)) or (1, 1)
