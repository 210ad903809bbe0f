"""Work on many files in a few threads, which a signal can interrupt."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[int, int], object]
"""Called with the number of items that are done and their total."""

MAX_THREADS = 8
"""Every thread may need memory for a decoded image of the largest size."""

_SECONDS = 0.1  # between two calls of a Progress
_JOIN_SECONDS = 0.5


def default_threads() -> int:
    """Return the number of threads for ``map_files``: of processors, at most MAX_THREADS."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MAX_THREADS)
    return min(os.cpu_count() or 1, MAX_THREADS)


def map_files(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    progress: Progress | None = None,
    threads: int | None = None,
) -> list[Result]:
    """Return ``[function(item) for item in items]``, computed in threads.

    The calling thread only waits, so that a signal's handler, or ``progress``, can raise at any
    time, whatever the system is doing with a file. The threads then finish the items that they have
    begun; they do not keep the process from ending.

    Args:
        function: called once for each item, in any order and in any thread.
        items: its arguments.
        progress: called about ten times a second, and when all is done.
        threads: their number; by default ``default_threads()``.

    Raises:
        What ``function`` or ``progress`` raises.
    """
    total, reported = len(items), -_SECONDS
    results: dict[int, Result] = {}
    tasks = iter(range(total))
    done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
    lock, stop = threading.Lock(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            with lock:
                index = next(tasks, None)
            if index is None:
                return
            try:
                done.put((index, function(items[index]), None))
            except BaseException as error:
                done.put((index, None, error))

    started = _start(work, min(threads or default_threads(), total))
    try:
        while len(results) < total:
            if not started:
                index = next(tasks)
                results[index] = function(items[index])
            elif finished := _next(done):
                index, result, error = finished
                if error is not None:
                    raise error
                results[index] = result
            if progress and (time.monotonic() - reported >= _SECONDS or len(results) == total):
                reported = time.monotonic()
                progress(len(results), total)
    finally:
        stop.set()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in started:
            thread.join(max(0.0, deadline - time.monotonic()))
    return [results[index] for index in range(total)]


def _start(work: Callable[[], None], count: int) -> list[threading.Thread]:
    """Start ``count`` threads, or as many as the system allows."""
    started = []
    for _ in range(count):
        thread = threading.Thread(target=work, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads
            break
        started.append(thread)
    return started


def _next(done: queue.SimpleQueue[Item]) -> Item | None:
    """Return the next item of a queue; None if there is none for a tenth of a second."""
    try:
        return done.get(timeout=_SECONDS)
    except queue.Empty:
        return None
