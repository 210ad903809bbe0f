"""A training run: the loop over epochs and steps, from the first event to the last."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import asdict
from math import nan

import numpy as np

from gpucnn.backends import device_error
from gpucnn.backends.contract import FusedGradients
from gpucnn.config import is_builtin
from gpucnn.data import Data, Split
from gpucnn.errors import BackendError, DivergedError, SettingError, ShapeError
from gpucnn.rbm.contrast import ContrastiveDivergence
from gpucnn.rbm.evaluation import Figures, evaluate
from gpucnn.rbm.events import EpochEnded
from gpucnn.rbm.model import RBM
from gpucnn.rbm.settings import Settings
from gpucnn.rbm.state import RunState
from gpucnn.training.batches import ImageBatches
from gpucnn.training.divergence import raise_if_overflowed
from gpucnn.training.event_types import (
    CheckpointWritten,
    Event,
    Reason,
    RunStarted,
    StepEnded,
    Stopped,
)
from gpucnn.training.files.checkpoint import Checkpoint, save
from gpucnn.training.steps import StepRunner, plan_epoch
from gpucnn.version import __version__


class Run:
    """A training run; ``events`` runs it. The arguments are those of ``rbm.fit``."""

    def __init__(
        self,
        rbm: RBM,
        data: Data,
        settings: Settings,
        path: str | os.PathLike[str] | None = None,
        every: int | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        _check(rbm, data)
        self.rbm, self.data, self.settings = rbm, data, settings
        self.path, self.every = path, every
        self.should_stop = should_stop or (lambda: False)
        be, images = rbm.backend, rbm.prepare(data.train.images)
        unlabelled = Split(images, np.zeros(len(images), np.int64))
        self.train = ImageBatches(be, unlabelled, settings.batch_size, rbm.scaling())
        if rbm.seed is not None:  # a new machine
            rbm.set_visible_bias(images)
            rbm.seed = None
        settings.optimizer.reset(be, rbm.flat_size)
        size = self.train.batch_size
        chains = be.zeros((size, rbm.hidden)) if settings.persistent else None

        def gradients(count: int) -> FusedGradients:
            return ContrastiveDivergence(rbm, count, settings.gibbs_steps, chains, settings.seed)

        products = 2 * settings.gibbs_steps + 3
        self.steps = StepRunner(
            *(rbm, self.train, settings.optimizer, gradients),
            multiply_adds=products * rbm.visible * rbm.hidden,
            eager=self._why_eager() if be.records else None,
        )
        self.state = RunState(rbm, data, settings, self.steps.arrays.totals, chains)

    @property
    def step(self) -> int:
        """Steps done since the beginning of the run."""
        return self.state.epoch * len(self.train) + self.state.index

    def restore(self, saved: Checkpoint) -> None:
        """Continue from ``saved``; CheckpointError if it is not a checkpoint of the same run."""
        self.state.restore(saved, len(self.train))

    def events(self) -> Generator[Event, None, None]:
        """Train to the end and yield what happens."""
        run = self._run()
        with closing(run):
            while True:
                with self.rbm.backend.limit_threads():  # not while the caller has an event
                    event = next(run, None)
                if event is None:
                    return
                yield event

    # --- the loop -------------------------------------------------------------------------------

    def _run(self) -> Generator[Event, None, None]:
        try:
            yield from self._train()
        except Exception as error:
            fault = device_error(error)
            if fault is None:
                raise
            raise BackendError(f"{fault} (after step {self.step} at the earliest)") from error
        finally:
            self.steps.close()

    def _train(self) -> Iterator[Event]:
        state = self.state
        yield self._started()
        yield from self._save()
        while state.epoch < self.settings.epochs:
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
        yield self._stopped("finished")

    def _train_epoch(self) -> Generator[Event, None, bool]:
        """Run the rest of an epoch's steps; return whether the run was asked to stop."""
        state, batches, every = self.state, len(self.train), self.every
        plan = plan_epoch(self.settings, state.epoch, batches)
        self.lrs = plan.lrs
        self.steps.begin_epoch(plan, state.index, self.step)
        self.began, self.images_before = time.perf_counter(), self._images()
        while state.index < batches:
            limit = every - self.step % every if every else batches
            with np.errstate(all="ignore"):  # NaN and infinity are reported as DivergedError
                state.index += self.steps.run(state.index, limit)
            if not self.rbm.backend.asynchronous:
                self._wait()
            yield StepEnded(
                step=self.step,
                epoch=state.epoch + 1,
                images=self._images(),
                images_per_second=self._speed(),
                lr=plan.lrs[state.index - 1],
                metrics=self._metrics,
            )
            if self.should_stop():
                return True
            # The end of an epoch writes a checkpoint anyway.
            if every and self.step % every == 0 and state.index < batches:
                yield from self._save()
        return False

    def _end_epoch(self) -> EpochEnded:
        self._wait()
        seconds, speed = time.perf_counter() - self.began, self._speed()
        raise_if_overflowed(self.rbm, self.step)
        test = self._evaluate(self.data.test)
        train = self._evaluate(self.data.train.limit(min(self.train.count, len(self.data.test))))
        self.state.end_epoch(test)
        figures = {
            f"{split}_{name}": value
            for split, found in (("train", train), ("test", test))
            for name, value in asdict(found).items()
        }
        return EpochEnded(
            step=self.step,
            epoch=self.state.epoch,
            **figures,
            lr=self.lrs[-1],
            seconds=seconds,
            images_per_second=speed,
        )

    def _evaluate(self, split: Split) -> Figures:
        return evaluate(
            self.rbm, split.images, seed=self.settings.seed, number=self.state.epoch + 1
        )

    def _save(self) -> Iterator[Event]:
        self._wait()
        raise_if_overflowed(self.rbm, self.step)
        if self.path is not None:
            save(self.path, self.state.checkpoint())
            yield CheckpointWritten(self.step, self.state.epoch, os.fspath(self.path))

    def _wait(self) -> None:
        """Wait for the device; DivergedError if a step failed."""
        self.steps.check_model()
        failed = int(self.rbm.backend.to_numpy(self.steps.arrays.failed_step)[0])
        if failed:
            raise DivergedError(
                f"epoch {(failed - 1) // len(self.train) + 1}, step {failed}: a gradient contains "
                "NaN or infinity; a lower learning rate may help"
            )

    # --- figures --------------------------------------------------------------------------------

    def _why_eager(self) -> str | None:
        """Return why a step cannot be captured and replayed, None if it can."""
        for part in (self.rbm, self.settings.optimizer):
            if not is_builtin(part):
                return f"{type(part).__name__} is a custom class"
        return None

    def _images(self) -> int:
        """Return how many of the epoch's images have been seen."""
        return min(self.state.index * self.train.batch_size, self.train.count)

    def _speed(self) -> float:
        """Return the images per second since the epoch began in this process."""
        return (self._images() - self.images_before) / (time.perf_counter() - self.began)

    def _metrics(self) -> tuple[float, float]:
        """Return the epoch's mean reconstruction error so far, NaN if none is known, and NaN."""
        self._wait()
        error, steps = self.rbm.backend.to_numpy(self.steps.arrays.totals)
        return (float(error) / float(steps) if steps else nan), nan

    def _started(self) -> RunStarted:
        be = self.rbm.backend
        return RunStarted(
            step=self.step,
            version=__version__,
            backend=be.name,
            dtype=str(be.dtype),
            precision=be.precision,
            data=self.data.name,
            classes=len(self.data.classes),
            train_images=self.train.count,
            validation_images=0,
            test_images=len(self.data.test),
            parameters=self.rbm.size,
            steps_per_epoch=len(self.train),
            eager=self.steps.eager,
            notes=(),
            settings=self.settings.as_dict(),
        )

    def _stopped(self, reason: Reason) -> Stopped:
        known = self.state.last is not None and not self.state.index
        return Stopped(
            step=self.step,
            epoch=self.state.epoch,
            reason=reason,
            best_epoch=None,
            test_loss=self.state.last.error if known and self.state.last else None,
            test_accuracy=None,
        )


def _check(rbm: RBM, data: Data) -> None:
    """Raise SettingError or ShapeError unless the machine can be trained on the data."""
    if not isinstance(rbm, RBM):
        raise SettingError(f"rbm.fit trains an RBM, got {type(rbm).__name__}: use gpucnn.fit")
    if not isinstance(data, Data):
        raise SettingError(
            f"data must be a gpucnn.Data, for example gpucnn.data.mnist(); "
            f"got {type(data).__name__}"
        )
    if data.input_shape != rbm.input_shape:
        raise ShapeError(f"the images are {data.input_shape}, the machine takes {rbm.input_shape}")
