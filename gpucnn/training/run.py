"""A training run and its state, from the first step to the last."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, cast

import numpy as np

from gpucnn.config import is_builtin
from gpucnn.data import Data
from gpucnn.errors import CheckpointError, DivergedError, SettingError, ShapeError, WorkerError
from gpucnn.nn.layers import Sigmoid, Softmax
from gpucnn.nn.losses import BCELoss
from gpucnn.nn.sequential import Sequential
from gpucnn.rng import epoch_order
from gpucnn.training.checkpoint import Checkpoint, differences, save
from gpucnn.training.evaluation import BATCH_SIZE, Batches, Evaluation
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
from gpucnn.training.steps import Course, Steps
from gpucnn.training.workers import Workers
from gpucnn.version import __version__

PathLike = str | os.PathLike[str]


class Run:
    """A training run: what ``fit`` goes through, and what a checkpoint holds of it."""

    def __init__(
        self,
        model: Sequential,
        data: Data,
        settings: Settings,
        path: PathLike | None,
        every: int | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        if data.input_shape != model.input_shape:
            raise ShapeError(
                f"the pictures are {data.input_shape}, the model takes {model.input_shape}"
            )
        if len(model.output_shape) != 1 or model.output_shape[0] < len(data.classes):
            raise ShapeError(
                f"the model's output is {model.output_shape}, the data has {len(data.classes)} "
                "classes"
            )
        if not model.size:
            raise SettingError("the model has no parameters to train")
        last = list(model.layers.values())[-1]
        if isinstance(settings.loss, BCELoss) and not isinstance(last, Sigmoid | Softmax):
            raise SettingError("BCELoss takes probabilities: end the model in a Sigmoid")
        self.model, self.data, self.settings = model, data, settings
        self.path, self.every = path, every
        self.should_stop = should_stop or (lambda: False)
        train, held_out = data, None
        if settings.validation:
            train, held_out = data.hold_out(settings.validation, settings.seed)
        model.normalization, model.classes = train.statistics(), data.classes
        model.output = settings.loss.output

        self.train = Batches(model, train.train, settings.batch_size)
        self.test = Batches(model, data.test, BATCH_SIZE)
        self.held_out = Batches(model, held_out, BATCH_SIZE) if held_out else None
        self.workers: Workers | None = None
        if settings.workers > 1:
            most = min(settings.batch_size, self.train.count)
            self.workers = Workers(model, settings.loss, settings.seed, settings.workers, most)
        settings.optimizer.reset(model.backend, model.size)
        self.steps = Steps(model, self.train, settings.loss, settings.optimizer, self.workers)
        model.seed_dropout(settings.seed, 0)

        self.next_course: Course | None = None  # the next epoch's, if it is worked out already
        self.rates: list[float] = []  # of the epoch's steps
        self.epoch = 0  # completed
        self.index = 0  # batches done of the next one
        self.last: dict[str, float] | None = None  # the last completed epoch's test figures
        self.best: dict[str, Any] | None = None
        self.best_parameters: dict[str, Any] = {}

    @property
    def step(self) -> int:
        """Steps done since the beginning of the run."""
        return self.epoch * len(self.train) + self.index

    # --- what happens ---------------------------------------------------------------------------

    def events(self) -> Iterator[Event]:
        """Train from where the run is to its end."""
        produced = self._events() if self.workers is None else self._events_with(self.workers)
        try:
            with closing(produced):
                while True:
                    with self.model.backend.limit_threads():  # not while the caller has an event
                        event = next(produced, None)
                    if event is None:
                        return
                    yield event
        finally:
            self.steps.close()

    def _events_with(self, workers: Workers) -> Generator[Event, None, None]:
        try:
            workers.start()
            try:
                yield from self._events()
            except WorkerError as error:
                yield from self._save()  # as it was before the step
                saved = "" if self.path is None else f", saved in {os.fspath(self.path)}"
                raise WorkerError(f"{error}: stopped behind step {self.step}{saved}") from error
        finally:
            workers.close()

    def _events(self) -> Generator[Event, None, None]:
        yield self._started()
        yield from self._save()
        while self.epoch < self.settings.epochs and not self._stale():
            if (yield from self._train_epoch()):
                yield from self._save()
                yield self._stopped("interrupted")
                return
            yield self._end_epoch()
            yield from self._save()
        if self.settings.keep_best and self.best is not None:
            self.model.load_state_dict(self.best_parameters)
            yield from self._save()
        yield self._stopped("early stopping" if self._stale() else "finished")

    def _train_epoch(self) -> Generator[Event, None, bool]:
        """Do the rest of an epoch's steps; return whether the run was asked to stop."""
        self._begin_epoch()
        while self.index < len(self.train):
            most = self.every - self.step % self.every if self.every else len(self.train)
            with np.errstate(all="ignore"):  # what overflows is reported as DivergedError
                self.index += self.steps.do(self.index, most)
            if not self.model.backend.asynchronous:
                self._raise_if_diverged()
            yield StepEnded(
                step=self.step,
                epoch=self.epoch + 1,
                images=self._images(),
                images_per_second=self._speed(),
                lr=self.rates[self.index - 1],
                metrics=self._metrics,
            )
            if self.should_stop():
                return True
            if self.every and self.step % self.every == 0 and self.index < len(self.train):
                yield from self._save()
        # While the device works; a schedule of the user's own may change when the epoch has ended.
        ahead = self.model.backend.asynchronous and is_builtin(self.settings.schedule)
        if ahead and self.epoch + 1 < self.settings.epochs:
            self.next_course = self._course(self.epoch + 1)
        return False

    def _begin_epoch(self) -> None:
        course, self.next_course = self.next_course or self._course(self.epoch), None
        self.steps.begin_epoch(course, self.index, self.step)
        self.rates = course.lr
        self.began, self.images_before = time.perf_counter(), self._images()

    def _course(self, epoch: int) -> Course:
        """Return the order of an epoch's images, and its steps' rates."""
        settings, first = self.settings, epoch * len(self.train) + 1
        steps = range(first, first + len(self.train))
        lr = [self._lr(step) for step in steps]
        rates = [settings.optimizer.rates(*each) for each in zip(steps, lr, strict=True)]
        return Course(epoch_order(settings.seed, epoch, self.train.count), lr, np.array(rates))

    def _raise_if_diverged(self) -> None:
        """Raise DivergedError if a step met what is not finite; the weights are those before it."""
        self.steps.check_place()
        step = int(self.model.backend.to_numpy(self.steps.flag)[0])
        if step:
            index = (step - 1) % len(self.train)
            where = f"epoch {(step - 1) // len(self.train) + 1}, step {step}"
            with np.errstate(all="ignore"):
                what = self._diagnosis(index)
            raise DivergedError(f"{where}: {what}; a lower learning rate may help")

    def _end_epoch(self) -> EpochEnded:
        # Waits for the epoch's end on a device, and looks for a step that failed: before weights
        # that one made infinite are blamed on the last.
        train_loss, train_accuracy = self._metrics()
        seconds, images_per_second = time.perf_counter() - self.began, self._speed()
        self._raise_if_overflown()
        loss = self.settings.loss
        with np.errstate(all="ignore"):
            test = self.test.evaluate(loss)
            held_out = self.held_out.evaluate(loss) if self.held_out else None
        self.epoch, self.index = self.epoch + 1, 0
        self.steps.totals[...] = 0
        self.last = {"test_loss": test.loss, "test_accuracy": test.accuracy}
        if held_out is not None:
            self._compare(held_out)
        return EpochEnded(
            step=self.step,
            epoch=self.epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            validation_loss=held_out.loss if held_out else None,
            validation_accuracy=held_out.accuracy if held_out else None,
            lr=self.rates[-1],
            seconds=seconds,
            images_per_second=images_per_second,
        )

    def _compare(self, held_out: Evaluation) -> None:
        """Remember the epoch if it is the best so far on the held-out images."""
        figures = [held_out.accuracy, -held_out.loss]
        if self.best is None or figures > self.best["figures"]:
            self.best = {"epoch": self.epoch, "figures": figures, "test": self.last}
            if self.settings.keep_best:
                self.best_parameters = self.model.state_dict()

    def _stale(self) -> bool:
        """Return whether as many epochs as early stopping allows have passed since the best."""
        patience = self.settings.early_stopping
        if patience is None or self.best is None:
            return False
        return bool(self.epoch - self.best["epoch"] >= patience)

    def _raise_if_overflown(self) -> None:
        """Raise DivergedError if finite gradients made weights that are not; nothing is saved."""
        be = self.model.backend
        if be.all_finite(self.model.flat_parameters):
            return
        for name, parameter in self.model.named_parameters():
            if not be.all_finite(parameter.data):
                raise DivergedError(
                    f"step {self.step}: the update made {name!r} infinite; "
                    "a lower learning rate may help"
                )

    def _diagnosis(self, index: int) -> str:
        """Say which layer the first value of a batch that is not finite comes from."""
        model, be = self.model, self.model.backend
        first, target = self.train.batch(index)
        x = first
        for name, layer in model.layers.items():
            x, _ = layer.forward(be, x)
            if not be.all_finite(x):
                return f"the output of layer {name!r} is not finite"
        scores, saved = model.forward(first, training=True)
        model.backward(self.settings.loss.backward(be, scores, target), saved)
        for name, parameter in reversed(list(model.named_parameters())):
            if not be.all_finite(parameter.grad):
                return f"the gradient of {name!r} is not finite"
        return "the loss is not finite"

    def _lr(self, step: int) -> float:
        """Return the rate of a step, from 1 on."""
        progress = (step - 1) / (self.settings.epochs * len(self.train))
        return self.settings.optimizer.lr * self.settings.schedule.factor(progress)

    def _images(self) -> int:
        """Return how many of the epoch's images have been seen."""
        return min(self.index * self.train.batch_size, self.train.count)

    def _speed(self) -> float:
        """Return the images a second of this process's part of the epoch."""
        return (self._images() - self.images_before) / (time.perf_counter() - self.began)

    def _metrics(self) -> tuple[float, float]:
        """Return the epoch's mean loss and accuracy so far; waits for the device."""
        self._raise_if_diverged()
        loss, correct = self.model.backend.to_numpy(self.steps.totals)
        seen = max(self._images(), 1)
        return float(loss) / seen, float(correct) / seen

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
            validation_images=self.held_out.count if self.held_out else 0,
            test_images=self.test.count,
            parameters=self.model.size,
            steps_per_epoch=len(self.train),
            eager=self.steps.eager,
            settings=self.settings.as_dict(),
        )

    def _stopped(self, reason: Reason) -> Stopped:
        kept = self.settings.keep_best and reason != "interrupted" and self.best is not None
        figures = (self.best["test"] if self.best and kept else self.last) or {}
        if self.index:  # the weights have changed since an epoch's end
            figures = {}
        return Stopped(
            step=self.step,
            epoch=self.epoch,
            reason=reason,
            best_epoch=self.best["epoch"] if self.best else None,
            test_loss=figures.get("test_loss"),
            test_accuracy=figures.get("test_accuracy"),
        )

    # --- what a checkpoint holds ----------------------------------------------------------------

    def _save(self) -> Iterator[Event]:
        self._raise_if_diverged()
        self._raise_if_overflown()
        if self.path is not None:
            save(self.path, self.checkpoint())
            yield CheckpointWritten(self.step, self.epoch, os.fspath(self.path))

    def checkpoint(self) -> Checkpoint:
        """Return everything that is needed to go on from here, but the data."""
        be, optimizer = self.model.backend, self.settings.optimizer
        arrays = {f"parameters/{name}": a for name, a in self.model.state_dict().items()}
        arrays |= {f"optimizer/{name}": be.to_numpy(a) for name, a in optimizer.state.items()}
        arrays |= {f"best/{name}": a for name, a in self.best_parameters.items()}
        arrays["totals"] = be.to_numpy(self.steps.totals)
        return Checkpoint(
            {
                **self._identity(),
                "gpucnn": __version__,
                "normalization": self.model.normalization,
                "epoch": self.epoch,
                "index": self.index,
                "last": self.last,
                "best": self.best,
            },
            arrays,
        )

    def _identity(self) -> dict[str, Any]:
        """Return what must be the same for a run to be resumed, as JSON would give it back."""
        identity = {
            "model": self.model.config(),
            "data": {
                "name": self.data.name,
                "builtin": self.data.builtin,
                "fingerprint": self.data.fingerprint(),
            },
            "classes": self.data.classes,
            "settings": self.settings.as_dict(),
            "dtype": str(self.model.backend.dtype),
            "precision": self.model.backend.precision,
        }
        return cast(dict[str, Any], json.loads(json.dumps(identity)))

    def restore(self, saved: Checkpoint) -> None:
        """Take the run up where ``saved`` left it; CheckpointError if it is of another run."""
        state, be = saved.metadata, self.model.backend
        state["settings"].setdefault("workers", 1)  # written before there were any
        state.setdefault("precision", "ieee")  # written before there was another
        faults = list(differences(self._identity(), state))
        if faults:
            raise CheckpointError("the checkpoint is of another run: " + "; ".join(faults))
        self.model.load_state_dict(saved.group("parameters"))
        for name, values in saved.group("optimizer").items():
            self.settings.optimizer.state[name][...] = be.asarray(values)
        self.steps.totals[...] = be.asarray(saved.arrays["totals"], np.float64)
        self.best_parameters = saved.group("best")
        self.best, self.last = state["best"], state["last"]
        self.epoch, self.index = state["epoch"], state["index"]
        self.model.seed_dropout(self.settings.seed, self.step)
