"""Ranks in the threads of this process, to test what they do together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from gpucnn.errors import WorkerError
from gpucnn.training.processes.group import Group

T = TypeVar("T")
SECONDS = 60


class Meeting:
    """Where the ranks exchange values: one set for each of their calls."""

    def __init__(self, size: int) -> None:
        self.size, self.failed = size, False
        self.changed = threading.Condition()
        self.calls: dict[int, dict[int, Any]] = {}

    def exchange(self, call: int, rank: int, value: Any) -> list[Any]:
        with self.changed:
            values = self.calls.setdefault(call, {})
            values[rank] = value
            self.calls.pop(call - 2, None)
            self.changed.notify_all()
            self.changed.wait_for(lambda: len(values) == self.size or self.failed, SECONDS)
        if len(values) < self.size:
            raise WorkerError("another rank has failed")
        return [values[rank] for rank in range(self.size)]


class Threads(Group):
    """A rank that is a thread."""

    def __init__(self, rank: int, meeting: Meeting) -> None:
        self.rank, self.size, self.local_rank = rank, meeting.size, rank
        self.calls = 0
        self._meeting = meeting

    def sum(self, *arrays: Any) -> None:
        for copies, array in zip(zip(*self._all(arrays), strict=True), arrays, strict=True):
            array[...] = np.add.reduce(np.stack(copies), axis=0)  # adds row by row

    def broadcast(self, value: T) -> T:
        first: T = self._all((value,))[0][0]
        return first

    def gather(self, value: T) -> list[T]:
        return [values[0] for values in self._all((value,))]

    def check(self) -> None:
        if self._meeting.failed:
            raise WorkerError("another rank has failed")

    def fail(self, error: BaseException) -> None:
        with self._meeting.changed:
            self._meeting.failed = True
            self._meeting.changed.notify_all()

    def close(self) -> None:
        pass

    def _all(self, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        self.calls += 1
        copies = (value.copy() if isinstance(value, np.ndarray) else value for value in values)
        return self._meeting.exchange(self.calls, self.rank, tuple(copies))


def together(size: int, work: Callable[[Threads], T]) -> list[T | BaseException]:
    """Run ``work`` on every rank; return what each returned or raised."""
    meeting = Meeting(size)
    results: list[Any] = [None] * size

    def run(group: Threads) -> None:
        try:
            results[group.rank] = work(group)
        except BaseException as error:
            results[group.rank] = error
            group.fail(error)

    threads = [threading.Thread(target=run, args=(Threads(rank, meeting),)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
