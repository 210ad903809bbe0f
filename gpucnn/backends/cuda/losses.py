"""Losses."""

from __future__ import annotations

from typing import Any

from gpucnn.backends.contract.checks import Array, Reduction
from gpucnn.backends.contract.losses import Losses
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.grids import WIDE, count_parts


class CudaLosses(CudaArrays, Losses):
    """Losses and their gradients."""

    def _sum(self, kernel: str, n: int, inputs: tuple[Array, ...], *sizes: Any) -> Array:
        """Return the sum of n terms: by one block, or as partial sums that a second launch adds."""
        output = self.empty(())
        parts = count_parts(n)
        partials = output if parts == 1 else self.empty((parts,))
        self._kernels.launch(kernel, parts, *inputs, partials, *sizes)
        if parts > 1:
            self._kernels.launch("sum_partials", 1, partials, output, parts)
        return output

    def _cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array:
        rows, classes = input.shape
        scale = 1 / rows if reduction == "mean" else 1.0
        arrays = (input, target)
        if classes < WIDE and reduction != "none":
            return self._sum("cross_entropy_forward_sum", rows, arrays, rows, classes, scale)
        losses = self.empty((rows,))
        if classes < WIDE:
            self._kernels.launch_each("cross_entropy_forward", rows, *arrays, losses, rows, classes)
            return losses
        self._kernels.launch("cross_entropy_forward_wide", rows, *arrays, losses, classes, scale)
        if reduction == "none":
            return losses
        output = self.empty(())
        self._kernels.launch("sum_partials", 1, losses, output, rows)
        return output

    def _cross_entropy_backward(self, input: Array, target: Array, scale: float) -> Array:
        rows, classes = input.shape
        output = self.empty(input.shape)
        arrays = (input, target, output)
        if classes < WIDE:
            self._kernels.launch_each("cross_entropy_backward", rows, *arrays, rows, classes, scale)
        else:
            self._kernels.launch("cross_entropy_backward_wide", rows, *arrays, classes, scale)
        return output

    def _mse_loss(self, input: Array, target: Array, reduction: Reduction) -> Array:
        return self._pointwise_loss("mse_loss", input, target, reduction)

    def _mse_loss_backward(self, input: Array, target: Array, scale: float) -> Array:
        return self._map("mse_loss_backward", input, target, scalars=(scale,))

    def _half_squared_error(self, input: Array, target: Array, reduction: Reduction) -> Array:
        return self._pointwise_loss("half_squared_error", input, target, reduction)

    def _half_squared_error_backward(self, input: Array, target: Array, scale: float) -> Array:
        return self._map("half_squared_error_backward", input, target, scalars=(scale,))

    def _binary_cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array:
        return self._pointwise_loss("binary_cross_entropy", input, target, reduction)

    def _binary_cross_entropy_backward(self, input: Array, target: Array, scale: float) -> Array:
        return self._map("binary_cross_entropy_backward", input, target, scalars=(scale,))

    def _binary_cross_entropy_with_logits(
        self, input: Array, target: Array, reduction: Reduction
    ) -> Array:
        return self._pointwise_loss("binary_cross_entropy_with_logits", input, target, reduction)

    def _binary_cross_entropy_with_logits_backward(
        self, input: Array, target: Array, scale: float
    ) -> Array:
        return self._map(
            "binary_cross_entropy_with_logits_backward", input, target, scalars=(scale,)
        )

    def _pointwise_loss(self, op: str, input: Array, target: Array, reduction: Reduction) -> Array:
        """Return a loss that is a sum over elements; its kernels are named after ``op``."""
        if reduction == "none":
            return self._map(f"{op}_forward", input, target)
        scale = 1 / input.size if reduction == "mean" else 1.0
        return self._sum(f"{op}_forward_sum", input.size, (input, target), input.size, scale)
