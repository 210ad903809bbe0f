"""One training step: gather the images, forward, loss, backward, metrics, clip, update.

``TrainStep`` is a step of ``fit``, from the next batch to the new weights. ``loss_and_grads`` is
the part in the middle, also for training loops that users write (see ``gpucnn.training``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpucnn.backends import Backend
from gpucnn.backends.contract import Augmentation, FusedGradients, StepArrays
from gpucnn.backends.contract.checks import Array
from gpucnn.nn.layers import TrainingPass
from gpucnn.nn.losses import CrossEntropyLoss, Loss
from gpucnn.nn.sequential import Sequential
from gpucnn.optim import Optimizer
from gpucnn.optim.optimizers import Trainable
from gpucnn.rng import Stream, philox_key
from gpucnn.training.average import WeightAverage
from gpucnn.training.batches import ImageBatches
from gpucnn.training.feed import Feed
from gpucnn.training.mixup import Mixture, partners


def loss_and_grads(
    model: Sequential,
    x: Array,
    target: Array,
    loss: Loss | None = None,
    *,
    totals: Array | None = None,
    share: float = 1.0,
    training: TrainingPass | None = None,
    mixture: Mixture | None = None,
    backward: Callable[[Array, Any], object] | None = None,
) -> tuple[Array, Array]:
    """Run a batch forward and backward, with dropout on.

    Args:
        model: the network; ``flat_grads``, and with it each parameter's ``grad``, is overwritten.
        x: normalised images (N, C, H, W), an array of the model's backend.
        target: classes, int64 (N,), or numbers of the shape of the model's output.
        loss: what to minimise; ``CrossEntropyLoss()`` if None.
        totals: float64 (2,); the sum of the losses and the number of correct classes are added to
            it: N times the mean, or with class weights the sum that ``loss.weigh`` divides. For
            numbers (N, K) it is (1 + 2 K,): the sums of squared and of absolute errors follow.
        share: a factor of the gradients: the batch's share of a larger one.
        training: what dropout's masks are drawn from; by default the model's seed and the number
            of its passes so far.
        mixture: with mixup, the classes of the images that those of ``x`` are mixed with.
        backward: what sets the gradients, by default ``model.backward``.

    Returns:
        The mean loss, of shape (), and the gradients, ``model.flat_grads`` (flat_size,).

    Raises:
        ShapeError: ``x`` or ``target`` does not fit the model.
        ArrayError: an array is not the backend's, or has another dtype.
    """
    be, loss = model.backend, loss or CrossEntropyLoss()
    scores = _set_grads(model, x, target, loss, share, training, mixture, backward)
    value = None if totals is None else _add_metrics(be, loss, totals, scores, target, mixture)
    if value is None and mixture is not None:
        value = mixture.loss(be, loss, scores, target)
    elif value is None or loss.weighted:
        value = loss.forward(be, scores, target)
    return value, model.flat_grads


def _set_grads(
    model: Sequential,
    x: Array,
    target: Array,
    loss: Loss,
    share: float,
    training: TrainingPass | None,
    mixture: Mixture | None,
    backward: Callable[[Array, Any], object] | None = None,
) -> Array:
    """Set the gradients of a batch's mean loss times ``share``; return the scores."""
    be = model.backend
    scores, saved = model.forward(x, training or True)
    if mixture is None:
        grad = loss.backward(be, scores, target)
    else:
        grad = mixture.backward(be, loss, scores, target)
    (backward or model.backward)(grad if share == 1 else grad * share, saved)
    return scores


def _add_metrics(
    be: Backend, loss: Loss, totals: Array, scores: Array, target: Array, mixture: Mixture | None
) -> Array:
    """Add a batch to ``totals``, and return what ``Loss.add_metrics`` returns."""
    if mixture is None:
        return loss.add_metrics(be, totals, scores, target)
    return mixture.add_metrics(be, loss, totals, scores, target)


def training_images(
    be: Backend,
    images: Array,
    indices: Array,
    scale: Array,
    shift: Array,
    augment: Augmentation | None,
    seed: int,
    step: Array,
    first: int = 0,
    mixed_in: bool = False,
) -> Array:
    """Return the images of a step as ``gather_images`` does, changed by ``augment``.

    ``first`` is the position of the first of them in the batch, of which they may be a part.
    Images that are mixed with others are changed in another way than these.
    """
    if augment is None:
        return be.gather_images(images, indices, scale, shift)
    key = philox_key(seed, Stream.AUGMENTATION, int(mixed_in))
    return be.augment_images(images, indices, scale, shift, augment, key, step, first)


@dataclass(frozen=True)
class LayerGradients:
    """The gradients of a step, layer by layer.

    ``seed`` decides what random layers draw, and how ``augment`` changes the images.
    """

    model: Sequential
    loss: Loss
    seed: int
    augment: Augmentation | None = None

    def set_grads(self, arrays: StepArrays) -> None:
        """As ``FusedGradients.set_grads``."""
        be, model, loss = self.model.backend, self.model, self.loss
        source = arrays.images, arrays.indices, arrays.scale, arrays.shift
        x = training_images(be, *source, self.augment, self.seed, arrays.step)
        targets, mixture = arrays.targets, self._mixture(arrays)
        if mixture is not None:
            x = mixture.mix(be, x, self._other_images(arrays))
        training = TrainingPass(self.seed, arrays.step)
        scores = _set_grads(model, x, targets, loss, 1.0, training, mixture)
        value = _add_metrics(be, loss, arrays.totals, scores, targets, mixture)
        be.check_finite(arrays.failed_step, value, model.flat_grads, arrays.step)

    def _mixture(self, arrays: StepArrays) -> Mixture | None:
        """Return what the images are mixed with, None without mixup."""
        if arrays.own_share is None:
            return None
        other_targets = self.model.backend.gather_labels(arrays.targets, arrays.partners)
        return Mixture(other_targets, arrays.own_share)

    def _other_images(self, arrays: StepArrays) -> Array:
        """Return the image that each one is mixed with."""
        be = self.model.backend
        others = be.gather_labels(arrays.indices, arrays.partners)
        source = arrays.images, others, arrays.scale, arrays.shift
        return training_images(be, *source, self.augment, self.seed, arrays.step, mixed_in=True)


@dataclass(frozen=True)
class RunArrays:
    """All that changes from one step to the next, on the device.

    So a device can replay a captured step: no argument changes, only the contents of arrays.
    B batches an epoch, R rates (``Optimizer.rates``).
    """

    counter: Array
    """int64 (2,): the number of batches started in the epoch and of steps started in the run"""
    rate_table: Array
    """(B, R): the rates of all steps of the epoch"""
    rates: Array
    """(R,): those of the current step; with mixup an image's own share follows, and with a moving
    average of weights its rate is the last"""
    totals: Array
    """float64 (2,): the sum of losses and the number of correct classes in the epoch so far;
    for regression (1 + 2 K,): see ``add_errors`` of the contract"""
    failed_step: Array
    """int64 (1,): the number of the first step whose loss or gradient was NaN or infinite, or 0"""
    grad_norm: Array
    """float64 (1,): the norm of the gradients before they were clipped"""

    @classmethod
    def zeros(cls, be: Backend, batches: ImageBatches, rates: int) -> RunArrays:
        """Return the arrays of a run that is about to begin."""
        return cls(
            counter=be.zeros((2,), np.int64),
            rate_table=be.zeros((len(batches), rates)),
            rates=be.zeros((rates,)),
            totals=batches.totals(),
            failed_step=be.zeros((1,), np.int64),
            grad_norm=be.zeros((1,), np.float64),
        )


class TrainStep:
    """One step with batches of ``size`` images; each call takes the next batch of the epoch."""

    def __init__(
        self,
        model: Trainable,
        batches: ImageBatches,
        size: int,
        gradients: FusedGradients,
        optimizer: Optimizer,
        run: RunArrays,
        clip_grad_norm: float | None = None,
        average: WeightAverage | None = None,
        mixup: bool = False,
        feed: Feed | None = None,
    ) -> None:
        self.model, self.batches, self.gradients = model, batches, gradients
        self.images, self.ring = (batches.images, 0) if feed is None else (feed.images, feed.size)
        self.optimizer, self.run = optimizer, run
        self.clip_grad_norm, self.average = clip_grad_norm, average
        # Views, made once: a captured step is to allocate nothing.
        count, be = len(optimizer.rates(1, optimizer.lr)), self.model.backend
        self.optimizer_rates = run.rates[:count]
        self.own_share = run.rates[count : count + 1] if mixup else None
        self.partners = be.asarray(partners(size)) if mixup else None
        self.average_rate = run.rates[-1:]
        self.indices, self.targets = be.zeros((size,), np.int64), batches.label_array(size)

    def __call__(self) -> None:
        """Do the step. After a step that failed, the weights stay as they are."""
        self._begin()
        arrays, be, failed_step = self._arrays(), self.model.backend, self.run.failed_step
        self.gradients.set_grads(arrays)
        if self.clip_grad_norm is not None:
            be.clip_grad_norm(arrays.grads, self.run.grad_norm, self.clip_grad_norm)
        self.optimizer.step(be, arrays.parameters, arrays.grads, self.optimizer_rates, failed_step)
        if self.average is not None:
            self.average.update(self.average_rate, failed_step)

    def _begin(self) -> None:
        """Set the indices and targets of the next batch, and the rates of the step."""
        batches, run = self.batches, self.run
        self.model.backend.begin_step(
            run.counter,
            batches.order,
            batches.labels,
            run.rate_table,
            self.indices,
            self.targets,
            run.rates,
            batches.batch_size,
            self.ring,
        )

    def _arrays(self) -> StepArrays:
        batches, run = self.batches, self.run
        return StepArrays(
            images=self.images,
            indices=self.indices,
            targets=self.targets,
            scale=batches.scale,
            shift=batches.shift,
            parameters=self.model.flat_parameters,
            grads=self.model.flat_grads,
            totals=run.totals,
            failed_step=run.failed_step,
            step=run.counter[1:],
            partners=self.partners,
            own_share=self.own_share,
        )
