"""Ranks that were started by ``mpiexec``: MPI through mpi4py."""

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
from gpucnn.training.processes.exchange import Gathered, Sliced, make_exchange
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
        self._exchanges: dict[Any, Gathered | Sliced] = {}
        self._flags = np.zeros(1, np.int8), np.zeros(1, np.int8)
        self._unfinished: list[Any] = []
        """Requests after a fault: MPI may still write to the memory that they keep alive"""
        self._closed = False
        self._status = 0
        threads = MPI.Query_thread() == MPI.THREAD_MULTIPLE
        self._watch = Watch(MPI.COMM_WORLD.Dup(), MPI, threads)
        atexit.register(self._leave_early)

    def sum(self, *arrays: NDArray[Any]) -> None:
        """As in ``Group``."""
        key = tuple((array.shape, array.dtype) for array in arrays)
        if key not in self._exchanges:
            self._exchanges[key] = make_exchange(arrays, self.size)
        for request in self._exchanges[key].run(self._comm, arrays):
            self._wait(request)

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
            raise WorkerError(str(fault), fault.rank if fault.lost else None, fault.status)

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
        os._exit(self._status or fault.status)

    def _wait(self, request: Any) -> None:
        """Wait until a request is complete; WorkerError if another rank has failed."""
        until, (sleep, longest) = time.perf_counter() + SPIN_SECONDS, SLEEP_SECONDS
        while not request.Test():
            if time.perf_counter() > until:
                if (fault := self._watch.check(waiting=True)) is not None:
                    self._unfinished.append(request)
                    self._raise(fault)
                time.sleep(sleep)
                sleep = min(2 * sleep, longest)


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


def _described(error: BaseException) -> tuple[str, int]:
    """Return the text that the other ranks print for an error, and the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return "was interrupted", getattr(error, "status", 130)
    if isinstance(error, GeneratorExit):
        return "ended the run early", 1
    if isinstance(error, GpucnnError):
        return f"failed: {error}", error.status
    return f"failed: {type(error).__name__}: {error}", 1
