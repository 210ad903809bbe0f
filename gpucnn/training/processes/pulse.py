"""The pulse of worker processes: counters in shared memory that each of them increments.

A thread of a worker does so twice a second, also while the worker computes for long. One whose
counter stays the same is suspended, or the system does not let it run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

BEAT_SECONDS, SILENT_SECONDS = 0.5, 6.0
"""How often a process shows that it runs, and after which silence it does not respond."""


@contextmanager
def beating(beats: NDArray[np.int64], rank: int) -> Iterator[None]:
    """Increment ``beats[rank]`` twice a second within the block."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(BEAT_SECONDS):
            beats[rank] += 1

    beats[rank] += 1
    thread = threading.Thread(target=run, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Pulse:
    """Whether the pulse of a process, ``beats[rank]``, has stopped."""

    def __init__(self, beats: NDArray[np.int64], rank: int) -> None:
        self._beats, self._rank = beats, rank
        self._last, self._since, self._looked = 0, 0.0, 0.0

    def stopped(self) -> bool:
        """Return whether it is the same for too long; call this now and then.

        A process that has not started yet has none, and none has stopped.
        """
        now, beat = time.monotonic(), int(self._beats[self._rank])
        # After a long time without a look, this process may have been suspended with the other.
        if beat != self._last or now - self._looked > SILENT_SECONDS / 3:
            self._last, self._since = beat, now
        self._looked = now
        return beat > 0 and now - self._since > SILENT_SECONDS
