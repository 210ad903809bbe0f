"""The figures of a run and the events that report them."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from gpucnn.data import Data
from gpucnn.training.batches import Batches
from gpucnn.training.checks import notes
from gpucnn.training.divergence import raise_if_failed
from gpucnn.training.event_types import EpochEnded, Reason, RunStarted, StepEnded, Stopped
from gpucnn.training.state import Result, RunState
from gpucnn.training.steps import Steps
from gpucnn.training.task import FIGURES, PARTS
from gpucnn.version import __version__


class Reports:
    """Makes the events of a run, and measures its speed.

    Args:
        data: what the run was given.
        steps: its steps; ``steps.batches`` are the training images.
        validation: its validation images, held out or of the data set.
        state: the progress of the run.
    """

    finished_step = 0
    """The last step that the device is known to have finished."""

    def __init__(
        self, data: Data, steps: Steps, validation: Batches | None, state: RunState
    ) -> None:
        self.data, self.steps, self.state = data, steps, state
        self.train, self.validation = steps.batches, validation
        self.notes = notes(data, state.settings)

    def begin_epoch(self, lrs: list[float]) -> None:
        """Begin to measure an epoch; ``lrs`` are the learning rates of its steps."""
        self.lrs = lrs
        self.began, self.images_before = time.perf_counter(), self._images()

    def end_training(self) -> None:
        """Keep the epoch's training figures when its steps are done; waits for the device."""
        self.wait()
        self.training = self.train.metrics(self._totals(), self.steps.loss)
        self.seconds, self.speed = time.perf_counter() - self.began, self._images_per_second()
        feed = self.steps.feed
        self.reading = (None, None) if feed is None else (feed.waited, feed.speed)

    def wait(self) -> None:
        """Wait for the device; DivergedError if a step failed."""
        self.steps.check_model()
        failed_step = int(self.train.model.backend.to_numpy(self.steps.arrays.failed_step)[0])
        self.finished_step = self._step()
        raise_if_failed(failed_step, self.train, self.steps.loss)

    def suspects(self) -> str:
        """Return to which steps an error of the device may belong, which is reported late."""
        if self.state.index == len(self.train) and self.finished_step == self._step():
            return f"in the evaluation after step {self._step()}"
        first, last = self.finished_step + 1, self._step() + self.steps.per_launch
        last = min(last, (self.state.epoch + 1) * len(self.train))
        return f"in step {last}" if first >= last else f"in one of the steps {first} to {last}"

    def started(self) -> RunStarted:
        """Return the event with which the run begins."""
        model = self.train.model
        be = model.backend
        return RunStarted(
            step=self._step(),
            version=__version__,
            backend=be.name,
            dtype=str(be.dtype),
            precision=be.precision,
            data=self.data.name,
            classes=len(self.data.classes),
            train_images=self.train.count,
            validation_images=self.validation.count if self.validation else 0,
            test_images=len(self.data.test),
            parameters=model.size,
            steps_per_epoch=len(self.train),
            eager=self.steps.eager,
            notes=self.notes,
            settings=self.state.settings.as_dict(),
            targets=self.data.targets,
        )

    def step_ended(self) -> StepEnded:
        """Return the event of the step that was done last."""
        return StepEnded(
            step=self._step(),
            epoch=self.state.epoch + 1,
            images=self._images(),
            images_per_second=self._images_per_second(),
            lr=self.lrs[self.state.index - 1],
            metrics=self._metrics,
        )

    def epoch_ended(self, test: Result, validation: Result | None) -> EpochEnded:
        """Return the event of the epoch that the state has counted last."""
        figures: dict[str, float | None] = {
            f"{part}_{name}": None for part in PARTS for name in FIGURES
        }
        for part, result in zip(PARTS, (self.training, validation, test), strict=True):
            if result is not None:
                figures |= {f"{part}_{name}": value for name, value in result.figures.items()}
        waited, read_per_second = self.reading
        return EpochEnded(
            step=self._step(),
            epoch=self.state.epoch,
            lr=self.lrs[-1],
            seconds=self.seconds,
            images_per_second=self.speed,
            waited=waited,
            read_per_second=read_per_second,
            **figures,  # type: ignore[arg-type]
        )

    def stopped(self, reason: Reason) -> Stopped:
        """Return the event with which the run ends."""
        figures = self.state.test_figures(interrupted=reason == "interrupted")
        return Stopped(
            step=self._step(),
            epoch=self.state.epoch,
            reason=reason,
            best_epoch=self.state.best["epoch"] if self.state.best else None,
            **{f"test_{name}": figures.get(f"test_{name}") for name in FIGURES},
        )

    def _step(self) -> int:
        return self.state.steps_done(len(self.train))

    def _images(self) -> int:
        """Return how many of the epoch's images have been seen."""
        return min(self.state.index * self.train.batch_size, self.train.count)

    def _images_per_second(self) -> float:
        """Return the speed since the epoch began in this process."""
        return (self._images() - self.images_before) / (time.perf_counter() - self.began)

    def _metrics(self) -> tuple[float, float]:
        """Return the epoch's mean loss and main figure so far; waits for the device."""
        self.wait()
        seen = max(self._images(), 1)
        return self.train.metrics_so_far(self._totals(), self.steps.loss, seen)

    def _totals(self) -> NDArray[np.float64]:
        totals: NDArray[np.float64] = self.train.model.backend.to_numpy(self.steps.arrays.totals)
        return totals
