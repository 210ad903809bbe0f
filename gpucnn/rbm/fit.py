"""Training a restricted Boltzmann machine: ``fit`` to the end, ``events`` step by step."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Unpack

from gpucnn.backends import Backend
from gpucnn.config import check_integer, override
from gpucnn.data import Data
from gpucnn.machine.launch import warn_of_others
from gpucnn.rbm.events import EpochEnded, History
from gpucnn.rbm.files import load
from gpucnn.rbm.model import RBM
from gpucnn.rbm.progress import make_progress
from gpucnn.rbm.run import Run
from gpucnn.rbm.settings import Overrides, Settings
from gpucnn.training.files.checkpoint import Checkpoint
from gpucnn.training.fit import Callback, Events, follow

PathLike = str | os.PathLike[str]


def fit(
    rbm: RBM,
    data: Data,
    *,
    settings: Settings | None = None,
    backend: str | Backend | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int | None = None,
    resume: PathLike | Checkpoint | None = None,
    should_stop: Callable[[], bool] | None = None,
    progress: bool | None = None,
    on_event: Callback | Iterable[Callback] = (),
    **overrides: Unpack[Overrides],
) -> History:
    """Train a restricted Boltzmann machine; it is changed in place.

    Args:
        rbm: the machine.
        data: training and test images, uint8 (N, C, H, W) of its input shape; labels are not used.
        settings: number of epochs, batch size, optimizer and so on; ``rbm.Settings()`` if None.
        backend, checkpoint, checkpoint_every, should_stop, progress: as in ``gpucnn.fit``.
        resume: as in ``gpucnn.fit``; persistent chains are in the checkpoint.
        on_event: as in ``gpucnn.fit``, but an epoch ends with ``rbm.EpochEnded``.
        **overrides: fields of ``rbm.Settings`` (``epochs``, ``batch_size``, ``optimizer``,
            ``schedule``, ``gibbs_steps``, ``persistent``, ``seed``) with other values.

    Returns:
        A ``History``: ``history["test_error"]`` is a list with a value for each epoch, and printed
        it is a table.

    Raises:
        SettingError: a setting is unknown or outside its range.
        ShapeError: the machine does not take the images.
        CheckpointError: ``resume`` cannot be read, or is a checkpoint of another run.
        DivergedError: a gradient or weight became NaN or infinite. The machine keeps the weights
            from before a step with such a gradient, and the last checkpoint stays.

    Warns:
        RuntimeWarning: ``mpiexec`` started several processes.

    Example:
        >>> import gpucnn
        >>> data = gpucnn.data.mnist().limit(200)
        >>> machine = gpucnn.rbm.RBM((1, 28, 28), hidden=16, seed=0)
        >>> history = gpucnn.rbm.fit(machine, data, epochs=2, batch_size=20)
        >>> history["train_error"][1] < history["train_error"][0]
        True
    """
    callbacks = [on_event] if callable(on_event) else list(on_event)
    warn_of_others(
        "a restricted Boltzmann machine is trained by one process, rbm.events if several"
        " have one each"
    )
    run = events(
        rbm,
        data,
        settings=settings,
        backend=backend,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        resume=resume,
        should_stop=should_stop,
        **overrides,
    )
    return History(*follow(run, EpochEnded, callbacks, make_progress(progress)))


def events(
    rbm: RBM,
    data: Data,
    *,
    settings: Settings | None = None,
    backend: str | Backend | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int | None = None,
    resume: PathLike | Checkpoint | None = None,
    should_stop: Callable[[], bool] | None = None,
    **overrides: Unpack[Overrides],
) -> Events:
    """Train a machine as ``rbm.fit`` does, step by step: an iterator of events.

    The arguments and errors are those of ``rbm.fit``; otherwise it is like
    ``gpucnn.training.events``.
    """
    chosen = override(settings or Settings(), overrides)
    # A copy: the state of the optimizer belongs to this run.
    chosen = replace(chosen, optimizer=copy.copy(chosen.optimizer))
    if checkpoint_every is not None:
        checkpoint_every = check_integer("checkpoint_every", checkpoint_every, 1)
    if backend is not None:
        rbm.to(backend)
    run = Run(rbm, data, chosen, checkpoint, checkpoint_every, should_stop)
    if resume is not None:
        run.restore(resume if isinstance(resume, Checkpoint) else load(resume))
    return Events(run.events())
