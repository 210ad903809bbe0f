"""Batches, metrics and optimiser steps."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import numpy as np

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_integer, check_number
from gpucnn.errors import SettingError


class Training(Arrays):
    """Batches, metrics and optimiser steps."""

    def one_hot(self, target: Array, num_classes: int) -> Array:
        """Return (N, num_classes) of the backend's dtype: 1 at each target, 0 elsewhere."""
        self._check("one_hot", "target", target, (None,), np.int64)
        return self._one_hot(target, check_integer("one_hot: num_classes", num_classes, 1))

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
        ring: int = 0,
    ) -> None:
        """Write the inputs of the next training step, and advance ``counter``.

        ``counter``, int64 (2,), holds the number b of batches in this epoch so far, and the number
        of steps in this run so far; both are incremented. ``indices`` (n,) is set to
        order[b * batch_size:][:n], ``target`` (n,) to the ``labels`` (M,) of these images, and
        ``rates`` (R,) to row b of ``table`` (steps, R). Integers are int64. Labels that are numbers
        to predict are floats (M, K), and ``target`` (n, K).

        With a ``ring`` the images are not all in one array: those of the batches to come lie in a
        ring of so many images, in their order. Then ``indices`` are set to their positions there,
        (b * batch_size + i) % ring, and ``target`` to the labels of the same images as without it.

        A training step that reads these arrays can be replayed without the host. If b is outside
        ``order`` or ``table``, NumPy raises ShapeError. A device does not wait: it sets indices and
        targets to -1, or floats to NaN, and rates to NaN, so that the loss becomes NaN.
        """
        op = "begin_step"
        self._check(op, "counter", counter, (2,), np.int64)
        self._check(op, "order", order, (None,), np.int64)
        row = self._check_label_rows(op, labels)
        self._check(op, "table", table, (None, None))
        self._check(op, "indices", indices, (None,), np.int64)
        self._check(op, "target", target, (indices.shape[0], *row), None if row else np.int64)
        self._check(op, "rates", rates, (table.shape[1],))
        batch_size = check_integer(f"{op}: batch_size", batch_size, 1)
        ring = check_integer(f"{op}: ring", ring, 0)
        self._begin_step(counter, order, labels, table, indices, target, rates, batch_size, ring)

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
        ring: int,
    ) -> None: ...

    def gather_images(self, images: Array, indices: Array, scale: Array, shift: Array) -> Array:
        """Return images[indices] times ``scale`` plus ``shift``, (N, C, H, W).

        ``images`` is uint8 (M, C, H, W), ``indices`` int64 (N,), and ``scale`` and ``shift`` (C,).
        The result has the backend's dtype.
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
        """Return labels[indices], (N,); all three are int64.

        Labels that are numbers to predict are floats (M, K), and the result (N, K).
        """
        self._check_label_rows("gather_labels", labels)
        self._check("gather_labels", "indices", indices, (None,), np.int64)
        return self._gather_labels(labels, indices)

    def _check_label_rows(self, op: str, labels: Array) -> tuple[int, ...]:
        """Check classes int64 (M,) or numbers (M, K); return the shape of a row, () or (K,)."""
        if getattr(labels, "ndim", 1) == 2 and labels.dtype != np.int64:
            self._check(op, "labels", labels, (None, None))
            return tuple(labels.shape[1:])
        self._check(op, "labels", labels, (None,), np.int64)
        return ()

    @abstractmethod
    def _gather_labels(self, labels: Array, indices: Array) -> Array: ...

    def add_metrics(
        self,
        totals: Array,
        loss: Array,
        scores: Array,
        target: Array,
        reduction: Literal["mean", "sum"] = "mean",
        *,
        ignore_index: int = -100,
    ) -> None:
        """Add N times ``loss`` and the number of correct samples to ``totals``, float64 (2,).

        ``loss`` is the mean loss of the N rows of ``scores`` (N, C), or for ``reduction`` "sum"
        their sum, which is added once. The predicted class of a row is the first of its greatest
        scores; a row with a NaN is never correct, nor one whose target is ``ignore_index``.
        """
        if reduction not in ("mean", "sum"):
            raise SettingError(f'reduction must be "mean" or "sum", got {reduction!r}')
        index = check_integer("add_metrics: ignore_index", ignore_index, -(2**63))
        self._check("add_metrics", "totals", totals, (2,), np.float64)
        self._check("add_metrics", "loss", loss, ())
        self._check("add_metrics", "scores", scores, (None, None))
        self._check_classes("add_metrics", "scores", scores, target, index)
        repeats = int(scores.shape[0]) if reduction == "mean" else 1
        self._add_metrics(totals, loss, scores, target, repeats, index)

    @abstractmethod
    def _add_metrics(
        self,
        totals: Array,
        loss: Array,
        scores: Array,
        target: Array,
        repeats: int,
        ignore_index: int,
    ) -> None: ...

    def add_errors(self, totals: Array, loss: Array, outputs: Array, target: Array) -> None:
        """Add N times ``loss`` and the errors of numbers to ``totals``, float64 (1 + 2 K,).

        ``loss`` is the mean loss of the N rows of ``outputs`` and ``target``, both (N, K). The
        loss is followed by the sums of (output - target)² of the K columns, then by those of
        |output - target|, computed in float64.
        """
        self._check("add_errors", "outputs", outputs, (None, None))
        self._check("add_errors", "target", target, tuple(outputs.shape))
        self._check("add_errors", "totals", totals, (1 + 2 * outputs.shape[1],), np.float64)
        self._check("add_errors", "loss", loss, ())
        self._add_errors(totals, loss, outputs, target)

    @abstractmethod
    def _add_errors(self, totals: Array, loss: Array, outputs: Array, target: Array) -> None: ...

    def all_finite(self, array: Array) -> bool:
        """Return whether no element is NaN or infinite. Waits for the device."""
        self._check("all_finite", "array", array)
        return self._all_finite(array)

    @abstractmethod
    def _all_finite(self, array: Array) -> bool: ...

    def check_finite(self, failed_step: Array, loss: Array, grads: Array, step: Array) -> None:
        """Set ``failed_step`` to ``step`` if it is 0 and ``loss`` or ``grads`` is NaN or infinite.

        ``failed_step`` and ``step`` are int64 (1,), and ``loss`` has shape (). An optimiser step
        with a ``failed_step`` other than 0 does nothing, so the weights stay finite without waiting
        for the device.
        """
        self._check("check_finite", "failed_step", failed_step, (1,), np.int64)
        self._check("check_finite", "loss", loss, ())
        self._check("check_finite", "grads", grads, (None,))
        self._check("check_finite", "step", step, (1,), np.int64)
        self._check_finite(failed_step, loss, grads, step)

    @abstractmethod
    def _check_finite(self, failed_step: Array, loss: Array, grads: Array, step: Array) -> None: ...

    def clip_grad_norm(self, grads: Array, norm: Array, max_norm: float) -> None:
        """Scale gradients in place so that their norm is at most ``max_norm``, and set ``norm``.

        ``norm``, float64 (1,), becomes the L2 norm of ``grads`` (n,) before; the gradients are
        multiplied by max_norm / (norm + 1e-6) where that is below 1, as by
        ``torch.nn.utils.clip_grad_norm_`` (Pascanu et al., arXiv:1211.5063). Squares are added in
        float64, and do not overflow. A NaN makes the norm and all gradients NaN; infinity makes
        the finite ones 0, so ``check_finite`` must come first.
        """
        self._check("clip_grad_norm", "grads", grads, (None,))
        self._check("clip_grad_norm", "norm", norm, (1,), np.float64)
        limit = check_number("clip_grad_norm: max_norm", max_norm, 0.0)
        self._clip_grad_norm(grads, norm, float(limit))

    @abstractmethod
    def _clip_grad_norm(self, grads: Array, norm: Array, max_norm: float) -> None: ...

    # Values that change from step to step are in the array ``rates``, so that captured steps can be
    # replayed. With a ``failed_step``, int64 (1,), other than 0, a step does nothing.

    def sgd_step(
        self,
        param: Array,
        grad: Array,
        velocity: Array,
        rates: Array,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        failed_step: Array | None = None,
    ) -> None:
        """Do one step of ``torch.optim.SGD`` in place.

        g = grad + λp; v = μv + g; p -= lr v, or lr (g + μv) with ``nesterov``, where p is the
        parameter, v the velocity, μ the momentum and λ the weight decay. ``rates`` (1,) is (lr,):
        see ``gpucnn.optim.SGD.rates``.
        """
        self._check_step("sgd_step", param, failed_step, grad=grad, velocity=velocity)
        self._check("sgd_step", "rates", rates, (1,))
        # A numpy.float64 would convert float32 arrays to float64.
        settings = float(momentum), float(weight_decay), bool(nesterov)
        self._sgd_step(param, grad, velocity, rates, *settings, failed_step)

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
        failed_step: Array | None,
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
        failed_step: Array | None = None,
    ) -> None:
        """Do one step of ``torch.optim.Adam`` or ``AdamW`` in place.

        ``rates`` (3,) is (lr / (1 - β₁ᵗ), sqrt(1 - β₂ᵗ), shrink), where t is the number of the
        step, from 1. ``weight_decay`` times the parameters is added to the gradient; then the
        parameters are multiplied by ``shrink``, which is 1 for Adam and 1 - lr λ for AdamW, and
        updated: see ``gpucnn.optim.Adam.rates``. A parameter whose gradients were all zero stays
        as it is with ``eps`` 0, too, where PyTorch's becomes NaN.
        """
        self._check_step(
            "adam_step", param, failed_step, grad=grad, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq
        )
        self._check("adam_step", "rates", rates, (3,))
        decay = float(betas[0]), float(betas[1])
        settings = decay, float(eps), float(weight_decay)
        self._adam_step(param, grad, exp_avg, exp_avg_sq, rates, *settings, failed_step)

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
        failed_step: Array | None,
    ) -> None: ...

    def ema_step(
        self, average: Array, param: Array, rates: Array, failed_step: Array | None = None
    ) -> None:
        """Move an exponential moving average towards the parameters, in place.

        average += rate (param - average), where ``rates`` (1,) is (rate,): 1 minus the decay of
        the step. ``torch.optim.swa_utils.get_ema_multi_avg_fn`` computes the same.
        """
        self._check_step("ema_step", param, failed_step, average=average)
        self._check("ema_step", "rates", rates, (1,))
        self._ema_step(average, param, rates, failed_step)

    @abstractmethod
    def _ema_step(
        self, average: Array, param: Array, rates: Array, failed_step: Array | None
    ) -> None: ...
