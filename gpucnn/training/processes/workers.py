"""Gradients by several processes, each of which computes a part of every batch.

The processes share memory: the parameters, which only the first process changes, a row of gradients
for each process, and the images of the batch. A message to each worker names its part of the batch;
the reply means that its row is written. The rows are added in the order of the processes, so the
same number of processes gives the same bits; another number gives others.

Each process has buffers of its own, changed by its parts of the batches. Those of the first process
are the model's, so running statistics are those of its parts, as in PyTorch's
DistributedDataParallel without SyncBatchNorm.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from gpucnn.backends import Backend
from gpucnn.backends.contract import Augmentation, StepArrays
from gpucnn.errors import SettingError, WorkerError
from gpucnn.machine import processor
from gpucnn.nn.imports import files_of
from gpucnn.nn.losses import Loss
from gpucnn.nn.sequential import Sequential
from gpucnn.training.processes.part import Part, bounds
from gpucnn.training.processes.pulse import Pulse
from gpucnn.training.processes.shared import SHARED_MEMORY, SharedArrays, receive, send
from gpucnn.training.processes.worker import Job, SharedPart, work
from gpucnn.training.settings import Settings

MIN_RUN, MIN_PART = 1e10, 1e7
"""Multiply-adds, forward, of a run that is worth starting workers, and of a worker's part of a
batch: LeNet-5 needs 416,520 for an image."""

CLOSE_SECONDS = 0.5
"""How long a worker may take to end by itself."""


class Workers:
    """Processes that compute gradients together; the current process is the first of them.

    While they run, the model's parameters and gradients are in shared memory.

    Args:
        model: a network on a backend whose operations run in several threads.
        loss: what to minimise.
        seed: decides dropout's masks, with the number of the step and of the process.
        count: number of processes, the current one included.
        max_batch: images in the largest batch.
        augment: random changes of the images.

    Raises:
        SettingError: the backend, the batch or the model cannot be used with workers.
    """

    def __init__(
        self,
        model: Sequential,
        loss: Loss,
        seed: int,
        count: int,
        max_batch: int,
        augment: Augmentation | None = None,
    ) -> None:
        if not model.backend.thread_parallel:
            raise SettingError(
                f"{count} workers need the numpy backend, got {model.backend.name}; a run of "
                f"several processes is resumed with numpy, or with mpiexec -n {count}"
            )
        if count > max_batch:
            raise SettingError(f"a batch of {max_batch} is too small for {count} workers")
        if multiprocessing.current_process().daemon:
            raise SettingError("a daemonic process cannot start workers")
        try:
            pickled = pickle.dumps((model, loss))
        except Exception as error:
            raise SettingError(f"the model cannot be sent to a worker: {error}") from error
        self.model, self.loss, self.seed, self.augment = model, loss, seed, augment
        self.count, self.max_batch = count, max_batch
        self.job = Job(pickled, files_of(pickled), seed, augment)
        self.processes: list[BaseProcess] = []
        self.pulses: list[Pulse] = []
        self.connections: list[Connection] = []
        self.owner = os.getpid()
        self.restore_signals: Callable[[], None] = _nothing

    def start(self) -> None:
        """Start the processes and wait until all are ready; WorkerError if one is not."""
        atexit.register(self.close)  # runs before the interpreter would wait for the processes
        self.shared = SharedArrays(self.model, self.count, self.max_batch)
        part = Part(self.model, self.loss, self.seed, self.augment, 0, self.count)
        self.part = SharedPart(part, self.shared)
        self.pulses = [Pulse(self.shared.beats, rank) for rank in range(1, self.count)]
        self.restore_signals = _keep_child_status()
        try:
            self._start_processes()
        except OSError as error:  # the system has no more processes, files or memory
            raise WorkerError(
                f"cannot start worker processes: {error.strerror or error}; "
                "train with workers=1 (--workers 1), which needs none"
            ) from error
        for rank in range(1, self.count):
            self._send(rank, self.job)
        for rank in range(1, self.count):
            self._wait_until_ready(rank)

    def _start_processes(self) -> None:
        context = multiprocessing.get_context("spawn")  # fork would copy locks and threads
        with _signals_blocked():
            for rank in range(1, self.count):
                own, other = context.Pipe()
                # The job is sent later: process.start() would wait forever if a process that
                # ended early had not read more than a pipe holds.
                process = context.Process(
                    target=work,
                    args=(other, rank, self.shared),
                    name=f"worker {rank}",
                    daemon=True,
                )
                self.connections.append(own)
                with other:  # this end is closed here, so that the pipe closes with the worker
                    process.start()
                self.processes.append(process)

    def _wait_until_ready(self, rank: int) -> None:
        try:
            self._receive(rank)
        except WorkerError as error:
            if getattr(error, "__notes__", None):  # the worker's own error, with its traceback
                raise
            hint = ""
            if self.processes[rank - 1].exitcode == 1:  # as when the script cannot be imported
                hint = (
                    "; to train with workers, a script must be a file and start training under "
                    "`if __name__ == '__main__':`"
                )
            raise WorkerError(f"{error} before it was ready{hint}") from None

    def set_grads(self, arrays: StepArrays) -> None:
        """As ``FusedGradients.set_grads``.

        If a worker has ended, WorkerError is raised, and ``arrays.totals`` and the model's buffers
        are as they were.
        """
        shared, count = self.shared, arrays.indices.size
        if arrays.parameters is not shared.parameters:
            raise SettingError("the model was moved to a backend while its workers trained it")
        np.take(arrays.images, arrays.indices, axis=0, out=shared.images[:count], mode="clip")
        shared.labels[:count] = arrays.targets
        own_share = None if arrays.own_share is None else float(arrays.own_share[0])
        batch = count, int(arrays.step[0]), own_share
        spans = [bounds(count, rank, self.count) for rank in range(self.count)]
        active = [rank for rank, (start, end) in enumerate(spans) if rank and end > start]
        for rank in active:
            self._send(rank, batch)
        buffers = {name: buffer.data.copy() for name, buffer in self.model.named_buffers()}
        try:
            found = [self.part.compute(*batch), *(self._receive(rank) for rank in active)]
        except WorkerError:
            for name, buffer in self.model.named_buffers():
                buffer.data[...] = buffers[name]
            raise
        for rank in active:
            shared.grads[0] += shared.grads[rank]
        summed = np.sum(found, axis=0)
        totals = arrays.totals
        totals += summed
        loss = np.asarray(summed[0] / count, shared.grads.dtype)
        self.model.backend.check_finite(arrays.failed_step, loss, arrays.grads, arrays.step)

    def check(self) -> None:
        """Raise WorkerError if a worker has ended or does not respond; called in long work."""
        for rank, (process, pulse) in enumerate(zip(self.processes, self.pulses, strict=True), 1):
            if pulse.stopped():
                raise WorkerError(f"worker {rank} does not respond")
            if wait([process.sentinel], 0):
                process.join()
                raise WorkerError(f"worker {rank} {_describe_exit(process.exitcode)}")

    def close(self) -> None:
        """End the processes and give the model memory of its own again."""
        if os.getpid() != self.owner:  # a forked copy: the processes belong to its parent
            return
        atexit.unregister(self.close)
        for connection in self.connections:
            connection.close()  # ends the worker
        until = time.monotonic() + CLOSE_SECONDS
        for process in self.processes:
            # A process that is suspended, or computes for long, is killed: it has nothing to save.
            if not wait([process.sentinel], max(0.0, until - time.monotonic())):
                process.kill()
            process.join(CLOSE_SECONDS)
            with suppress(ValueError):  # its status cannot be read: see _keep_child_status
                process.close()
        self.restore_signals()
        self.connections, self.processes = [], []
        shared = getattr(self, "shared", None)
        if shared is not None and self.model.flat_parameters is shared.parameters:
            # Not views of shared memory: a fork would change the same parameters.
            self.model.lay_out(shared.parameters.copy(), shared.grads[0].copy())

    def _send(self, rank: int, message: Any) -> None:
        with suppress(OSError):  # a worker that has ended shows when its reply is read
            send(self.connections[rank - 1], message, self.shared.requests[rank])

    def _receive(self, rank: int) -> Any:
        try:
            connection, replies = self.connections[rank - 1], self.shared.replies[rank]
            reply = receive(connection, replies, self.pulses[rank - 1])
        except TimeoutError:
            raise WorkerError(f"worker {rank} does not respond") from None
        except (EOFError, OSError):
            process = self.processes[rank - 1]
            process.join(10)
            raise WorkerError(f"worker {rank} {_describe_exit(process.exitcode)}") from None
        if isinstance(reply, BaseException):
            raise reply
        return reply


def default_workers(model: Sequential, backend: Backend, images: int, settings: Settings) -> int:
    """Return the number of processes that makes a run on ``images`` images fastest.

    It is 1 for small runs and small batches: starting processes takes as long as training on some
    thousand digits, and a part of a batch must be worth the messages.
    """
    if not backend.thread_parallel:
        return 1
    if sys.platform == "linux" and not os.access(SHARED_MEMORY, os.W_OK):
        return 1  # as in some sandboxes
    work = model.summary().multiply_adds
    if work * images * settings.epochs < MIN_RUN:
        return 1
    size = min(settings.batch_size, images)
    return max(1, min(processor.cores(), size, int(size * work // MIN_PART)))


def _describe_exit(status: int | None) -> str:
    if status is None:
        return "does not respond"
    if status >= 0:
        return f"exited with status {status}"
    return f"was killed by {signal.Signals(-status).name}"


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Start processes within the block that ignore Ctrl-C and SIGTERM from their first moment."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # before the block: starting it unblocks the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nothing() -> None:
    pass


def _keep_child_status() -> Callable[[], None]:
    """Have the system keep the exit status of child processes; return what undoes that.

    Where SIGCHLD is ignored, as some programs have it for their children, the system forgets a
    process when it ends: its status could not be read, and its number may become another's. Only
    the main thread of a program can change that.
    """
    if not hasattr(signal, "SIGCHLD") or signal.getsignal(signal.SIGCHLD) != signal.SIG_IGN:
        return _nothing
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    except ValueError:
        return _nothing

    def restore() -> None:
        with suppress(ValueError):  # called in another thread
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    return restore
