"""A worker process: it computes the gradients of its part of every batch."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.backends.contract import Augmentation
from gpucnn.errors import GpucnnError, WorkerError
from gpucnn.nn.imports import import_file
from gpucnn.nn.layers import TrainingPass
from gpucnn.nn.losses import Loss
from gpucnn.nn.sequential import Sequential
from gpucnn.training.mixup import Mixture, partners
from gpucnn.training.shared import SharedArrays, receive, send
from gpucnn.training.step import loss_and_grads, training_images


@dataclass(frozen=True)
class Job:
    """What a worker receives first."""

    pickled: bytes
    """The model and the loss"""
    files: list[str]
    """Python files that define their classes"""
    seed: int
    augment: Augmentation | None


class Part:
    """The part of every batch that process ``rank`` computes; rank 0 is the first process."""

    def __init__(
        self,
        model: Sequential,
        loss: Loss,
        seed: int,
        augment: Augmentation | None,
        rank: int,
        shared: SharedArrays,
    ) -> None:
        self.model, self.loss, self.seed, self.augment = model, loss, seed, augment
        self.rank, self.shared = rank, shared
        self.order = np.arange(len(shared.labels))
        self.scale, self.shift = model.scaling()
        values = model.flat_parameters
        model.lay_out(shared.parameters, shared.grads[rank])
        if rank == 0:
            shared.parameters[...] = values

    def compute(
        self, start: int, end: int, count: int, step: int, own_share: float | None = None
    ) -> list[float]:
        """Set the gradients of images ``start`` to ``end`` in a batch of ``count``.

        ``step`` is the number of the step in the run, from 1; ``own_share`` that of mixup, None
        without it. Returns the part's totals: the sum of the images' losses, and the number of
        correct classes or the errors.
        """
        be, shared = self.model.backend, self.shared
        training = TrainingPass(self.seed, np.array([step]), self.rank)
        # A part counts by the weights of its images, if the loss has weights.
        weight = self.loss.weigh(shared.labels[:count])
        share = self.loss.weigh(shared.labels[start:end]) / weight if weight else 0.0
        totals = np.zeros(1 + 2 * shared.labels.shape[1] if shared.labels.ndim == 2 else 2)
        with np.errstate(all="ignore"):  # NaN and infinity are reported as DivergedError
            indices, target = self.order[start:end], shared.labels[start:end]
            source = shared.images, indices, self.scale, self.shift
            changes = self.augment, self.seed, training.step, start
            x, mixture = training_images(be, *source, *changes), None
            if own_share is not None:
                others = partners(count)[start:end]
                mixture = Mixture(shared.labels[others], be.asarray([own_share]))
                source = shared.images, others, self.scale, self.shift
                x = mixture.mix(be, x, training_images(be, *source, *changes, mixed_in=True))
            loss_and_grads(
                self.model, x, target, self.loss,
                totals=totals, share=share, training=training, mixture=mixture,
            )  # fmt: skip
        return list(map(float, totals))


def work(connection: Connection, rank: int, shared: SharedArrays) -> None:
    """Run a worker process: compute and reply until the connection closes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the first process decides what they mean
    with suppress(EOFError, OSError):  # the first process has ended
        requests, replies = shared.requests[rank], shared.replies[rank]
        part = _caught(_make_part, receive(connection, requests), rank, shared)
        if isinstance(part, Exception):
            send(connection, part, replies)
            return
        send(connection, None, replies)
        with part.model.backend.limit_threads():
            while True:
                send(connection, _caught(part.compute, *receive(connection, requests)), replies)


def _make_part(job: Job, rank: int, shared: SharedArrays) -> Part:
    for file in job.files:
        import_file(Path(file))
    model, loss = pickle.loads(job.pickled)
    return Part(model, loss, job.seed, job.augment, rank, shared)


def _caught(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns, or the error that it raises, in a form that can be sent."""
    try:
        return function(*arguments)
    except GpucnnError as error:
        return error
    except Exception as error:
        name = multiprocessing.current_process().name
        raised = WorkerError(f"{name}: {type(error).__name__}: {error}")
        raised.add_note(traceback.format_exc())
        return raised
