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


class Threads(Group):
    """A rank that is a thread; ``slots`` and ``meeting`` are those of all ranks."""

    def __init__(self, rank: int, slots: list[Any], meeting: threading.Barrier) -> None:
        self.rank, self.size, self.local_rank = rank, len(slots), rank
        self._slots, self._meeting = slots, meeting
        self.calls: list[str] = []

    def sum(self, *arrays: Any) -> None:
        self.calls.append("sum")
        for copies, array in zip(zip(*self._all(arrays), strict=True), arrays, strict=True):
            array[...] = np.add.reduce(np.stack(copies), axis=0)  # adds row by row

    def broadcast(self, value: T) -> T:
        self.calls.append("broadcast")
        first: T = self._all((value,))[0][0]
        return first

    def gather(self, value: T) -> list[T]:
        self.calls.append("gather")
        return [values[0] for values in self._all((value,))]

    def check(self) -> None:
        if self._meeting.broken:
            raise WorkerError("another rank has failed")

    def fail(self, error: BaseException) -> None:
        self._meeting.abort()

    def close(self) -> None:
        pass

    def _all(self, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        self._slots[self.rank] = tuple(
            value.copy() if isinstance(value, np.ndarray) else value for value in values
        )
        try:
            self._meeting.wait(SECONDS)
            found = list(self._slots)
            self._meeting.wait(SECONDS)
        except threading.BrokenBarrierError:
            raise WorkerError("another rank has failed") from None
        return found


def together(size: int, work: Callable[[Threads], T]) -> list[T | BaseException]:
    """Run ``work`` on every rank; return what each returned or raised."""
    slots, meeting = [None] * size, threading.Barrier(size)
    results: list[Any] = [None] * size

    def run(group: Threads) -> None:
        try:
            results[group.rank] = work(group)
        except BaseException as error:
            results[group.rank] = error
            group.fail(error)

    threads = [
        threading.Thread(target=run, args=(Threads(rank, slots, meeting),)) for rank in range(size)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
