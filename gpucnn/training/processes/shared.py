"""Memory and messages that the processes of a run share."""

from __future__ import annotations

import errno
import math
import os
import pickle
import shutil
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpucnn.errors import SettingError
from gpucnn.nn.sequential import Sequential
from gpucnn.training.processes.pulse import BEAT_SECONDS, Pulse

SHARED_MEMORY = "/dev/shm"
"""Where Linux keeps shared memory; Python's multiprocessing needs it."""

SPIN_SECONDS = 0.002
"""How long a process polls for a message before it sleeps: waking a sleeping process takes 0.1 ms,
and longer in a virtual machine."""


@dataclass
class _SharedArray:
    """An array in memory that child processes inherit when they start."""

    memory: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def zeros(cls, shape: tuple[int, ...], dtype: DTypeLike) -> _SharedArray:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            # Python takes the first folder with enough room. Without this check, the first access
            # to memory that the system cannot provide would kill the process.
            folders = (SHARED_MEMORY, tempfile.gettempdir()) if os.name == "posix" else ()
            free = [shutil.disk_usage(folder).free for folder in folders if os.path.isdir(folder)]
            if free and max(free) < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return cls(RawArray("b", size), shape, np.dtype(dtype))
        except OSError as error:
            raise SettingError(
                f"cannot allocate {size / 2**20:,.1f} MiB of shared memory for workers: "
                f"{error.strerror}; train with workers=1 (--workers 1), which needs none"
            ) from error

    def array(self) -> NDArray[Any]:
        return np.frombuffer(self.memory, self.dtype).reshape(self.shape)


class SharedArrays:
    """What ``count`` processes share, for batches of at most ``max_batch`` images.

    Attributes:
        parameters: (flat_size,), changed by the first process only.
        grads: (count, flat_size), a row for each process.
        images: uint8 (max_batch, C, H, W), the current batch.
        labels: int64 (max_batch,), its classes; or numbers (max_batch, K).
        requests: int64 (count, 2), the messages sent to each process, and those received by it.
        replies: int64 (count, 2), the same for its replies.
        beats: int64 (count,), the pulse of each process.
    """

    def __init__(self, model: Sequential, count: int, max_batch: int) -> None:
        dtype, numbers = model.backend.dtype, model.targets
        labels = (max_batch, len(numbers)) if numbers else (max_batch,)
        self._shared = {
            "parameters": _SharedArray.zeros((model.flat_size,), dtype),
            "grads": _SharedArray.zeros((count, model.flat_size), dtype),
            "images": _SharedArray.zeros((max_batch, *model.input_shape), np.uint8),
            "labels": _SharedArray.zeros(labels, dtype if numbers else np.int64),
            "requests": _SharedArray.zeros((count, 2), np.int64),
            "replies": _SharedArray.zeros((count, 2), np.int64),
            "beats": _SharedArray.zeros((count,), np.int64),
        }
        self._make_views()

    def __getstate__(self) -> dict[str, _SharedArray]:
        return self._shared

    def __setstate__(self, state: dict[str, _SharedArray]) -> None:
        self._shared = state
        self._make_views()

    def _make_views(self) -> None:
        arrays = {name: shared.array() for name, shared in self._shared.items()}
        self.parameters, self.grads = arrays["parameters"], arrays["grads"]
        self.images, self.labels = arrays["images"], arrays["labels"]
        self.requests, self.replies = arrays["requests"], arrays["replies"]
        self.beats = arrays["beats"]


# --- messages -----------------------------------------------------------------------------------
# ``counts``, int64 (2,) of shared memory, are the messages sent and received in one direction: the
# receiver sees in them that there is a message without a call to the operating system.


def send(connection: Connection, message: Any, counts: NDArray[np.int64]) -> None:
    """Send a message."""
    counts[0] += 1
    connection.send_bytes(pickle.dumps(message))  # connection.send uses a slower pickler


def receive(connection: Connection, counts: NDArray[np.int64], pulse: Pulse | None = None) -> Any:
    """Return the next message; EOFError or OSError if the other process has ended.

    TimeoutError, an OSError, if its ``pulse`` has stopped.
    """
    until = time.perf_counter() + SPIN_SECONDS
    while counts[0] == counts[1] and time.perf_counter() < until:
        pass
    while pulse is not None and counts[0] == counts[1] and not connection.poll(BEAT_SECONDS):
        if pulse.stopped():
            raise TimeoutError
    message = pickle.loads(connection.recv_bytes())
    counts[1] += 1
    return message
