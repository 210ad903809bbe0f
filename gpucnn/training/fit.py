"""Training: ``fit`` runs to the end and returns the history, ``events`` yields what happens."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from typing import TypeVar, Unpack

from gpucnn.backends import Backend, prefer_gpu
from gpucnn.config import check_integer, override
from gpucnn.data import Data
from gpucnn.errors import DataWarning, SettingError
from gpucnn.machine.launch import warn_of_others
from gpucnn.nn.sequential import Sequential
from gpucnn.training.event_types import EpochEnded, Event, RunStarted, Stopped
from gpucnn.training.files.checkpoint import Checkpoint, load
from gpucnn.training.history import History
from gpucnn.training.processes.agreement import reporting
from gpucnn.training.processes.group import Alone, Group
from gpucnn.training.progress import make_progress
from gpucnn.training.run import PathLike, Run
from gpucnn.training.settings import Overrides, Settings, settle

Callback = Callable[[Event], object]
Epoch = TypeVar("Epoch", bound=Event)


def fit(
    model: Sequential,
    data: Data,
    *,
    settings: Settings | None = None,
    backend: str | Backend | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int | None = None,
    resume: PathLike | Checkpoint | None = None,
    should_stop: Callable[[], bool] | None = None,
    group: Group | None = None,
    change_workers: bool = False,
    progress: bool | None = None,
    on_event: Callback | Iterable[Callback] = (),
    **overrides: Unpack[Overrides],
) -> History:
    """Train a model; it is changed in place.

    Args:
        model: the network. Its ``normalization``, ``classes`` and ``output`` are set from the data
            and the loss.
        data: training and test images, uint8 (N, C, H, W) of the model's input shape, with labels:
            classes, or numbers to predict.
        settings: number of epochs, batch size, optimizer and so on; ``Settings()`` if None.
        backend: "numpy", "cuda", "emulated", "auto" or a ``Backend`` to move the model to first;
            None trains it where it is.
        checkpoint: a file to write at the start, after every epoch, and when the run is stopped.
        checkpoint_every: write it every so many steps as well.
        resume: a checkpoint, or the folder of a run, to continue from. The result has the same bits
            as a run that was never stopped. Model, data and settings must be those of the run;
            ``epochs`` may be another number if no learning rate so far would have been another.
        should_stop: called after every ``StepEnded``; if it returns True, the run writes its
            checkpoint and ends.
        group: the processes that share the run, each of which calls this function with the same
            arguments, such as ``training.make_group()``; None trains in this process, and in those
            that ``workers`` starts. Rank 0 writes files and evaluates, and all return its results.
        change_workers: resume with another number of processes than the run had, which is refused
            otherwise: the results are no longer those of a run that was never stopped.
        progress: True shows the progress on standard output, False does not, None does on a
            terminal and in a notebook.
        on_event: a callable, or several, to call with every event: ``RunStarted``, ``StepEnded``,
            ``EpochEnded``, ``CheckpointWritten`` and ``Stopped`` of ``gpucnn.training``.
        **overrides: fields of ``Settings`` (``epochs``, ``batch_size``, ``optimizer``,
            ``schedule``, ``loss``, ``seed``, ``validation``, ``early_stopping``, ``keep_best``,
            ``clip_grad_norm``, ``ema``, ``augment``, ``mixup``, ``workers``) with other values
            than in ``settings``; see ``help(gpucnn.Settings)``.

    Returns:
        A ``History``: ``history["test_accuracy"]`` is a list with a value for each epoch, and
        printed it is a table.

    Raises:
        SettingError: a setting is unknown or outside its range.
        ShapeError: the model does not take the images, or has too few outputs for the classes.
        CheckpointError: ``resume`` cannot be read, or is a checkpoint of another run.
        DivergedError: a loss, gradient or weight became NaN or infinite. The model keeps the
            weights from before a step with such a loss or gradient, and the last checkpoint stays.
        WorkerError: a worker process ended; the checkpoint was written before.

    Warns:
        DataWarning: all training images are of one class, or are validation or test images as
            well. A progress display shows it instead.
        RuntimeWarning: ``mpiexec`` started several processes, but ``group`` is None.

    Notes:
        Scripts with ``workers`` above 1 must start training under ``if __name__ == "__main__":``.

        A device captures a step once and replays it, up to 32 times for each launch and
        ``StepEnded``, if model, layers, loss and optimizer are gpucnn's own and draw nothing on the
        host. ``RunStarted.eager`` is the reason if they are not.

        With ``ema`` the model has the averaged weights from the end of an epoch until its next
        step, and after the run; in between, and after a DivergedError, those that training changes.

        The optimizer is copied, so that it can be used for several runs.

    Example:
        >>> import gpucnn
        >>> data = gpucnn.data.mnist().limit(200)
        >>> model = gpucnn.models.lenet5(seed=0)
        >>> history = gpucnn.fit(model, data, epochs=2, batch_size=20)
        >>> len(history), history.reason
        (2, 'finished')
        >>> history["train_loss"][1] < history["train_loss"][0]
        True
    """
    callbacks = [on_event] if callable(on_event) else list(on_event)
    if group is None:
        warn_of_others(_hint("fit"))
        group = Alone()
    run = events(
        model,
        data,
        settings=settings,
        backend=backend,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        resume=resume,
        should_stop=should_stop,
        group=group,
        change_workers=change_workers,
        **overrides,
    )
    if progress is None and group.rank:
        progress = False
    return History(*follow(run, EpochEnded, callbacks, make_progress(progress)))


def events(
    model: Sequential,
    data: Data,
    *,
    settings: Settings | None = None,
    backend: str | Backend | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int | None = None,
    resume: PathLike | Checkpoint | None = None,
    should_stop: Callable[[], bool] | None = None,
    group: Group | None = None,
    change_workers: bool = False,
    **overrides: Unpack[Overrides],
) -> Events:
    """Train a model as ``gpucnn.fit`` does, step by step: an iterator of events.

    Nothing is trained before the first event is asked for, and nothing after the last one that is.
    The arguments, and the errors that iterating raises, are those of ``gpucnn.fit``. Settings that
    cannot be used, a model that does not fit the data, and a wrong checkpoint raise at once.

    Returns:
        An iterator: ``RunStarted``, then ``StepEnded``, ``EpochEnded`` and ``CheckpointWritten``,
        and ``Stopped``. ``close()`` ends the run early; so does dropping the iterator. One that is
        dropped before its first event warns, with a RuntimeWarning, that nothing was trained.

    Example:
        >>> import gpucnn
        >>> data, model = gpucnn.data.mnist().limit(60), gpucnn.models.mlp(seed=0)
        >>> for event in gpucnn.training.events(model, data, epochs=1, batch_size=20):
        ...     print(event.step, event.name)
        0 start
        1 step
        2 step
        3 step
        3 epoch
        3 stop
    """
    if group is None:
        warn_of_others(_hint("events"))
        group = Alone()
    with reporting(group):
        chosen = settle(
            override(settings or Settings(), overrides),
            isinstance(data, Data) and data.is_regression,
        )
        # A copy: the state of the optimizer belongs to this run.
        chosen = replace(chosen, optimizer=copy.copy(chosen.optimizer))
        if group.size > 1:
            chosen = _shared_by(group, chosen)
        if checkpoint_every is not None:
            checkpoint_every = check_integer("checkpoint_every", checkpoint_every, 1)
        if backend is not None:
            prefer_gpu(group.local_rank)
            model.to(backend)
        run = Run(model, data, chosen, checkpoint, checkpoint_every, should_stop, group)
        group = run.group
        saved = None
        if resume is not None and group.rank == 0:  # the others may not see the file
            saved = resume if isinstance(resume, Checkpoint) else load(resume)
        if (saved := group.broadcast(saved)) is not None:
            run.restore(saved, change_workers)
        run.agree()
    return Events(run.events())


def _hint(function: str) -> str:
    """Return what to do about several processes of which each calls a function by itself."""
    return (
        f"to share the batches, call {function}(..., group=gpucnn.training.make_group()), or, where"
        f' each has a run of its own, {function}(..., group=gpucnn.training.make_group("alone"))'
    )


def _shared_by(group: Group, settings: Settings) -> Settings:
    """Return the settings of a run whose processes are the ranks of ``group``."""
    if settings.workers not in (1, group.size):
        raise SettingError(
            f"workers is {settings.workers}, but the group has {group.size} processes, which share "
            "each batch: omit it"
        )
    return replace(settings, workers=group.size)


def follow(
    run: Events,
    kind: type[Epoch],
    callbacks: list[Callback],
    display: AbstractContextManager[Callback] | None,
) -> tuple[list[Epoch], RunStarted, Stopped]:
    """Run to the end; return the events of type ``kind``, the first event and the last.

    Every event goes to ``display``, if there is one, and then to the callbacks. Without a display,
    notes on the data are issued as a DataWarning of the caller of ``fit``.
    """
    epochs: list[Epoch] = []
    with closing(run), ExitStack() as stack:
        if display is not None:
            callbacks = [stack.enter_context(display), *callbacks]
        for event in run:
            if isinstance(event, RunStarted):
                started = event
                for note in event.notes if display is None else ():
                    warnings.warn(note, DataWarning, stacklevel=3)
            elif isinstance(event, kind):
                epochs.append(event)
            elif isinstance(event, Stopped):
                stopped = event
            for callback in callbacks:
                callback(event)
    return epochs, started, stopped


class Events(Iterator[Event]):
    """The events of a run; see ``events``."""

    def __init__(self, run: Generator[Event, None, None]) -> None:
        self._run = run
        self._used = False

    def __next__(self) -> Event:
        self._used = True
        return next(self._run)

    def close(self) -> None:
        """End the run where it is; nothing is saved."""
        self._used = True
        self._run.close()

    def __del__(self) -> None:
        if not self._used:
            warnings.warn(
                "gpucnn.training.events(...) was never iterated, so nothing was trained: write "
                "`for event in gpucnn.training.events(...)`, or call gpucnn.fit(...)",
                RuntimeWarning,
                stacklevel=2,
            )
