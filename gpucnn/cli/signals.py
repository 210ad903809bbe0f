"""SIGINT and SIGTERM while a command runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpucnn.cli.output import show_cursor

SIGNALS = (signal.SIGINT, signal.SIGTERM)

MIN_GRACE, MAX_GRACE = 1.0, 30.0
"""Limits, in seconds, of the time in which a training run must finish a step after a signal."""


class Interrupted(KeyboardInterrupt):
    """A signal ends the command, which exits with ``status``."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class StopRequest:
    """Handles SIGINT and SIGTERM: the first one ends the command, a second one the process at once.

    A command is ended by an Interrupted exception. A training run instead finishes its step, saves
    a checkpoint and stops by itself: within ``finishing_steps`` the exception is raised only if the
    run has not consulted ``requested`` in time, as when a worker process or a kernel hangs.
    """

    def __init__(self) -> None:
        self.status = 0
        self.grace = MIN_GRACE
        self.patient = False
        """Whether the run may take any time to stop, as a rank that waits for others does"""
        self._finishing = False
        self._earlier_alarm: Any = None

    def requested(self) -> bool:
        """Return whether the run should stop; from then on it takes the time that it needs."""
        if self.status:
            self._disarm()
        return self.status != 0

    def ask(self, status: int) -> None:
        """Have the run stop and the command exit with ``status``."""
        self.status = status

    def withdraw(self) -> None:
        """Discard a signal that arrived when the run had finished."""
        self._disarm()
        if self.status > 128 and self.status != 141:
            self.status = 0

    def expect(self, seconds: float) -> None:
        """Set the time that a step and its checkpoint take; they get twice as long to finish."""
        self.grace = min(max(MIN_GRACE, 2 * seconds), MAX_GRACE)

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Handle the two signals within the block; only the main thread of a program can."""
        before = {}
        try:
            for number in SIGNALS:
                before[number] = signal.signal(number, self._on_signal)
        except ValueError:  # another thread
            pass
        try:
            yield
        finally:
            self._disarm()
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def finishing_steps(self) -> Iterator[None]:
        """Let a training run within the block finish its step before it stops."""
        self._finishing = True
        try:
            yield
        finally:
            self._finishing = False
            self._disarm()

    def _on_signal(self, number: int, frame: object) -> None:
        if self.status:
            _leave(128 + number)
        self.ask(128 + number)
        if not self._finishing:
            raise Interrupted(self.status)
        if hasattr(signal, "setitimer") and not self.patient:  # not on Windows
            self._earlier_alarm = signal.signal(signal.SIGALRM, self._on_alarm)
            signal.setitimer(signal.ITIMER_REAL, self.grace)

    def _on_alarm(self, number: int, frame: object) -> None:
        self._disarm()
        raise Interrupted(self.status)

    def _disarm(self) -> None:
        if self._earlier_alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._earlier_alarm)
            self._earlier_alarm = None


def _leave(status: int) -> None:
    """End the process at once, and its worker processes, which may not be able to end."""
    show_cursor()
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None:
        for process in multiprocessing.active_children():
            process.kill()
    os._exit(status)
