"""The steps of a run: how they are launched, several at a time where a device can replay them.

The order of the images, the rates of an epoch's steps and the number of the step are in arrays
before the epoch begins, and losses stay in arrays until they are read: no step needs the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends.contract import FusedGradients
from gpucnn.config import is_builtin
from gpucnn.errors import SettingError
from gpucnn.nn.layers.custom import can_be_captured
from gpucnn.nn.losses import Loss
from gpucnn.nn.plan import fuse_gradients
from gpucnn.nn.sequential import Sequential
from gpucnn.optim import Optimizer
from gpucnn.optim.optimizers import Trainable
from gpucnn.optim.schedules import Schedule
from gpucnn.training.average import WeightAverage, averaging_rate
from gpucnn.training.batches import Batches, ImageBatches
from gpucnn.training.feed import Feed
from gpucnn.training.mixup import own_shares
from gpucnn.training.processes.device import DeviceGradients, SingleGradients
from gpucnn.training.processes.group import Alone, Group
from gpucnn.training.processes.nccl import Nccl
from gpucnn.training.processes.part import GroupGradients, Part, needed
from gpucnn.training.processes.workers import Workers
from gpucnn.training.settings import Settings
from gpucnn.training.step import LayerGradients, RunArrays, TrainStep


@dataclass(frozen=True)
class EpochPlan:
    """What is known of an epoch before it begins."""

    epoch: int
    """Its number, from 0"""
    seed: int
    """What the order of the images is drawn from"""
    lrs: list[float]
    """The learning rate of each step"""
    rates: NDArray[np.float64]
    """(steps, R): ``Optimizer.rates`` of each step, then an image's own share in mixup, then the
    rate of a moving average, as far as the run has them"""
    order: NDArray[np.int64] | None = None
    """(images,): the order of the images, if it is drawn in advance"""


class Planned(Protocol):
    """The settings of a run that its plan follows from."""

    @property
    def epochs(self) -> int:
        """Number of passes over the training images."""

    @property
    def optimizer(self) -> Optimizer:
        """How gradients change the weights."""

    @property
    def schedule(self) -> Schedule:
        """What the learning rate is multiplied by."""

    @property
    def seed(self) -> int:
        """What the order of the images is drawn from."""


def plan_epoch(
    settings: Planned, epoch: int, steps: int, ema: float = 0.0, mixup: float = 0.0
) -> EpochPlan:
    """Return the plan of epoch ``epoch``, from 0, with ``steps`` steps.

    ``ema`` is the decay of a moving average of the weights, 0 without one, and ``mixup`` the alpha
    of mixup.
    """
    optimizer, first = settings.optimizer, epoch * steps
    factors = [
        settings.schedule.factor(done / (settings.epochs * steps))
        for done in range(first, first + steps)
    ]
    lrs = [optimizer.lr * factor for factor in factors]
    shares = own_shares(mixup, settings.seed, epoch, steps) if mixup else None

    def row(index: int) -> tuple[float, ...]:
        number = first + index + 1
        share = () if shares is None else (float(shares[index]),)
        averaging = (averaging_rate(ema, number),) if ema else ()
        return (*optimizer.rates(number, lrs[index]), *share, *averaging)

    rates = np.empty((steps, len(row(0))))  # not from a list: an epoch may have very many steps
    for index in range(steps):
        rates[index] = row(index)
    return EpochPlan(epoch, settings.seed, lrs, rates)


class StepRunner:
    """Runs training steps over batches.

    Args:
        model: what is trained.
        batches: its training images.
        optimizer: how gradients change the weights.
        gradients: returns what sets the gradients of batches of a number of images.
        multiply_adds: those of a step with one image.
        eager: why steps cannot be captured, None if they can.
        clip_grad_norm: the largest norm of the gradients, None for no limit.
        average: what keeps a moving average of the weights, None if nothing does.
        mixup: whether images are mixed.

    ``arrays`` holds the totals of the steps and the failed step.
    """

    def __init__(
        self,
        model: Trainable,
        batches: ImageBatches,
        optimizer: Optimizer,
        gradients: Callable[[int], FusedGradients],
        multiply_adds: int,
        eager: str | None = None,
        clip_grad_norm: float | None = None,
        average: WeightAverage | None = None,
        mixup: bool = False,
    ) -> None:
        self.trained, self.train, self.optimizer = model, batches, optimizer
        self.clip_grad_norm, self.average, self.mixup = clip_grad_norm, average, mixup
        be, size = model.backend, batches.batch_size
        self.parameters = model.flat_parameters
        rates = len(optimizer.rates(1, optimizer.lr)) + mixup + (average is not None)
        self.arrays = RunArrays.zeros(be, batches, rates)
        self.full, last = divmod(batches.count, size)
        self.eager, self.captured = eager, be.records and eager is None
        self.per_launch = be.steps_per_launch(multiply_adds * size) if self.captured else 1
        self.feed = self._make_feed()
        self._full: Callable[[int], None] | None = self._make(gradients(size), size)
        # The last batch of an epoch, if shorter. It may use the same memory: they never overlap.
        self._last = self._make(gradients(last), last, self._full) if last else None

    def begin_epoch(self, plan: EpochPlan, index: int, done: int) -> None:
        """Begin an epoch at batch ``index``, after ``done`` steps of the run."""
        self.check_model()
        be = self.trained.backend
        if self.feed is not None:
            self.feed.end()  # it reads the order
        if plan.order is None:
            self.train.shuffle(plan.epoch, plan.seed)
        else:
            self.train.set_order(plan.order)
        with np.errstate(over="ignore"):  # an infinite rate shows in the weights
            self.arrays.rate_table[...] = be.asarray(plan.rates)
        self.arrays.counter[...] = be.asarray(np.array([index, done]))
        if self.feed is not None:
            self.train.begin(self.feed, index)

    def run(self, index: int, limit: int) -> int:
        """Run the step of batch ``index`` and up to ``limit`` - 1 after it; return their number.

        They are more than one where the device replays several in a launch. Steps come in order:
        ``index`` must be the number of steps that were run in the epoch.
        """
        self.check_model()
        if self.feed is not None:
            limit = min(limit, self.feed.acquire(index))
        replay, count = self._last, 1
        if index < self.full:
            replay, count = self._full, min(self.per_launch, self.full - index, limit)
        assert replay is not None
        replay(count)
        if self.feed is not None:
            self.feed.release(index + count)
        return count

    def _make_feed(self) -> Feed | None:
        """Return what reads the images ahead of the steps, None if they are in memory."""
        return self.train.feed(self.per_launch)

    def check_model(self) -> None:
        """Raise SettingError if the model's parameters were moved since the run began."""
        if self.trained.flat_parameters is not self.parameters:
            raise SettingError("the model was moved to a backend while it was being trained")

    def close(self) -> None:
        """Release CUDA graphs and their memory now, not when the garbage collector runs."""
        if self.feed is not None:
            self.feed.end()
        self._full, self._last = None, None

    def _make(
        self,
        gradients: FusedGradients,
        size: int,
        share_memory_with: Callable[[int], None] | None = None,
    ) -> Callable[[int], None]:
        """Return a function that runs a number of steps with batches of ``size``."""
        step = TrainStep(
            self.trained,
            self.train,
            size,
            gradients,
            self.optimizer,
            self.arrays,
            self.clip_grad_norm,
            self.average,
            self.mixup,
            self.feed,
        )
        return self.trained.backend.capture(step, self.captured, share_memory_with)


class Steps(StepRunner):
    """Runs training steps of a network over ``batches``."""

    def __init__(
        self,
        batches: Batches,
        settings: Settings,
        workers: Workers | None = None,
        average: WeightAverage | None = None,
        group: Group | None = None,
    ) -> None:
        loss, optimizer = settings.loss, settings.optimizer
        self.group = group or Alone()
        self._per_slot = 0  # batches that a rank reads at once, 0 if all have the images in memory
        self.model, self.batches, self.loss = batches.model, batches, loss
        self.seed, self.augment, self.workers = settings.seed, settings.augment, workers
        be = self.model.backend
        loss.prepare(be)
        eager = why_eager(self.model, loss, optimizer, self.group) if be.records else None
        captured = be.records and eager is None
        multiply_adds = 3 * self.model.summary().multiply_adds if captured else 0
        super().__init__(
            self.model,
            batches,
            optimizer,
            self._gradients,
            multiply_adds,
            eager,
            settings.clip_grad_norm,
            average,
            settings.mixup > 0,
        )

    def check_model(self) -> None:
        """As ``StepRunner.check_model``; with workers, the parameters are theirs as well."""
        if self.workers is None:
            super().check_model()

    def _make_feed(self) -> Feed | None:
        """As in ``StepRunner``. Of a group, each rank reads the images that it needs.

        All ranks launch the same steps at once, also where some have all images on their device.
        """
        rank, size = self.group.rank, self.group.size
        if size == 1:
            return super()._make_feed()
        self.per_launch = min(self.group.gather(self.per_launch))
        feed = self.batches.feed(self.per_launch, partial(needed, rank, size, self.mixup))
        self._per_slot = max(self.group.gather(feed.per_slot if feed is not None else 0))
        return feed

    def run(self, index: int, limit: int) -> int:
        """As in ``StepRunner``."""
        if self._per_slot:
            limit = min(limit, self._per_slot - index % self._per_slot)
        return super().run(index, limit)

    def _gradients(self, size: int) -> FusedGradients:
        """Return what sets the gradients of batches of ``size`` images."""
        model = self.model
        if self.workers is not None:
            return self.workers
        group, totals = self.group, self.batches.totals()
        if group.size > 1:
            part = Part(model, self.loss, self.seed, self.augment, group.rank, group.size)
            if isinstance(group, Nccl):
                return DeviceGradients(part, group, totals)
            return GroupGradients(part, group, totals)
        own = self._own_gradients(size)
        return SingleGradients(own, group) if isinstance(group, Nccl) else own

    def _own_gradients(self, size: int) -> FusedGradients:
        """Return what sets the gradients of batches of ``size`` images in this process."""
        model = self.model
        # Launched one by one, the operations are those of the layers.
        if self.captured and self.augment is None and not self.mixup:
            be, shape = model.backend, model.input_shape
            fused = fuse_gradients(model.layers, self.loss, be, shape, size)
            if fused is not None:
                return fused
        return LayerGradients(model, self.loss, self.seed, self.augment)


def why_eager(
    model: Sequential, loss: Loss, optimizer: Optimizer, group: Group | None = None
) -> str | None:
    """Return why a step cannot be captured and replayed, None if it can.

    What the host decides would be the same in every replay, and custom classes may do anything on
    the host.
    """
    if group is not None and group.size > 1:
        if not group.capturable:
            why = f": {group.why_host}" if group.why_host else ""
            return f"the gradients of {group.size} processes are added by the host{why}"
        if loss.weighted:
            return "the host adds the weights of each process's images"
    if type(model) is not Sequential:
        return f"the model ({type(model).__name__}) is a custom class"
    for name in ("forward", "backward"):
        if name in vars(model):
            return f"the model has a custom {name}"
    for name, layer in model.every_layer().items():
        if not (is_builtin(layer) or can_be_captured(layer)):
            return f"layer {name!r} ({type(layer).__name__}) is a custom layer"
    for part in (loss, optimizer):
        if not is_builtin(part):
            return f"{type(part).__name__} is a custom class"
    return None
