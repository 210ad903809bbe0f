"""A training run: the loop over epochs and steps, from the first event to the last."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np

from gpucnn.backends import device_error
from gpucnn.config import is_builtin
from gpucnn.data import Data
from gpucnn.data.digests import seen_digests
from gpucnn.errors import BackendError, ReadError, SettingError, WorkerError
from gpucnn.nn.sequential import Sequential
from gpucnn.rng import epoch_order
from gpucnn.training.average import WeightAverage
from gpucnn.training.batches import Batches
from gpucnn.training.checks import check_fit, fit_to
from gpucnn.training.divergence import raise_if_overflowed
from gpucnn.training.event_types import CheckpointWritten, EpochEnded, Event, Reason, Stopped
from gpucnn.training.files.checkpoint import Checkpoint, save
from gpucnn.training.processes.agreement import (
    check_same_run,
    check_same_weights,
    reporting,
)
from gpucnn.training.processes.group import Alone, Group
from gpucnn.training.processes.nccl import Nccl, added_on_gpus
from gpucnn.training.processes.workers import Workers
from gpucnn.training.reports import Reports
from gpucnn.training.results.evaluation import BATCH_SIZE, evaluate_batches
from gpucnn.training.settings import Settings
from gpucnn.training.state import Result, RunState
from gpucnn.training.steps import EpochPlan, Steps, plan_epoch
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
        group: Group | None = None,
    ) -> None:
        given = group or Alone()
        if given.size > 1:  # first: on other backends, other messages follow
            check_same_run(given, {"gpucnn": __version__, "backend": model.backend.name})
        self.group = added_on_gpus(given, model.backend)
        self.communicator = self.group if self.group is not given else None
        check_fit(model, data, settings)
        self.model, self.data, self.settings = model, data, settings
        self.path, self.every = path, self.group.broadcast(every)
        self.should_stop = should_stop or (lambda: False)
        rest, validation = data, data.validation
        if settings.validation and validation is None:
            rest, validation = data.hold_out(settings.validation, settings.seed)
        fit_to(model, rest)
        model.output, model.preparation = settings.loss.output, data.preparation
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
        if self.group.size > (batch := self.train.batch_size):
            raise SettingError(f"a batch of {batch} is too small for {self.group.size} processes")
        self.workers: Workers | None = None
        if settings.workers > 1 and self.group.size == 1:
            self.workers = Workers(
                model, settings.loss, settings.seed, settings.workers, batch, settings.augment
            )
        settings.optimizer.reset(model.backend, model.flat_size)
        self.average = WeightAverage(model) if settings.ema else None
        self.steps = Steps(self.train, settings, self.workers, self.average, self.group)
        self.state = RunState(model, data, settings, self.steps.arrays.totals, self.average)

        self.reports = Reports(data, self.steps, self.validation, self.state)
        self.next_plan: EpochPlan | None = None  # of the next epoch, if it was made in advance
        self.saved_step: int | None = None  # of the last checkpoint

    @property
    def step(self) -> int:
        """Steps done since the beginning of the run."""
        return self.state.steps_done(len(self.train))

    def restore(self, saved: Checkpoint, change_workers: bool = False) -> None:
        """Continue from ``saved``; CheckpointError if it is not a checkpoint of the same run."""
        self.state.restore(saved, len(self.train), change_workers)
        self.reports.finished_step = self.step

    def agree(self) -> None:
        """Raise SettingError, on all ranks, unless all begin or resume the same run."""
        if self.group.size > 1:
            check_same_run(self.group, self.state.common())

    # --- the loop -------------------------------------------------------------------------------

    def events(self) -> Generator[Event, None, None]:
        """Train to the end and yield what happens."""
        run = self._run()
        with closing(run):
            stopped = False
            while not stopped:
                with reporting(self.group):  # also if the caller does not ask for the next event
                    with self.model.backend.limit_threads():  # not while the caller has an event
                        event = next(run)
                    if not (stopped := isinstance(event, Stopped)):
                        yield event
            yield event
            next(run, None)

    def _run(self) -> Generator[Event, None, None]:
        with self._resources():
            try:
                yield from self._train()
            except (WorkerError, ReadError) as error:
                if isinstance(error, WorkerError) and isinstance(self.group, Nccl):
                    # Steps were in progress, and have added anything: the weights are lost.
                    raise WorkerError(f"{error}{self._kept()}", error.lost, error.status) from error
                yield from self._save()  # the weights are those before the step
                if self.group.rank:  # rank 0 adds to the error alone at which step it has stopped
                    self.group.fail(error)
                kept = "checkpoint saved to" if self.group.rank == 0 else "the last checkpoint is"
                saved = "" if self.path is None else f"; {kept} {self.path}"
                message = f"{error}: stopped after step {self.step}{saved}"
                if isinstance(error, ReadError):
                    raise ReadError(message) from error
                raise WorkerError(message, error.lost, error.status) from error
            except Exception as error:
                fault = device_error(error)
                if fault is None:
                    raise
                raise BackendError(f"{fault} ({self.reports.suspects()}){self._kept()}") from error

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
        except BaseException:
            if isinstance(self.group, Nccl):
                self.group.abandon()
            raise
        finally:
            if self.workers is not None:
                self.workers.close()
            self.steps.close()
            if isinstance(self.communicator, Nccl):
                self.communicator.release()

    def _train(self) -> Iterator[Event]:
        state = self.state
        yield self.reports.started()
        yield from self._save()
        while state.epoch < self.settings.epochs and not state.out_of_patience():
            if (yield from self._train_epoch()):
                yield from self._save()
                self._show_average()
                yield self._stopped("interrupted")
                return
            if (ended := self._end_epoch()) is None:
                yield from self._save()  # all steps of the epoch are done; a resume evaluates
                self._show_average()
                yield self._stopped("interrupted")
                return
            yield ended
            yield from self._save()
        self._show_average()
        if state.ends_with_best():
            self.model.load_state_dict(state.best_parameters)
            yield from self._save()
        yield self._stopped("early stopping" if state.out_of_patience() else "finished")

    def _stopped(self, reason: Reason) -> Stopped:
        """Return the last event. Every rank then has the buffers of rank 0, which files have."""
        if self.group.size > 1:
            be = self.model.backend
            for _, buffer in self.model.named_buffers():
                values = self.group.broadcast(be.to_numpy(buffer.data))
                buffer.data[...] = be.asarray(values, values.dtype)
        return self.reports.stopped(reason)

    def _train_epoch(self) -> Generator[Event, None, bool]:
        """Run the rest of an epoch's steps; return whether the run was asked to stop."""
        self._begin_epoch()
        state, asynchronous = self.state, self.model.backend.asynchronous
        while state.index < len(self.train):
            limit = self.every - self.step % self.every if self.every else len(self.train)
            with np.errstate(all="ignore"):  # NaN and infinity are reported as DivergedError
                state.index += self.steps.run(state.index, limit)
            if not asynchronous:
                self.reports.wait()
            yield self.reports.step_ended()
            if self.group.any(self.should_stop()):
                return True
            # The end of an epoch writes a checkpoint anyway.
            if self.every and self.step % self.every == 0 and state.index < len(self.train):
                yield from self._save()
        # Plan ahead while the device works; a custom schedule may change until the epoch ends.
        plan_ahead = asynchronous and is_builtin(self.settings.schedule)
        if plan_ahead and state.epoch + 1 < self.settings.epochs:
            order = epoch_order(self.settings.seed, state.epoch + 1, self.train.count)
            self.next_plan = replace(self._plan(state.epoch + 1), order=order)
        return False

    def _begin_epoch(self) -> None:
        if self.average is not None:
            self.average.show(False)
        plan, self.next_plan = self.next_plan or self._plan(self.state.epoch), None
        self.steps.begin_epoch(plan, self.state.index, self.step)
        self.reports.begin_epoch(plan.lrs)

    def _plan(self, epoch: int) -> EpochPlan:
        settings, steps = self.settings, len(self.train)
        return plan_epoch(settings, epoch, steps, settings.ema, settings.mixup)

    def _end_epoch(self) -> EpochEnded | None:
        """Evaluate and count an epoch; return None if the run was asked to stop meanwhile."""
        check_same_weights(self.group, self.model, self.step)
        results: tuple[Result, Result | None] | None = None
        try:
            self.reports.end_training()  # raises if a step failed: before _save sees the weights
            raise_if_overflowed(self.model, self.step)
            self._show_average()  # until the next epoch begins
            if self.group.rank == 0:
                results = self._evaluate()
        except KeyboardInterrupt:
            if not self.should_stop():
                raise
        results = self.group.broadcast(results)
        if results is None:
            return None
        self.state.end_epoch(*results)
        return self.reports.epoch_ended(*results)

    def _evaluate(self) -> tuple[Result, Result | None]:
        """Return the figures of the test and validation images."""

        def check(*batch: object) -> None:
            (self.group if self.workers is None else self.workers).check()

        test, validation = (
            None if batches is None else evaluate_batches(batches, self.settings.loss, check)
            for batches in (self.test, self.validation)
        )
        assert test is not None
        return test, validation

    def _show_average(self) -> None:
        """Give the model the moving average of its weights, if the run keeps one."""
        if self.average is not None:
            self.average.show()

    def _save(self) -> Iterator[Event]:
        self.reports.wait()
        raise_if_overflowed(self.model, self.step)
        if self.path is not None and self.group.rank == 0:
            save(self.path, self.state.checkpoint())
            self.saved_step = self.step
            yield CheckpointWritten(self.step, self.state.epoch, os.fspath(self.path))
