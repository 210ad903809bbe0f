"""What is computed of images while they are packed: digests, checksums and sums, in threads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucnn.data.checks import add_counts, mean_std
from gpucnn.data.lazy import Recorded, image_digests
from gpucnn.data.types import Bytes

_THREADS = 5  # three figures, and two that write a file and hash it


class Figures:
    """The figures of the images of a split, which are added in their order.

    Args:
        channels: of the images.
        labels: of all images, as ``Split.label_bytes`` returns them.
        pool: computes the figures.
    """

    def __init__(self, channels: int, labels: memoryview, pool: ThreadPoolExecutor) -> None:
        self._labels = hashlib.sha256(labels).hexdigest()
        self._fingerprint = hashlib.sha256(labels)
        self._counts = np.zeros((channels, 256), np.int64)
        self._digests: list[npt.NDArray[np.uint64]] = []
        self._pool = pool
        self._pending: list[Future[Any]] = []

    def add(self, images: Bytes, *others: Callable[[Bytes], object]) -> None:
        """Add images; ``others`` are called with them, each in a thread.

        They are computed while the caller makes the next images; what is left of those before is
        waited for, and its exceptions are raised.
        """
        self.finish()
        work = (self._hash, self._count, self._digest, *others)
        self._pending = [self._pool.submit(function, images) for function in work]

    def finish(self) -> None:
        """Wait for what was added; its exceptions are raised."""
        pending, self._pending = self._pending, []
        wait(pending)
        for future in pending:
            future.result()

    def recorded(self) -> Recorded:
        """Return what a packed data set records of the images."""
        self.finish()
        pairs = [mean_std(levels) for levels in self._counts]
        return Recorded(
            self._labels,
            self._fingerprint.hexdigest(),
            tuple(mean for mean, _ in pairs),
            tuple(std for _, std in pairs),
        )

    def digests(self) -> npt.NDArray[np.uint64]:
        """Return the ``image_digests`` of all images."""
        self.finish()
        return np.concatenate(self._digests)

    def _hash(self, images: Bytes) -> None:
        self._fingerprint.update(images.data)

    def _count(self, images: Bytes) -> None:
        add_counts(self._counts, images)

    def _digest(self, images: Bytes) -> None:
        self._digests.append(image_digests(images))


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """Return the threads of ``Figures``; they have ended after the block."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="pack")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
