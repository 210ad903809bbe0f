"""Batches, metrics and optimiser steps."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.training import Training
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.grids import count_parts


class CudaTraining(CudaArrays, Training):
    """Batches, metrics and optimiser steps."""

    def _one_hot(self, target: Array, num_classes: int) -> Array:
        output = self.empty((target.size, num_classes))
        self._kernels.launch_each(
            "one_hot_forward", output.size, target, output, target.size, num_classes
        )
        return output

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
        ring: int,
    ) -> None:
        name, sizes = "begin_step", (order.size, *labels.shape, *table.shape)
        self._kernels.launch(
            name if labels.ndim == 1 else f"{name}_numbers",
            1, counter, order, labels, table, indices, target, rates,
            *sizes, indices.size, batch_size, ring,
        )  # fmt: skip

    def _gather_images(self, images: Array, indices: Array, scale: Array, shift: Array) -> Array:
        items, channels, height, width = images.shape
        output = self.empty((indices.size, channels, height, width))
        self._kernels.launch_each(
            "gather_images",
            output.size, images, indices, scale, shift, output,
            items, indices.size, channels, height * width,
        )  # fmt: skip
        return output

    def _gather_labels(self, labels: Array, indices: Array) -> Array:
        if labels.ndim == 1:
            output = self.empty(indices.shape, np.int64)
            sizes: tuple[int, ...] = (labels.size, output.size)
            self._kernels.launch_each("gather_labels", output.size, labels, indices, output, *sizes)
            return output
        output = self.empty((indices.size, labels.shape[1]))
        sizes = (*labels.shape, indices.size)
        self._kernels.launch_each("gather_numbers", output.size, labels, indices, output, *sizes)
        return output

    def _add_metrics(
        self,
        totals: Array,
        loss: Array,
        scores: Array,
        target: Array,
        repeats: int,
        ignore_index: int,
    ) -> None:
        sizes = (*scores.shape, repeats, ignore_index)
        self._kernels.launch("add_metrics", 1, totals, loss, scores, target, *sizes)

    def _add_errors(self, totals: Array, loss: Array, outputs: Array, target: Array) -> None:
        self._kernels.launch("add_errors", 1, totals, loss, outputs, target, *outputs.shape)

    def _all_finite(self, array: Array) -> bool:
        parts = count_parts(array.size)
        flags = self.empty((parts,), np.int32)
        self._kernels.launch("finite_flags", parts, array, flags, array.size)
        return bool(self._xp.asnumpy(flags).all())

    def _check_finite(self, failed_step: Array, loss: Array, grads: Array, step: Array) -> None:
        parts = count_parts(grads.size)
        self._kernels.launch("check_finite", parts, failed_step, loss, grads, step, grads.size)

    def _clip_grad_norm(self, grads: Array, norm: Array, max_norm: float) -> None:
        parts = count_parts(grads.size)
        partials = self.empty((2, parts), np.float64)
        self._kernels.launch("clip_grad_norm_squares", parts, grads, partials, grads.size)
        self._kernels.launch(
            "clip_grad_norm_scale", parts, partials, grads, norm, parts, max_norm, grads.size
        )

    def _sgd_step(
        self,
        param: Array,
        grad: Array,
        velocity: Array,
        rates: Array,
        momentum: float,
        weight_decay: float,
        nesterov: bool,
        failed_step: Array | None,
    ) -> None:
        self._kernels.launch_each(
            "sgd_step",
            param.size, param, grad, velocity, rates, failed_step, param.size,
            momentum, weight_decay, nesterov,
        )  # fmt: skip

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
        failed_step: Array | None,
    ) -> None:
        first, second = betas
        self._kernels.launch_each(
            "adam_step",
            param.size, param, grad, exp_avg, exp_avg_sq, rates, failed_step, param.size,
            first, 1 - first, second, 1 - second, eps, weight_decay,
        )  # fmt: skip

    def _ema_step(
        self, average: Array, param: Array, rates: Array, failed_step: Array | None
    ) -> None:
        self._kernels.launch_each(
            "ema_step", param.size, average, param, rates, failed_step, param.size
        )
