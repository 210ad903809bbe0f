"""The learning-rate finder: the loss of steps whose learning rate rises from tiny to too large."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend
from gpucnn.config import check_integer, check_number, override
from gpucnn.data import Data
from gpucnn.errors import DivergedError, SettingError
from gpucnn.nn.sequential import Sequential
from gpucnn.nn.tables import text_table
from gpucnn.training.batches import Batches, divide
from gpucnn.training.checks import check_fit, fit_to
from gpucnn.training.settings import Overrides, Settings, settle
from gpucnn.training.steps import EpochPlan, Steps

SMOOTHING = 0.95
"""Decay of the moving average of losses."""

FIRST = 10
"""Steps whose average is still of few losses: they are not judged."""

DIVERGED = 4.0
"""The sweep ends where the average exceeds its least value by this factor."""

_ROWS = 12  # of a printed table


@dataclass(frozen=True, repr=False)
class LearningRates:
    """The result of ``find_lr``; printed, it is a table.

    Attributes:
        rates: the learning rate of each step that was done.
        losses: the mean loss of each step's batch, before its update.
        smoothed: their moving average, corrected for its start as in Adam.
        suggestion: the rate at which the average falls fastest, by the logarithm of the rate; None
            if it never falls.
        diverged: whether the sweep ended before its last rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    diverged: bool

    @property
    def lowest(self) -> int:
        """The index of the least average, among those that are judged."""
        first = min(FIRST, len(self.smoothed) - 1)
        return first + int(np.argmin(self.smoothed[first:]))

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return asdict(self)

    def rows(self) -> list[list[str]]:
        """Return a table of some steps: rate, loss and average."""
        chosen = np.linspace(0, len(self.rates) - 1, min(_ROWS, len(self.rates))).round()
        return [
            [f"{self.rates[i]:.2g}", f"{self.losses[i]:.4f}", f"{self.smoothed[i]:.4f}"]
            for i in chosen.astype(int)
        ]

    def __repr__(self) -> str:
        table = text_table(["learning rate", "loss", "smoothed"], self.rows())
        return f"{table}\n{self.summary()}"

    def summary(self) -> str:
        """Return what was found, in one line."""
        if self.suggestion is None:
            return "no suggestion: the loss does not fall at any learning rate"
        end = f", diverges at {self.rates[-1]:.2g}" if self.diverged else ""
        return (
            f"suggested learning rate: {self.suggestion:.2g} (the loss falls fastest; "
            f"lowest at {self.rates[self.lowest]:.2g}{end})"
        )


def find_lr(
    model: Sequential,
    data: Data,
    *,
    settings: Settings | None = None,
    backend: str | Backend | None = None,
    lowest: float = 1e-5,
    highest: float = 10.0,
    steps: int = 200,
    **overrides: Unpack[Overrides],
) -> LearningRates:
    """Train for some steps with a rising learning rate, and suggest one (Smith, arXiv:1506.01186).

    The rate is multiplied by the same factor after each step. The sweep ends early where the loss
    is NaN or infinite, or its average four times its least value. The model has its weights again
    afterwards. The result follows from the arguments alone.

    The suggestion is the largest rate of a schedule, for SGD often somewhat low: rates up to where
    the average is lowest can be tried. Validation images, moving averages and mixup play no part,
    and one process computes.

    Args:
        model: the network, with the weights to start from.
        data: its training images are used.
        settings: batch size, optimizer, loss, seed and ``clip_grad_norm``, as in ``fit``.
        backend: as in ``fit``.
        lowest: the first learning rate, above 0.
        highest: the last one, above ``lowest``.
        steps: number of steps, at least 20; more than an epoch has continue with the next.
        **overrides: fields of ``Settings`` with other values than in ``settings``.

    Raises:
        SettingError: an argument is outside its range.
        ShapeError: the model does not take the images, or has too few outputs for the classes.
        DivergedError: the loss of the first step is NaN or infinite.

    Example:
        >>> data, model = gpucnn.data.mnist().limit(2000), gpucnn.models.mlp(seed=0)
        >>> found = gpucnn.training.find_lr(model, data, optimizer=gpucnn.optim.SGD(momentum=0.9))
        >>> 0.003 < found.suggestion < 0.3
        True
    """
    chosen = _for_sweep(override(settings or Settings(), overrides), data)
    rates = _spaced(lowest, highest, steps)
    check_fit(model, data, chosen)
    if backend is not None:
        model.to(backend)
    with _unchanged(model):
        fit_to(model, data)
        with (
            closing(_losses(model, data, chosen, rates)) as sweep,
            model.backend.limit_threads(),
            np.errstate(all="ignore"),
        ):
            return _judge(rates, sweep)


def _for_sweep(settings: Settings, data: Data) -> Settings:
    """Return the settings with a loss that fits the labels, and without what plays no part."""
    chosen = settle(settings, isinstance(data, Data) and data.is_regression)
    return replace(
        chosen, optimizer=copy.copy(chosen.optimizer), validation=0, early_stopping=None,
        keep_best=False, ema=0.0, mixup=0.0, workers=1,
    )  # fmt: skip


def _spaced(lowest: float, highest: float, steps: int) -> NDArray[np.float64]:
    """Return the learning rates of the steps; SettingError if an argument is outside its range."""
    steps = check_integer("steps", steps, 2 * FIRST)
    lowest, highest = check_number("lowest", lowest, 0.0), check_number("highest", highest, 0.0)
    if not 0 < lowest < highest:
        raise SettingError(
            f"lowest and highest must be learning rates with 0 < lowest < highest, got {lowest:g} "
            f"and {highest:g}"
        )
    return np.geomspace(lowest, highest, steps)


@contextmanager
def _unchanged(model: Sequential) -> Iterator[None]:
    """Give the model back its weights, buffers and attributes at the end of the block."""
    weights, attributes = model.state_dict(), dict(vars(model))
    try:
        yield
    finally:
        model.load_state_dict(weights)
        vars(model).clear()
        vars(model).update(attributes)


def _losses(
    model: Sequential, data: Data, settings: Settings, rates: NDArray[np.float64]
) -> Generator[float, None, None]:
    """Do a step with each of the rates, and yield its loss: NaN or infinity where it failed."""
    be, optimizer = model.backend, settings.optimizer
    batches = Batches(model, data.train, settings.batch_size)
    batches.check_weight(settings.loss, "training images")
    optimizer.reset(be, model.flat_size)
    runner = Steps(batches, settings)
    try:
        for done in range(len(rates)):
            epoch, index = divmod(done, len(batches))
            if index == 0:
                runner.begin_epoch(_plan(settings, rates, epoch, batches), 0, done)
            runner.arrays.totals[...] = 0
            runner.run(index, 1)
            yield _mean_loss(runner, index)
    finally:
        runner.close()


def _plan(
    settings: Settings, rates: NDArray[np.float64], epoch: int, batches: Batches
) -> EpochPlan:
    """Return the plan of an epoch of the sweep; steps after its end have the last rate."""
    first = epoch * len(batches)
    numbers = range(first, first + len(batches))
    lrs = [float(rates[min(number, len(rates) - 1)]) for number in numbers]
    rows = [settings.optimizer.rates(n, lr) for n, lr in enumerate(lrs, first + 1)]
    return EpochPlan(epoch, settings.seed, lrs, np.array(rows))


def _mean_loss(runner: Steps, index: int) -> float:
    """Return the mean loss of the batch that was trained on last; NaN if the step failed."""
    be, batches = runner.model.backend, runner.batches
    if int(be.to_numpy(runner.arrays.failed_step)[0]):
        return math.nan
    total = float(be.to_numpy(runner.arrays.totals)[0])
    rows = slice(index * batches.batch_size, (index + 1) * batches.batch_size)
    labels = be.to_numpy(be.gather_labels(batches.labels, batches.order[rows]))
    return divide(total, runner.loss.weigh(labels))


def _judge(rates: NDArray[np.float64], sweep: Iterator[float]) -> LearningRates:
    """Return the losses of the sweep until it diverges, their averages and what they suggest."""
    losses: list[float] = []
    averages: list[float] = []
    smoothed, diverged = 0.0, False
    for loss in sweep:
        if not math.isfinite(loss):
            diverged = True
            break
        losses.append(loss)
        smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * loss
        averages.append(smoothed / (1 - SMOOTHING ** len(losses)))
        if len(losses) > FIRST and averages[-1] > DIVERGED * min(averages[FIRST:]):
            diverged = True
            break
    if not losses:
        raise DivergedError(
            f"the loss of the first step, at a learning rate of {rates[0]:g}, is NaN or infinite: "
            "the model's weights or outputs cannot be trained"
        )
    done = tuple(map(float, rates[: len(losses)]))
    found = LearningRates(done, tuple(losses), tuple(averages), None, diverged)
    if found.lowest <= FIRST:
        return found
    # The steps are equal on a logarithmic axis, so differences are slopes.
    slopes = np.gradient(np.array(averages))[FIRST : found.lowest + 1]
    steepest = FIRST + int(np.argmin(slopes))
    return replace(found, suggestion=done[steepest]) if slopes.min() < 0 else found
