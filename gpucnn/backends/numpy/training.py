"""Batches, metrics and optimiser steps."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.training import Training
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.windows import batch_first, batch_last
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
        ring: int,
    ) -> None:
        batch = int(counter[0])
        batch_indices = order[max(batch, 0) * batch_size :][: indices.size]
        if not 0 <= batch < len(table) or batch_indices.size < indices.size:
            raise ShapeError(
                f"begin_step: counter[0] is {batch}, but the table has {len(table)} rows, and the "
                f"order {order.size} elements, of which {indices.size} are needed from "
                f"{batch * batch_size}"
            )
        rates[...] = table[batch]
        indices[...] = batch_indices
        self._check_within("begin_step", "indices", indices, len(labels), "labels")
        np.take(labels, indices, axis=0, out=target)
        if ring:
            first = batch * batch_size
            indices[...] = np.arange(first, first + indices.size) % ring
        counter += 1

    def _gather_images(self, images: Array, indices: Array, scale: Array, shift: Array) -> Array:
        self._check_within("gather_images", "indices", indices, len(images), "images")
        # Transposing bytes rather than floats takes a quarter of the memory traffic.
        pixels = batch_last(images[indices])
        batch = np.multiply(pixels, scale[:, None, None, None], dtype=self.dtype)
        batch += shift[:, None, None, None]
        return batch_first(batch)

    def _gather_labels(self, labels: Array, indices: Array) -> Array:
        self._check_within("gather_labels", "indices", indices, len(labels), "labels")
        return labels[indices]

    def _add_metrics(
        self,
        totals: Array,
        loss: Array,
        scores: Array,
        target: Array,
        repeats: int,
        ignore_index: int,
    ) -> None:
        predicted = scores.argmax(1)  # the first NaN, if there is one
        correct = (predicted == target) & ~np.isnan(scores[np.arange(target.size), predicted])
        if ignore_index >= 0:
            correct &= target != ignore_index
        totals += float(loss) * repeats, np.count_nonzero(correct)

    def _add_errors(self, totals: Array, loss: Array, outputs: Array, target: Array) -> None:
        errors = np.subtract(outputs, target, dtype=np.float64)
        count, columns = errors.shape
        totals[0] += float(loss) * count
        totals[1 : 1 + columns] += (errors * errors).sum(0)
        totals[1 + columns :] += np.abs(errors).sum(0)

    def _all_finite(self, array: Array) -> bool:
        return bool(np.isfinite(array).all())

    def _check_finite(self, failed_step: Array, loss: Array, grads: Array, step: Array) -> None:
        if not failed_step[0] and not (np.isfinite(loss) and np.isfinite(grads).all()):
            failed_step[0] = step[0]

    def _clip_grad_norm(self, grads: Array, norm: Array, max_norm: float) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            # Not a dot product, whose roundings depend on the number of threads.
            norm[0] = np.sqrt(np.square(grads, dtype=np.float64).sum())
            if np.isinf(norm[0]) and np.isfinite(largest := np.abs(grads).max()):
                norm[0] = largest * np.sqrt(np.square(grads / largest).sum())
            factor = max_norm / (float(norm[0]) + 1e-6)
            if not factor >= 1:  # NaN, too
                grads *= factor

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
        if failed_step is not None and failed_step[0]:
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
        failed_step: Array | None,
    ) -> None:
        if failed_step is not None and failed_step[0]:
            return
        step_size, correction, shrink = map(float, rates)
        if weight_decay:
            grad = grad + weight_decay * param
        if shrink != 1:
            param *= shrink
        first, second = betas
        work = grad - exp_avg  # the array for all intermediate results
        work *= 1 - first
        exp_avg += work
        _flush(exp_avg)
        np.multiply(grad, grad, out=work)
        work *= 1 - second
        exp_avg_sq *= second
        exp_avg_sq += work
        # step_size * m / (sqrt(v) / correction + eps), with both sides multiplied by correction.
        np.sqrt(exp_avg_sq, out=work)
        work += eps * correction
        if not eps:
            work[exp_avg == 0] = 1  # where all gradients were zero, nothing changes
        np.divide(exp_avg, work, out=work)
        work *= step_size * correction
        param -= work

    def _ema_step(
        self, average: Array, param: Array, rates: Array, failed_step: Array | None
    ) -> None:
        if failed_step is not None and failed_step[0]:
            return
        change = param - average
        change *= rates[0]
        average += change


def _flush(state: Array) -> None:
    """Round subnormal numbers, which processors compute slowly, to zero in place.

    A state decays towards them while its gradient is zero. Adding and subtracting a number rounds
    to multiples of its precision, which are far below anything that could change a weight.
    """
    tiny = state.dtype.type(1e-25 if state.dtype == np.float32 else 1e-280)
    state += tiny
    state -= tiny
