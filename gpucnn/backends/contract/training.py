"""What a training step needs beside a network."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import (
    Array,
)
from gpucnn.config import check_integer


class Training(Arrays):
    """Batches, metrics and optimiser steps."""

    def one_hot(self, target: Array, num_classes: int) -> Array:
        """Return (N, num_classes) of the backend's dtype: 1 at each sample's class, else 0."""
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
        check_integer(f"{op}: batch_size", batch_size, 1)
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
