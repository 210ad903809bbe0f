"""What a training step needs beside a network."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.training import Training
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.windows import (
    batch_first,
    batch_last,
)
from gpucnn.errors import ShapeError


class NumpyTraining(NumpyArrays, Training):
    """Batches, metrics and optimiser steps."""

    def _one_hot(self, target: Array, num_classes: int) -> Array:
        self._check_labels("one_hot", target, num_classes)
        return np.equal(np.arange(num_classes)[:, None], target).astype(self.dtype).T

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
    ) -> None:
        batch = int(counter[0])
        picked = order[max(batch, 0) * batch_size :][: indices.size]
        if not 0 <= batch < len(table) or picked.size < indices.size:
            raise ShapeError(
                f"begin_step: counter[0] is {batch}: {indices.size} images from "
                f"{batch * batch_size} on are not within an order of {order.size}, or the table of "
                f"{len(table)} has no such row"
            )
        rates[...] = table[batch]
        indices[...] = picked
        self._check_within("begin_step", "indices", indices, labels.size, "labels")
        np.take(labels, indices, out=target)
        counter += 1

    def _gather_images(self, images: Array, indices: Array, scale: Array, shift: Array) -> Array:
        self._check_within("gather_images", "indices", indices, len(images), "images")
        # Bytes are turned batch innermost before they become floats: a quarter of the traffic.
        picked = batch_last(images[indices])
        batch = np.multiply(picked, scale[:, None, None, None], dtype=self.dtype)
        batch += shift[:, None, None, None]
        return batch_first(batch)

    def _gather_labels(self, labels: Array, indices: Array) -> Array:
        self._check_within("gather_labels", "indices", indices, len(labels), "labels")
        return labels[indices]

    def _add_metrics(self, totals: Array, loss: Array, scores: Array, target: Array) -> None:
        chosen = scores.argmax(1)  # the first NaN, where there is one
        right = (chosen == target) & ~np.isnan(scores[np.arange(target.size), chosen])
        totals += float(loss) * target.size, np.count_nonzero(right)

    def _all_finite(self, array: Array) -> bool:
        return bool(np.isfinite(array).all())

    def _check_finite(self, flag: Array, loss: Array, grads: Array, step: Array) -> None:
        if not flag[0] and not (np.isfinite(loss) and np.isfinite(grads).all()):
            flag[0] = step[0]

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
    ) -> None:
        if flag is not None and flag[0]:
            return
        if weight_decay:
            grad = grad + weight_decay * param
        velocity *= momentum
        velocity += grad
        _flush(velocity)
        param -= rates[0] * (grad + momentum * velocity if nesterov else velocity)

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
    ) -> None:
        if flag is not None and flag[0]:
            return
        step_size, correction, shrink = map(float, rates)
        if weight_decay:
            grad = grad + weight_decay * param
        if shrink != 1:
            param *= shrink
        first, second = betas
        work = grad - exp_avg  # one array for whatever is worked out on the way
        work *= 1 - first
        exp_avg += work
        _flush(exp_avg)
        np.multiply(grad, grad, out=work)
        work *= 1 - second
        exp_avg_sq *= second
        exp_avg_sq += work
        # step_size m over (sqrt(v) / correction + eps), both multiplied by ``correction``.
        np.sqrt(exp_avg_sq, out=work)
        work += eps * correction
        np.divide(exp_avg, work, out=work)
        work *= step_size * correction
        param -= work


def _flush(state: Array) -> None:
    """Keep a state whose gradient stays zero from decaying to what is too small to be normal.

    Processors are slow with such numbers. What is small against 1e-25 is rounded to a multiple of
    its precision, far below anything that could change a weight.
    """
    tiny = state.dtype.type(1e-25 if state.dtype == np.float32 else 1e-280)
    state += tiny
    state -= tiny
