"""Gradients by several processes, each of which takes a part of every batch.

They share memory: the parameters, which only the first process changes, a row of gradients for
each, and the pictures of the batch. A message to each worker says which of them are its part, and
its answer that its row is written; the rows are then added in the order of the processes. So the
same number of them gives the same bits, and another number others.
"""

from __future__ import annotations

import atexit
import errno
import math
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from signal import Signals
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.errors import GpucnnError, SettingError, WorkerError
from gpucnn.machine import processor
from gpucnn.nn.losses import Loss
from gpucnn.nn.sequential import Sequential
from gpucnn.training.evaluation import Batches
from gpucnn.training.imports import import_file, imported_files
from gpucnn.training.settings import Settings

Totals = tuple[float, float]

SHARED_MEMORY = "/dev/shm"
"""Where Linux has it; Python's multiprocessing cannot do without."""

PATIENCE = 0.002
"""Seconds that a process awaits a message awake: one that sleeps takes a tenth of a millisecond to
wake, and longer in a virtual machine."""

LEAST_RUN, LEAST_PART = 1e10, 1e7
"""Multiply-adds, forward, of a run that is worth starting workers, and of a worker's part of a
batch: LeNet-5 has 416,520 a digit."""


def set_grads(
    model: Sequential, loss: Loss, x: Array, target: Array, totals: Array, share: float = 1.0
) -> Array:
    """Set the gradients of the mean loss over a batch, times ``share``; return that loss.

    What ``add_metrics`` counts is added to ``totals``.
    """
    be = model.backend
    scores, saved = model.forward(x, training=True)
    value = loss.forward(be, scores, target)
    grad = loss.backward(be, scores, target)
    model.backward(grad if share == 1 else grad * share, saved)
    be.add_metrics(totals, value, scores, target)
    return value


class Workers:
    """Processes that compute gradients together; this one is the first of them.

    While they run, the model's parameters and gradients lie in the shared memory.
    """

    def __init__(self, model: Sequential, loss: Loss, seed: int, number: int, most: int) -> None:
        """Prepare ``number`` processes for batches of at ``most`` images; ``start`` starts them."""
        if not model.backend.thread_parallel:
            raise SettingError(
                f"{number} workers are for the numpy backend, not {model.backend.name}; a run that "
                "began with them goes on with numpy"
            )
        if number > most:
            raise SettingError(f"a batch of {most} is too small for {number} workers")
        if multiprocessing.current_process().daemon:
            raise SettingError("a daemonic process cannot have workers")
        try:
            pickled = pickle.dumps((model, loss))
        except Exception as error:
            raise SettingError(f"the model cannot be sent to a worker: {error}") from error
        self.model, self.loss, self.seed = model, loss, seed
        self.number, self.most = number, most
        self.job = _Job(pickled, imported_files(), seed)
        self.processes: list[BaseProcess] = []
        self.connections: list[Connection] = []
        self.owner = os.getpid()

    def start(self) -> None:
        """Start the processes and wait until all are ready; WorkerError if one is not."""
        atexit.register(self.close)  # before the interpreter waits for them, itself
        self.memory = _Memory(self.model, self.number, self.most)
        self.part = _Part(self.model, self.loss, self.seed, 0, self.memory)
        context = multiprocessing.get_context("spawn")  # a fork would take locks and threads along
        with _signals_blocked():
            for rank in range(1, self.number):
                own, other = context.Pipe()
                # The job comes later: a start would wait for ever for a process that died early to
                # read what is more than a pipe holds.
                process = context.Process(
                    target=_work,
                    args=(other, rank, self.memory),
                    name=f"worker {rank}",
                    daemon=True,
                )
                self.connections.append(own)
                process.start()
                other.close()  # so that the worker's end is the only one, and closes with it
                self.processes.append(process)
        for rank in range(1, self.number):
            self._tell(rank, self.job)
        for rank in range(1, self.number):
            self._await_start(rank)

    def _await_start(self, rank: int) -> None:
        try:
            self._answer(rank)
        except WorkerError as error:
            if getattr(error, "__notes__", None):  # it answered: it says itself what is wrong
                raise
            hint = ""
            if self.processes[rank - 1].exitcode == 1:  # as when the script cannot be imported
                hint = (
                    "; to train with workers a script must be a file, and begin under "
                    "`if __name__ == '__main__'`"
                )
            raise WorkerError(f"{error} before it was ready{hint}") from None

    def set_grads(
        self, batches: Batches, indices: Array, target: Array, passes: int, totals: Array
    ) -> Array:
        """Set the gradients of a batch, after ``passes`` others; return its mean loss.

        The batch is the images at ``indices`` with the labels ``target``. Where a worker is gone,
        WorkerError is raised, and ``totals`` are as they were.
        """
        if self.model.flat_parameters is not self.memory.parameters:
            raise SettingError("the model was moved while its workers trained it")
        count = indices.size
        np.take(batches.images, indices, axis=0, out=self.memory.images[:count], mode="clip")
        self.memory.labels[:count] = target
        ends = [math.ceil(rank * count / self.number) for rank in range(self.number + 1)]
        parts = [(start, end, count, passes) for start, end in pairwise(ends)]
        busy = [rank for rank, (start, end, *_) in enumerate(parts) if rank and end > start]
        for rank in busy:
            self._tell(rank, parts[rank])
        found = [self.part.compute(*parts[0]), *(self._answer(rank) for rank in busy)]
        grads = self.memory.grads
        for rank in busy:
            grads[0] += grads[rank]
        summed = np.sum(found, axis=0)
        totals += summed
        return np.asarray(summed[0] / count, grads.dtype)

    def close(self) -> None:
        """End the processes, each of which does when its connection ends; free the model."""
        if os.getpid() != self.owner:  # a fork of this process: they are not its own
            return
        atexit.unregister(self.close)
        for connection in self.connections:
            connection.close()
        until = time.monotonic() + 10
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
            with suppress(ValueError):  # where SIGCHLD is ignored nobody learns how it ended
                process.close()
        self.connections, self.processes = [], []
        memory = getattr(self, "memory", None)
        if memory is not None and self.model.flat_parameters is memory.parameters:
            # A fork must not share what it changes.
            self.model.lay_out(memory.parameters.copy(), memory.grads[0].copy())

    def _tell(self, rank: int, message: Any) -> None:
        with suppress(OSError):  # a worker that is gone shows in its answer
            _send(self.connections[rank - 1], message, self.memory.told[rank])

    def _answer(self, rank: int) -> Any:
        try:
            answer = _receive(self.connections[rank - 1], self.memory.answered[rank])
        except (EOFError, OSError):
            process = self.processes[rank - 1]
            process.join(10)
            raise WorkerError(f"worker {rank} {_ending(process.exitcode)}") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer


def number_that_pays(model: Sequential, backend: Backend, images: int, settings: Settings) -> int:
    """Return how many processes make a run on ``images`` images fastest: 1 for small ones.

    Starting others takes as long as training on some thousand digits, and a part of a batch must be
    worth the messages.
    """
    if not backend.thread_parallel:
        return 1
    if sys.platform == "linux" and not os.access(SHARED_MEMORY, os.W_OK):
        return 1  # as in some sandboxes
    work = model.summary().multiply_adds
    if work * images * settings.epochs < LEAST_RUN:
        return 1
    size = min(settings.batch_size, images)
    return max(1, min(processor.cores(), size, int(size * work // LEAST_PART)))


@dataclass
class _Shared:
    """An array in memory that is shared with the processes it is given to when they start."""

    memory: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def zeros(cls, shape: tuple[int, ...], dtype: DTypeLike) -> _Shared:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            # Python takes the first with enough room; without it the first touch ends the process.
            places = (SHARED_MEMORY, tempfile.gettempdir()) if os.name == "posix" else ()
            rooms = [shutil.disk_usage(place).free for place in places if os.path.isdir(place)]
            if rooms and max(rooms) < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return cls(RawArray("b", size), shape, np.dtype(dtype))
        except OSError as error:
            raise SettingError(
                f"no {size / 2**20:,.1f} MiB of shared memory for workers: {error.strerror}; "
                "one worker needs none"
            ) from error

    def array(self) -> NDArray[Any]:
        return np.frombuffer(self.memory, self.dtype).reshape(self.shape)


class _Memory:
    """What the processes share.

    ``told`` and ``answered`` count the messages to and from each: sent, and received. A process
    sees in them that there is one without asking the system.
    """

    def __init__(self, model: Sequential, number: int, most: int) -> None:
        dtype = model.backend.dtype
        self._shared = {
            "parameters": _Shared.zeros((model.size,), dtype),
            "grads": _Shared.zeros((number, model.size), dtype),
            "images": _Shared.zeros((most, *model.input_shape), np.uint8),
            "labels": _Shared.zeros((most,), np.int64),
            "told": _Shared.zeros((number, 2), np.int64),
            "answered": _Shared.zeros((number, 2), np.int64),
        }
        self._open()

    def __getstate__(self) -> dict[str, _Shared]:
        return self._shared

    def __setstate__(self, state: dict[str, _Shared]) -> None:
        self._shared = state
        self._open()

    def _open(self) -> None:
        arrays = {name: shared.array() for name, shared in self._shared.items()}
        self.parameters, self.grads = arrays["parameters"], arrays["grads"]
        self.images, self.labels = arrays["images"], arrays["labels"]
        self.told, self.answered = arrays["told"], arrays["answered"]


@dataclass(frozen=True)
class _Job:
    """What a worker is told when it starts; ``files`` are those that its layers come from."""

    pickled: bytes
    files: list[str]
    seed: int


class _Part:
    """The part of a process in every batch."""

    def __init__(
        self, model: Sequential, loss: Loss, seed: int, rank: int, memory: _Memory
    ) -> None:
        self.model, self.loss, self.seed, self.rank = model, loss, seed, rank
        self.memory = memory
        self.order = np.arange(len(memory.labels))
        self.scale, self.shift = model.scaling()
        values = model.flat_parameters
        model.lay_out(memory.parameters, memory.grads[rank])
        if rank == 0:
            memory.parameters[...] = values

    def compute(self, start: int, end: int, count: int, passes: int) -> Totals:
        """Set the gradients of images ``start`` to ``end`` in a batch of ``count``.

        Return the sum of their losses and how many were right.
        """
        be, memory = self.model.backend, self.memory
        self.model.seed_dropout(self.seed, passes, self.rank)
        totals = np.zeros(2)
        with np.errstate(all="ignore"):  # what overflows is reported as DivergedError
            indices, target = self.order[start:end], memory.labels[start:end]
            x = be.gather_images(memory.images, indices, self.scale, self.shift)
            set_grads(self.model, self.loss, x, target, totals, (end - start) / count)
        return float(totals[0]), float(totals[1])


def _work(connection: Connection, rank: int, memory: _Memory) -> None:
    """Be a worker: until the connection closes, compute what comes and answer."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the first process decides what they mean
    with suppress(EOFError, OSError):  # the first process is done, or gone
        told, answered = memory.told[rank], memory.answered[rank]
        part = _caught(_make_part, _receive(connection, told), rank, memory)
        if isinstance(part, Exception):
            _send(connection, part, answered)
            return
        _send(connection, None, answered)
        with part.model.backend.limit_threads():
            while True:
                _send(connection, _caught(part.compute, *_receive(connection, told)), answered)


def _send(connection: Connection, message: Any, counts: NDArray[np.int64]) -> None:
    """Send a message; ``counts``, shared memory, are those sent and received in this direction."""
    counts[0] += 1
    connection.send_bytes(pickle.dumps(message))  # connection.send has a slower pickler


def _receive(connection: Connection, counts: NDArray[np.int64]) -> Any:
    """Return the next message; EOFError or OSError where the other process is gone."""
    until = time.perf_counter() + PATIENCE
    while counts[0] == counts[1] and time.perf_counter() < until:
        pass
    message = pickle.loads(connection.recv_bytes())
    counts[1] += 1
    return message


def _make_part(job: _Job, rank: int, memory: _Memory) -> _Part:
    for file in job.files:
        import_file(Path(file))
    model, loss = pickle.loads(job.pickled)
    return _Part(model, loss, job.seed, rank, memory)


def _caught(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns, or what it raises, in a form that can be sent."""
    try:
        return function(*arguments)
    except GpucnnError as error:
        return error
    except Exception as error:
        name = multiprocessing.current_process().name
        raised = WorkerError(f"{name}: {type(error).__name__}: {error}")
        raised.add_note(traceback.format_exc())
        return raised


def _ending(status: int | None) -> str:
    """Say how a process has ended."""
    if status is None:
        return "no longer answers"
    return (
        f"ended with status {status}" if status >= 0 else f"was killed by {Signals(-status).name}"
    )


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Have processes that start within the block never see what a terminal sends to all."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # before the block: starting it lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
