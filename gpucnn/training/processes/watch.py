"""Notices that another rank has failed, has ended or does not respond.

A thread of each rank sends a message to rank 0 twice a second, and rank 0's to all others: it runs
also while its process computes for long. A rank that fails reports it, to rank 0, which passes it
on. In the end all ranks take leave of each other, so that none waits for one that is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gpucnn.training.processes.pulse import BEAT_SECONDS, SILENT_SECONDS

POLL_SECONDS = 0.1
"""How often messages are read."""

LEAVE_SECONDS = 2.0
"""How long rank 0 waits for the others in the end of a run that failed."""

_BEAT, _FAULT, _LEAVE = 1, 2, 3


@dataclass(frozen=True)
class Fault:
    """Why the ranks cannot continue: what happened on ``rank``, and the exit status of all."""

    rank: int
    text: str
    status: int = 1
    lost: bool = False
    """Whether the rank cannot report it itself"""

    def __str__(self) -> str:
        return f"rank {self.rank} {self.text}"


class Watch:
    """Watches the other ranks of ``comm``, a communicator of its own, on behalf of one rank.

    ``fault`` is the first that was found. Without ``threads`` (MPI_THREAD_MULTIPLE), messages are
    only read and sent while the rank waits for others, and silence means nothing.
    """

    def __init__(self, comm: Any, mpi: Any, threads: bool) -> None:
        self._comm, self._mpi = comm, mpi
        self.fault: Fault | None = None
        self.rank, size = comm.rank, comm.size
        peers = range(1, size) if self.rank == 0 else range(1)
        now = time.monotonic()
        self._seen = dict.fromkeys(peers, now)
        """When each rank that is watched was last heard of"""
        self._left: dict[int, tuple[bool, float]] = {}
        """Those that have taken leave: whether they are ready to finalise MPI, and when"""
        self._silent: set[int] = set()
        self._polled = self._beaten = now
        self._sending: dict[int, Any] = {}
        self._processes: list[tuple[str, int]] = comm.allgather((socket.gethostname(), os.getpid()))
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        if threads and peers:
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()

    def check(self, waiting: bool = False) -> Fault | None:
        """Return the fault that was found, None if there is none.

        It is one as well if this rank is ``waiting`` for others and one of them has taken leave.
        """
        if self._thread is None:
            self._poll()
        if waiting and self.fault is None:
            now = time.monotonic()
            for peer, (_, when) in list(self._left.items()):
                if now - when > LEAVE_SECONDS:  # what it sent before has arrived
                    self.fault = Fault(peer, "has ended", lost=True)
        return self.fault

    def report(self, fault: Fault) -> None:
        """Tell rank 0 of a fault, or from rank 0 all others; the first one counts."""
        self.fault = self.fault or fault
        for peer in self._seen:
            if peer not in self._silent and peer not in self._left:
                self._send(fault, peer, _FAULT)

    def leave(self, ready: bool) -> None:
        """Take leave of the ranks that are watched; ``ready`` to finalise MPI with all others."""
        for peer in self._seen:
            if peer not in self._silent:
                self._send(ready, peer, _LEAVE)

    def wait_for_leave(self, seconds: float | None = None) -> bool:
        """Wait until all that are watched have taken leave; return whether all are ready.

        Without a limit of ``seconds`` the wait ends only if one does not respond.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while len(self._left) < len(self._seen) and not self._silent:
            if until is not None and time.monotonic() > until:
                break
            self.check()
            time.sleep(POLL_SECONDS / 10)
        return len(self._left) == len(self._seen) and all(ready for ready, _ in self._left.values())

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def end_silent(self) -> None:
        """Kill the ranks that do not respond: here by a signal, elsewhere by MPI, with all."""
        here = socket.gethostname()
        for rank in list(self._silent):  # the thread may add to them
            host, pid = self._processes[rank]
            if host == here and hasattr(signal, "SIGKILL"):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            else:
                self._comm.Abort(1)

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            self._poll()

    def _poll(self) -> None:
        """Read messages, send one if it is time, and look for silence."""
        now = time.monotonic()
        if now - self._polled > SILENT_SECONDS / 3:  # this process was suspended, as all may be
            self._seen = dict.fromkeys(self._seen, now)
        self._polled = now
        status = self._mpi.Status()
        while self._comm.iprobe(self._mpi.ANY_SOURCE, self._mpi.ANY_TAG, status):
            source, tag = status.source, status.tag
            value = self._comm.recv(source=source, tag=tag)
            self._seen[source] = now
            if tag == _FAULT:
                self.fault = self.fault or value
            elif tag == _LEAVE:
                self._left[source] = value, now
        if now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            for peer in self._seen:
                if peer not in self._sending or self._sending[peer].Test():
                    self._sending[peer] = self._comm.isend(None, dest=peer, tag=_BEAT)
        if self._thread is not None:
            self._look_for_silence(now)

    def _look_for_silence(self, now: float) -> None:
        for peer, seen in self._seen.items():
            if now - seen > SILENT_SECONDS and peer not in self._left:
                self._silent.add(peer)
                self.fault = self.fault or Fault(peer, "does not respond", lost=True)

    def _send(self, value: Any, peer: int, tag: int) -> None:
        request = self._comm.isend(value, dest=peer, tag=tag)
        until = time.monotonic() + LEAVE_SECONDS
        while not request.Test() and time.monotonic() < until:
            time.sleep(POLL_SECONDS / 100)
