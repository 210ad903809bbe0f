"""The training steps of a run: all that changes from one to the next lies in arrays.

So a device can repeat them without the host: the order of the images, the rates of an epoch's
steps and the number of the step are there before, and losses stay there until somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends.contract import FusedGradients, StepArrays
from gpucnn.backends.contract.checks import Array
from gpucnn.config import is_builtin
from gpucnn.errors import SettingError
from gpucnn.nn.layers import Dropout
from gpucnn.nn.losses import Loss
from gpucnn.nn.plan import fuse_gradients
from gpucnn.nn.sequential import Sequential
from gpucnn.optim import Optimizer
from gpucnn.training.evaluation import Batches
from gpucnn.training.workers import Workers, set_grads


@dataclass(frozen=True)
class Course:
    """What is known of an epoch beforehand: the ``order`` of its images, int64 (images,), and the
    learning rates ``lr`` of its steps; a row of ``rates`` (steps, K) is ``Optimizer.rates`` of one.
    """

    order: NDArray[np.int64]
    lr: list[float]
    rates: NDArray[np.float64]


class Steps:
    """The steps of a run over ``batches``; ``totals`` and ``flag`` are what comes of them.

    ``totals``, float64 (2,), are the epoch's summed losses and right answers; ``flag``, int64 (1,),
    is the number of the step whose loss or gradient was not finite, or 0.
    """

    def __init__(
        self,
        model: Sequential,
        batches: Batches,
        loss: Loss,
        optimizer: Optimizer,
        workers: Workers | None = None,
    ) -> None:
        be = model.backend
        self.model, self.batches, self.loss, self.optimizer = model, batches, loss, optimizer
        self.workers = workers
        self.totals = be.zeros((2,), np.float64)
        self.flag = be.zeros((1,), np.int64)
        width = len(optimizer.rates(1, optimizer.lr))
        self.table, self.rates = be.zeros((len(batches), width)), be.zeros((width,))
        self.counter = be.zeros((2,), np.int64)
        self.number = self.counter[1:]
        self.parameters = model.flat_parameters
        self.batch_size = min(batches.batch_size, batches.count)
        self.full, last = divmod(batches.count, self.batch_size)
        self.eager = why_eager(model, loss, optimizer) if be.records else None
        self.recorded = be.records and self.eager is None
        self.at_once = 1
        if self.recorded:
            work = 3 * model.summary().multiply_adds * self.batch_size
            self.at_once = be.steps_per_launch(work)
        self._full: Callable[[int], None] | None = self._steps_of(self.batch_size)
        self._last = self._steps_of(last, self._full) if last else None

    def begin_epoch(self, course: Course, index: int, done: int) -> None:
        """Go through an epoch from batch ``index`` on, ``done`` steps into the run."""
        self.check_place()
        be = self.model.backend
        self.batches.order[...] = be.asarray(course.order)
        with np.errstate(over="ignore"):  # an infinite rate shows in the weights
            self.table[...] = be.asarray(course.rates)
        self.counter[...] = be.asarray(np.array([index, done]))

    def close(self) -> None:
        """Let go of graphs and their memory, which would wait for the garbage collector."""
        self._full, self._last = None, None

    def check_place(self) -> None:
        """Raise SettingError if the model no longer lies where it is trained."""
        if self.workers is None and self.model.flat_parameters is not self.parameters:
            raise SettingError("the model was moved while it was trained")

    def do(self, index: int, most: int) -> int:
        """Do batch ``index`` and, as one launch if the device can, some after it; return how many.

        They are ``most`` or fewer. The caller counts: ``index`` must be where the steps are.
        """
        self.check_place()
        if index >= self.full:
            assert self._last is not None
            self._last(1)
            return 1
        assert self._full is not None
        times = min(self.at_once, self.full - index, most)
        self._full(times)
        return times

    def _steps_of(
        self, size: int, share_memory_with: Callable[[int], None] | None = None
    ) -> Callable[[int], None]:
        """Return a function that runs a number of steps with batches of ``size``."""
        be, batches = self.model.backend, self.batches
        indices, target = be.zeros((size,), np.int64), be.zeros((size,), np.int64)
        differentiate = self._gradients(size)

        def step() -> None:
            be.begin_step(
                self.counter,
                batches.order,
                batches.labels,
                self.table,
                indices,
                target,
                self.rates,
                self.batch_size,
            )
            differentiate(indices, target)
            parameters, grads = self.model.flat_parameters, self.model.flat_grads
            self.optimizer.step(be, parameters, grads, self.rates, self.flag)

        return be.capture(step, self.recorded, share_memory_with)

    # --- gradients: all ways of setting them add to ``totals`` and look out for what is not finite

    def _gradients(self, size: int) -> Callable[[Array, Array], None]:
        """Return what sets the gradients from the indices and the targets of ``size`` images."""
        if self.workers is not None:
            return partial(self._set_grads_by_workers, self.workers)
        # Only where steps are recorded: launched one by one, they are those of the layers.
        if self.recorded:
            model, be = self.model, self.model.backend
            fused = fuse_gradients(model.layers, self.loss, be, model.input_shape, size)
            if fused is not None:
                return partial(self._set_grads_at_once, fused)
        return self._set_grads_by_layers

    def _set_grads_by_layers(self, indices: Array, target: Array) -> None:
        x = self.batches.images_at(indices)
        self._check(set_grads(self.model, self.loss, x, target, self.totals))

    def _set_grads_by_workers(self, workers: Workers, indices: Array, target: Array) -> None:
        passes = int(self.number[0]) - 1
        self._check(workers.set_grads(self.batches, indices, target, passes, self.totals))

    def _check(self, loss: Array) -> None:
        self.model.backend.check_finite(self.flag, loss, self.model.flat_grads, self.number)

    def _set_grads_at_once(self, fused: FusedGradients, indices: Array, target: Array) -> None:
        model, batches = self.model, self.batches
        fused.set_grads(
            StepArrays(
                batches.images,
                indices,
                target,
                batches.scale,
                batches.shift,
                model.flat_parameters,
                model.flat_grads,
                self.totals,
                self.flag,
                self.number,
            )
        )


def why_eager(model: Sequential, loss: Loss, optimizer: Optimizer) -> str | None:
    """Return why steps cannot be recorded and repeated; None if they can.

    What is drawn or decided on the host would be the same at each repetition. Of layers that are
    not gpucnn's own nobody knows.
    """
    if type(model) is not Sequential:
        return f"the model ({type(model).__name__}) is not gpucnn's own"
    for name in ("forward", "backward"):
        if name in vars(model):
            return f"the model has a {name} of its own"
    for name, layer in model.layers.items():
        if not is_builtin(layer):
            return f"layer {name!r} ({type(layer).__name__}) is not gpucnn's own"
        if isinstance(layer, Dropout):
            return f"layer {name!r} draws its masks on the host"
    for thing in (loss, optimizer):
        if not is_builtin(thing):
            return f"{type(thing).__name__} is not gpucnn's own"
    return None
