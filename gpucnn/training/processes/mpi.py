"""Ranks that were started by ``mpiexec``: MPI through mpi4py.

MPI's own reduction promises no order of the summands. Here each rank gets a slice of the arrays of
all others (``Ialltoall``), adds them in the order of ranks, and returns the sums (``Iallgather``).
"""

from __future__ import annotations

import atexit
import os
import pickle
import sys
import time
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from gpucnn.errors import GpucnnError, WorkerError
from gpucnn.training.processes.group import Group
from gpucnn.training.processes.pulse import SILENT_SECONDS
from gpucnn.training.processes.watch import LEAVE_SECONDS, Fault, Watch

T = TypeVar("T")

SPIN_SECONDS = 0.002
"""How long a rank polls for a message before it sleeps between two looks."""

SLEEP_SECONDS = 5e-5, 1e-3
"""Its first sleep, and its longest."""


class Mpi(Group):
    """The ranks of MPI's world.

    Waiting ranks sleep, where MPI itself would keep a core busy, and notice that another one has
    failed (``watch.py``).
    """

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD.Dup()
        self.rank, self.size = self._comm.rank, self._comm.size
        here = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank = here.rank
        _unlink_shared_memory(here)
        self._sums: dict[Any, _Sum] = {}
        self._flags = np.zeros(1, np.int8), np.zeros(1, np.int8)
        self._closed = False
        self._status = 0
        threads = MPI.Query_thread() == MPI.THREAD_MULTIPLE
        self._watch = Watch(MPI.COMM_WORLD.Dup(), MPI, threads)
        atexit.register(self._leave_early)

    def sum(self, *arrays: NDArray[Any]) -> None:
        """As in ``Group``."""
        key = tuple((array.shape, array.dtype) for array in arrays)
        if key not in self._sums:
            self._sums[key] = _Sum(arrays, self.size)
        buffers = self._sums[key]
        buffers.put(arrays)
        self._wait(self._comm.Ialltoall(buffers.sent, buffers.received))
        buffers.add()
        self._wait(self._comm.Iallgather(buffers.summed, buffers.all))
        buffers.take(arrays)

    def broadcast(self, value: T) -> T:
        """As in ``Group``."""
        data = pickle.dumps(value) if self.rank == 0 else b""
        size = np.array([len(data)], np.int64)
        self._wait(self._comm.Ibcast(size))
        buffer = bytearray(data) if self.rank == 0 else bytearray(int(size[0]))
        self._wait(self._comm.Ibcast([buffer, MPI.BYTE]))
        return value if self.rank == 0 else pickle.loads(buffer)

    def gather(self, value: T) -> list[T]:
        """As in ``Group``."""
        data = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = np.zeros(self.size, np.int64)
        self._wait(self._comm.Iallgather(np.array([data.size], np.int64), sizes))
        buffer = np.zeros(sizes.sum(), np.uint8)
        ends = np.cumsum(sizes)
        self._wait(self._comm.Iallgatherv(data, [buffer, (sizes, ends - sizes), MPI.BYTE]))
        parts = np.split(buffer, ends[:-1])
        return [pickle.loads(part.tobytes()) for part in parts]

    def any(self, flag: bool) -> bool:
        """As in ``Group``."""
        own, found = self._flags
        own[0] = bool(flag)
        self._wait(self._comm.Iallreduce(own, found, MPI.MAX))
        return bool(found[0])

    def check(self) -> None:
        """As in ``Group``."""
        self._raise(self._watch.check())

    def _raise(self, fault: Fault | None) -> None:
        if fault is not None:
            raise WorkerError(str(fault), fault.rank, fault.status)

    def fail(self, error: BaseException) -> None:
        """As in ``Group``."""
        fault = self._watch.fault or Fault(self.rank, *_described(error))
        self._watch.report(fault)
        self._status = fault.status

    def close(self) -> None:
        """As in ``Group``; after a fault, MPI may not be finalised: see ``_leave_early``."""
        if self._closed:
            return
        self._closed = True
        if self._watch.check() is None:
            self._watch.leave(ready=True)
            if self._watch.wait_for_leave():
                self._watch.stop()
                atexit.unregister(self._leave_early)
        elif self.rank:
            self._watch.leave(ready=True)

    def _leave_early(self) -> None:
        """End the process without finalising MPI if that would wait for ranks that are gone.

        Rank 0 decides, when it has saved and printed everything: what started the ranks may kill
        all as soon as one of them ends in this way.
        """
        if not self._closed:  # the program did not
            atexit.unregister(self._leave_early)
            self.close()
        fault = self._watch.fault
        if fault is None:
            return
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if self.rank == 0:
            ready = self._watch.wait_for_leave(LEAVE_SECONDS)
            self._watch.leave(ready)
        else:
            ready = self._watch.wait_for_leave(SILENT_SECONDS + LEAVE_SECONDS)
        if ready:
            self._watch.stop()
            return
        self._watch.end_silent()
        os._exit(self._status or (fault.status if fault else 1))

    def _wait(self, request: Any) -> None:
        """Wait until a request is complete; WorkerError if another rank has failed."""
        until, (sleep, longest) = time.perf_counter() + SPIN_SECONDS, SLEEP_SECONDS
        while not request.Test():
            if time.perf_counter() > until:
                self._raise(self._watch.check(waiting=True))
                time.sleep(sleep)
                sleep = min(2 * sleep, longest)


class _Sum:
    """Memory for the sum of arrays of certain shapes and dtypes over ``size`` ranks.

    The first array is cut into a slice for each rank; the others, which are small, go to every one.
    """

    def __init__(self, arrays: tuple[NDArray[Any], ...], size: int) -> None:
        first, *others = arrays
        self.length = -(-first.size // size)
        ends = np.cumsum([_padded(self.length * first.itemsize), *map(_bytes, others)])
        self.sent, self.received = (np.zeros((size, ends[-1]), np.uint8) for _ in range(2))
        self.summed = np.zeros(self.length, first.dtype)
        self.all = np.zeros((size, self.length), first.dtype)
        self._sent, self._received = (
            [_view(rows, 0, self.length, first.dtype)]
            + [
                _view(rows, start, array.size, array.dtype)
                for start, array in zip(ends[:-1], others, strict=True)
            ]
            for rows in (self.sent, self.received)
        )

    def put(self, arrays: tuple[NDArray[Any], ...]) -> None:
        """Copy this rank's arrays to what is sent."""
        first, *others = arrays
        flat, (slices, *copies) = first.reshape(-1), self._sent
        for rank, row in enumerate(slices):
            part = flat[rank * self.length : (rank + 1) * self.length]
            row[: part.size] = part
        for copy, array in zip(copies, others, strict=True):
            copy[...] = array.reshape(-1)

    def add(self) -> None:
        """Add what was received, in the order of ranks."""
        self.summed[...] = self._received[0][0]
        for total, *rows in ((self.summed, *self._received[0][1:]), *self._received[1:]):
            for row in rows:
                total += row

    def take(self, arrays: tuple[NDArray[Any], ...]) -> None:
        """Copy the sums to the arrays."""
        first, *others = arrays
        first[...] = self.all.reshape(-1)[: first.size].reshape(first.shape)
        for rows, array in zip(self._received[1:], others, strict=True):
            array[...] = rows[0].reshape(array.shape)


def _unlink_shared_memory(here: Any) -> None:
    """Remove the names of the memory that the ranks of one machine share, when all have opened it.

    MPICH does so only when it is finalised: killed ranks would leave the memory to nobody.
    """
    here.Barrier()
    if here.rank == 0 and sys.platform == "linux":
        with open("/proc/self/maps") as maps:
            files = {line.split()[-1] for line in maps if "/dev/shm/mpich_shm_" in line}
        for file in files:
            with suppress(OSError):
                os.unlink(file)


def _padded(size: int) -> int:
    return -(-size // 8) * 8


def _bytes(array: NDArray[Any]) -> int:
    return _padded(array.nbytes)


def _view(rows: NDArray[np.uint8], start: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return ``count`` elements of each row, from a byte on, as an array (rows, count)."""
    return rows[:, start : start + count * dtype.itemsize].view(dtype)


def _described(error: BaseException) -> tuple[str, int]:
    """Return what others are told of an error, and the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return "was interrupted", getattr(error, "status", 130)
    if isinstance(error, GeneratorExit):
        return "ended the run early", 1
    if isinstance(error, GpucnnError):
        return f"failed: {error}", error.status
    return f"failed: {type(error).__name__}: {error}", 1
