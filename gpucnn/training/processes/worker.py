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

from gpucnn.backends.contract import Augmentation, StepArrays
from gpucnn.errors import GpucnnError, WorkerError
from gpucnn.nn.imports import import_file
from gpucnn.training.mixup import partners
from gpucnn.training.processes.part import Part
from gpucnn.training.processes.pulse import beating
from gpucnn.training.processes.shared import SharedArrays, receive, send


@dataclass(frozen=True)
class Job:
    """What a worker receives first."""

    pickled: bytes
    """The model and the loss"""
    files: list[str]
    """Python files that define their classes"""
    seed: int
    augment: Augmentation | None


class SharedPart:
    """The part of every batch in shared memory that one process computes."""

    def __init__(self, part: Part, shared: SharedArrays) -> None:
        self.part, self.shared = part, shared
        self.order = np.arange(len(shared.labels))
        model, rank = part.model, part.rank
        self.scale, self.shift = model.scaling()
        values = model.flat_parameters
        model.lay_out(shared.parameters, shared.grads[rank])
        if rank == 0:
            shared.parameters[...] = values

    def compute(self, count: int, step: int, own_share: float | None) -> list[float]:
        """Set the gradients of this part of a batch of ``count`` images; return its totals.

        ``step`` is the number of the step in the run, from 1; ``own_share`` that of mixup, None
        without it.
        """
        be, shared, mixed = self.part.model.backend, self.shared, own_share is not None
        numbers = shared.labels.ndim == 2
        arrays = StepArrays(
            images=shared.images,
            indices=self.order[:count],
            targets=shared.labels[:count],
            scale=self.scale,
            shift=self.shift,
            parameters=shared.parameters,
            grads=shared.grads[self.part.rank],
            totals=np.zeros(1 + 2 * shared.labels.shape[1] if numbers else 2),
            failed_step=np.zeros(1, np.int64),
            step=np.array([step]),
            partners=partners(count) if mixed else None,
            own_share=be.asarray([own_share]) if mixed else None,
        )
        with np.errstate(all="ignore"):  # NaN and infinity are reported as DivergedError
            self.part.set_grads(arrays, arrays.totals)
        return list(map(float, arrays.totals))


def work(connection: Connection, rank: int, shared: SharedArrays) -> None:
    """Run a worker process: compute and reply until the connection closes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the first process decides what they mean
    # EOFError, OSError: the first process has ended.
    with beating(shared.beats, rank), suppress(EOFError, OSError):
        requests, replies = shared.requests[rank], shared.replies[rank]
        part = _caught(_make_part, receive(connection, requests), rank, shared)
        if isinstance(part, Exception):
            send(connection, part, replies)
            return
        send(connection, None, replies)
        with part.part.model.backend.limit_threads():
            while True:
                send(connection, _caught(part.compute, *receive(connection, requests)), replies)


def _make_part(job: Job, rank: int, shared: SharedArrays) -> SharedPart:
    for file in job.files:
        import_file(Path(file))
    model, loss = pickle.loads(job.pickled)
    size = len(shared.grads)
    return SharedPart(Part(model, loss, job.seed, job.augment, rank, size), shared)


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
