"""A training run: the loop over epochs and steps, from the first event to the last."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager

import numpy as np

from gpucnn.backends import device_error
from gpucnn.config import is_builtin
from gpucnn.data import Data
from gpucnn.data.digests import remarks, seen_digests
from gpucnn.errors import BackendError, SettingError, ShapeError, WorkerError
from gpucnn.nn.layers import Sigmoid, Softmax
from gpucnn.nn.losses import BCELoss
from gpucnn.nn.sequential import Sequential
from gpucnn.training.batches import Batches, divide
from gpucnn.training.checkpoint import Checkpoint, save
from gpucnn.training.divergence import raise_if_failed, raise_if_overflowed
from gpucnn.training.evaluation import BATCH_SIZE, evaluate_batches
from gpucnn.training.event_types import (
    CheckpointWritten,
    EpochEnded,
    Event,
    Reason,
    RunStarted,
    StepEnded,
    Stopped,
)
from gpucnn.training.settings import Settings
from gpucnn.training.state import RunState
from gpucnn.training.steps import EpochPlan, Steps, plan_epoch
from gpucnn.training.workers import Workers
from gpucnn.version import __version__

PathLike = str | os.PathLike[str]


class Run:
    """A training run; ``events`` runs it. The arguments are those of ``fit``."""

    def __init__(
        self,
        model: Sequential,
        data: Data,
        settings: Settings,
        path: PathLike | None = None,
        every: int | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        _check_that_they_fit(model, data, settings)
        self.model, self.data, self.settings = model, data, settings
        self.path, self.every = path, every
        self.should_stop = should_stop or (lambda: False)
        rest, validation = data, data.validation
        if settings.validation and validation is None:
            rest, validation = data.hold_out(settings.validation, settings.seed)
        model.normalization, model.classes = rest.statistics(), data.classes
        model.output = settings.loss.output
        model.seen = seen_digests(data, model.seen)

        self.train = Batches(model, rest.train, settings.batch_size)
        self.test = Batches(model, data.test, BATCH_SIZE)
        self.validation = Batches(model, validation, BATCH_SIZE) if validation else None
        for batches, kind in (
            (self.train, "training"),
            (self.test, "test"),
            (self.validation, "validation"),
        ):
            if batches is not None:
                batches.check_weight(settings.loss, f"{kind} images")
        self.workers: Workers | None = None
        if settings.workers > 1:
            batch = self.train.batch_size
            self.workers = Workers(model, settings.loss, settings.seed, settings.workers, batch)
        settings.optimizer.reset(model.backend, model.size)
        self.steps = Steps(self.train, settings.loss, settings.optimizer, self.workers)
        self.state = RunState(model, data, settings, self.steps.arrays.totals)
        model.seed_dropout(settings.seed, 0)

        self.notes = _notes(data, settings)
        self.next_plan: EpochPlan | None = None  # of the next epoch, if it was made in advance
        self.lrs: list[float] = []  # of the epoch's steps
        self.finished_step = 0  # the last step that the device is known to have finished
        self.saved_step: int | None = None  # of the last checkpoint

    @property
    def step(self) -> int:
        """Steps done since the beginning of the run."""
        return self.state.epoch * len(self.train) + self.state.index

    def restore(self, saved: Checkpoint) -> None:
        """Continue from ``saved``; CheckpointError if it is not a checkpoint of the same run."""
        self.state.restore(saved, len(self.train))
        self.model.seed_dropout(self.settings.seed, self.step)
        self.finished_step = self.step

    # --- the loop -------------------------------------------------------------------------------

    def events(self) -> Generator[Event, None, None]:
        """Train to the end and yield what happens."""
        run = self._run()
        with closing(run):
            while True:
                with self.model.backend.limit_threads():  # not while the caller has an event
                    event = next(run, None)
                if event is None:
                    return
                yield event

    def _run(self) -> Generator[Event, None, None]:
        with self._resources():
            try:
                yield from self._train()
            except WorkerError as error:
                yield from self._save()  # the weights are those before the step
                saved = "" if self.path is None else f"; checkpoint saved to {self.path}"
                raise WorkerError(f"{error}: stopped after step {self.step}{saved}") from error
            except Exception as error:
                fault = device_error(error)
                if fault is None:
                    raise
                raise BackendError(f"{fault} ({self._suspects()}){self._kept()}") from error

    def _suspects(self) -> str:
        """Return to which steps an error of the device may belong, which is reported late."""
        if self.state.index == len(self.train) and self.finished_step == self.step:
            return f"in the evaluation after step {self.step}"
        first, last = self.finished_step + 1, self.step + self.steps.per_launch
        last = min(last, (self.state.epoch + 1) * len(self.train))
        return f"in step {last}" if first >= last else f"in one of the steps {first} to {last}"

    def _kept(self) -> str:
        """Return which checkpoint there is, as the end of a message."""
        if self.saved_step is None:
            return ""
        return f"; the checkpoint of step {self.saved_step} is kept in {self.path}"

    @contextmanager
    def _resources(self) -> Iterator[None]:
        """Hold what a run needs while it lasts: worker processes and captured steps."""
        try:
            if self.workers is not None:
                self.workers.start()
            yield
        finally:
            if self.workers is not None:
                self.workers.close()
            self.steps.close()

    def _train(self) -> Iterator[Event]:
        state = self.state
        yield self._started()
        yield from self._save()
        while state.epoch < self.settings.epochs and not state.out_of_patience():
            if (yield from self._train_epoch()):
                yield from self._save()
                yield self._stopped("interrupted")
                return
            try:
                ended = self._end_epoch()
            except KeyboardInterrupt:  # while images are evaluated
                if not self.should_stop():
                    raise
                yield from self._save()  # all steps of the epoch are done; a resume evaluates
                yield self._stopped("interrupted")
                return
            yield ended
            yield from self._save()
        if state.ends_with_best():
            self.model.load_state_dict(state.best_parameters)
            yield from self._save()
        yield self._stopped("early stopping" if state.out_of_patience() else "finished")

    def _train_epoch(self) -> Generator[Event, None, bool]:
        """Run the rest of an epoch's steps; return whether the run was asked to stop."""
        self._begin_epoch()
        state, asynchronous = self.state, self.model.backend.asynchronous
        while state.index < len(self.train):
            limit = self.every - self.step % self.every if self.every else len(self.train)
            with np.errstate(all="ignore"):  # NaN and infinity are reported as DivergedError
                state.index += self.steps.run(state.index, limit)
            if not asynchronous:
                self._raise_if_diverged()
            yield self._step_ended()
            if self.should_stop():
                return True
            # The end of an epoch writes a checkpoint anyway.
            if self.every and self.step % self.every == 0 and state.index < len(self.train):
                yield from self._save()
        # Plan ahead while the device works; a custom schedule may change until the epoch ends.
        plan_ahead = asynchronous and is_builtin(self.settings.schedule)
        if plan_ahead and state.epoch + 1 < self.settings.epochs:
            self.next_plan = self._plan(state.epoch + 1)
        return False

    def _begin_epoch(self) -> None:
        plan, self.next_plan = self.next_plan or self._plan(self.state.epoch), None
        self.steps.begin_epoch(plan, self.state.index, self.step)
        self.lrs = plan.lrs
        self.began, self.images_before = time.perf_counter(), self._images()

    def _plan(self, epoch: int) -> EpochPlan:
        return plan_epoch(self.settings, epoch, self.train.count, len(self.train))

    def _end_epoch(self) -> EpochEnded:
        # Waits for the device, and raises if a step failed: before _save looks at the weights.
        train_loss, train_accuracy = self._metrics()
        seconds, speed = time.perf_counter() - self.began, self._images_per_second()
        raise_if_overflowed(self.model, self.step)
        loss, validation = self.settings.loss, None
        test = evaluate_batches(self.test, loss)
        if self.validation is not None:
            validation = evaluate_batches(self.validation, loss)
        self.state.end_epoch(test, validation)
        return EpochEnded(
            step=self.step,
            epoch=self.state.epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            validation_loss=validation.loss if validation else None,
            validation_accuracy=validation.accuracy if validation else None,
            lr=self.lrs[-1],
            seconds=seconds,
            images_per_second=speed,
        )

    def _save(self) -> Iterator[Event]:
        self._raise_if_diverged()
        raise_if_overflowed(self.model, self.step)
        if self.path is not None:
            save(self.path, self.state.checkpoint())
            self.saved_step = self.step
            yield CheckpointWritten(self.step, self.state.epoch, os.fspath(self.path))

    def _raise_if_diverged(self) -> None:
        """Raise DivergedError if a step failed; waits for the device."""
        self.steps.check_model()
        failed_step = int(self.model.backend.to_numpy(self.steps.arrays.failed_step)[0])
        self.finished_step = self.step
        raise_if_failed(failed_step, self.train, self.settings.loss)

    # --- what events report ---------------------------------------------------------------------

    def _images(self) -> int:
        """Return how many of the epoch's images have been seen."""
        return min(self.state.index * self.train.batch_size, self.train.count)

    def _images_per_second(self) -> float:
        """Return the speed since the epoch began in this process."""
        return (self._images() - self.images_before) / (time.perf_counter() - self.began)

    def _metrics(self) -> tuple[float, float]:
        """Return the epoch's mean loss and accuracy so far; waits for the device."""
        self._raise_if_diverged()
        loss, correct = self.model.backend.to_numpy(self.steps.arrays.totals)
        seen = max(self._images(), 1)
        weight = self.train.weigh(self.settings.loss, seen)
        return divide(float(loss), weight), float(correct) / seen

    def _started(self) -> RunStarted:
        be = self.model.backend
        return RunStarted(
            step=self.step,
            version=__version__,
            backend=be.name,
            dtype=str(be.dtype),
            precision=be.precision,
            data=self.data.name,
            classes=len(self.data.classes),
            train_images=self.train.count,
            validation_images=self.validation.count if self.validation else 0,
            test_images=self.test.count,
            parameters=self.model.size,
            steps_per_epoch=len(self.train),
            eager=self.steps.eager,
            notes=self.notes,
            settings=self.settings.as_dict(),
        )

    def _step_ended(self) -> StepEnded:
        return StepEnded(
            step=self.step,
            epoch=self.state.epoch + 1,
            images=self._images(),
            images_per_second=self._images_per_second(),
            lr=self.lrs[self.state.index - 1],
            metrics=self._metrics,
        )

    def _stopped(self, reason: Reason) -> Stopped:
        figures = self.state.test_figures(interrupted=reason == "interrupted")
        return Stopped(
            step=self.step,
            epoch=self.state.epoch,
            reason=reason,
            best_epoch=self.state.best["epoch"] if self.state.best else None,
            test_loss=figures.get("test_loss"),
            test_accuracy=figures.get("test_accuracy"),
        )


def _check_that_they_fit(model: Sequential, data: Data, settings: Settings) -> None:
    """Raise ShapeError or SettingError unless the model can be trained on the data."""
    if not isinstance(data, Data):
        raise SettingError(
            f"data must be a gpucnn.Data, for example gpucnn.data.mnist(); "
            f"got {type(data).__name__}"
        )
    if data.input_shape != model.input_shape:
        raise ShapeError(f"the images are {data.input_shape}, the model takes {model.input_shape}")
    if len(model.output_shape) != 1 or model.output_shape[0] < len(data.classes):
        raise ShapeError(
            f"the model's output is {model.output_shape}, the data has {len(data.classes)} classes"
        )
    if not model.size:
        raise SettingError("the model has no parameters to train")
    settings.loss.check_outputs(model.output_shape[0])
    if (settings.early_stopping or settings.keep_best) and not (
        settings.validation or data.validation
    ):
        raise SettingError(
            "early_stopping and keep_best need validation images: set validation to the number of "
            "training images to hold out, for example validation=5000"
        )
    last = list(model.layers.values())[-1]
    if isinstance(settings.loss, BCELoss) and not isinstance(last, Sigmoid | Softmax):
        raise SettingError(
            "BCELoss needs probabilities: end the model in Sigmoid(), or use BCEWithLogitsLoss()"
        )


def _notes(data: Data, settings: Settings) -> tuple[str, ...]:
    """Return what should be known before training, without what reading the data has reported."""
    notes = remarks(data)
    if data.validation is not None and settings.validation:
        notes = (
            "the data set has validation images of its own, so no training images are held out",
            *notes,
        )
    return tuple(note for note in notes if note not in data.notes)
