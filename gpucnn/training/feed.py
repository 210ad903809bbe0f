"""Images that lie in files, read by a thread ahead of the steps that train on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event, Thread

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.data.lazy import LazyImages
from gpucnn.errors import DataError, ReadError

SLOTS = 3
"""Parts of the epoch in memory: one that steps use, one that is ready, one that is being read."""

MIN_SLOT, MAX_SLOT = 1 << 20, 16 << 20
"""Bytes of a slot, unless one batch has more: large enough that handing it over costs little."""

MAX_BATCHES = 32
"""Batches of a slot at most."""

READ_AT_ONCE = 256
"""Images that are read before the thread looks whether it is to end."""

END_SECONDS = 10.0
"""How long the thread may take to end: a read that hangs cannot be interrupted."""


Needed = Callable[[int], list[tuple[int, int]]]
"""Which images of a batch, of so many, are needed: parts of it as first image and end."""


def read(source: LazyImages, indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
    """As ``source.take``; ReadError if a file cannot be read, or is not what it was."""
    try:
        source.take(indices, out)
    except (DataError, OSError) as error:
        raise ReadError(str(error)) from error


@dataclass
class _Epoch:
    """What the thread of an epoch and the steps exchange."""

    order: NDArray[np.int64] | None
    first: int
    free: SimpleQueue[None] = field(default_factory=SimpleQueue)
    """An item for each slot that may be filled"""
    filled: SimpleQueue[BaseException | None] = field(default_factory=SimpleQueue)
    """An item for each slot that is filled; or an error, the last item"""
    ending: Event = field(default_factory=Event)
    """Set when the thread is to end"""
    read: int = 0
    """Images read, ``reading`` is in how many seconds"""
    reading: float = 0.0
    waited: float = 0.0
    """Seconds for which steps waited for images"""


class Feed:
    """The batches of an epoch, each in memory when its step is launched.

    A thread reads images into the slots of a ring (``Ring``), some batches to a slot, and waits
    when all slots are full. Steps find batch b from image b * batch_size % ``size`` of ``images``
    on, as ``begin_step`` does.

    Args:
        be: the backend of the steps.
        source: where the images are read from.
        batch_size: images in a batch; the last one of an epoch may be shorter.
        per_launch: batches for which steps are launched at once, at most.
        needed: which images of a batch are read, if not all are. Others have no value.

    Attributes:
        images: uint8 (size, C, H, W) on the device.
    """

    def __init__(
        self,
        be: Backend,
        source: LazyImages,
        batch_size: int,
        per_launch: int = 1,
        needed: Needed | None = None,
    ) -> None:
        count, *shape = source.shape
        self.source, self.batch_size, self.count = source, batch_size, count
        self.needed = needed
        self.batches = -(-count // batch_size)
        size = batch_size * int(np.prod(shape))
        wanted = max(per_launch, MIN_SLOT // size)
        self.per_slot = max(1, min(wanted, MAX_BATCHES, MAX_SLOT // size, self.batches))
        self.ring = be.ring(SLOTS, self.per_slot * batch_size, shape)
        self.images: Array = self.ring.images
        self.size = SLOTS * self.ring.slot_size
        self._epoch: _Epoch | None = None
        self._thread: Thread | None = None
        self._current = -1  # the part of the epoch that steps use

    @property
    def speed(self) -> float:
        """Images/s of reading since ``begin``, without waiting for a slot; 0 before the first."""
        epoch = self._epoch
        return epoch.read / epoch.reading if epoch is not None and epoch.reading else 0.0

    @property
    def waited(self) -> float:
        """Seconds for which steps had to wait for images since ``begin``."""
        return self._epoch.waited if self._epoch is not None else 0.0

    def begin(self, order: NDArray[np.int64] | None = None, first: int = 0) -> None:
        """Begin to read an epoch's images from batch ``first`` on.

        ``order`` are indices into the source, (M,), which must not change; None is its own order.
        """
        self.end()
        self.ring.begin()
        self._epoch, self._current = _Epoch(order, first), -1
        for _ in range(SLOTS):
            self._epoch.free.put(None)
        thread = Thread(target=self._run, args=(self._epoch,), name="image reader", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more threads
            raise ReadError(f"cannot start a thread that reads images: {error}") from error
        self._thread = thread

    def acquire(self, index: int) -> int:
        """Wait for batch ``index``; return how many batches, from it on, steps can be launched for.

        Batches come in order. ReadError if the images cannot be read.
        """
        epoch, part = self._epoch, index // self.per_slot
        assert epoch is not None
        if part != self._current:
            began = time.perf_counter()
            error = epoch.filled.get()
            epoch.waited += time.perf_counter() - began
            if error is not None:
                epoch.filled.put(error)  # for the next call
                raise error
            self.ring.upload(part % SLOTS)
            self._current = part
        return (part + 1) * self.per_slot - index

    def release(self, index: int) -> None:
        """Let images be read in place of those before batch ``index``: their steps are launched."""
        assert self._epoch is not None
        if index == self.batches or index // self.per_slot != self._current:
            self.ring.release(self._current % SLOTS)
            self._epoch.free.put(None)

    def end(self) -> None:
        """End the thread, and wait until nothing but launched steps uses memory of the ring."""
        if self._thread is not None:
            assert self._epoch is not None
            self._epoch.ending.set()
            self._epoch.free.put(None)
            self._thread.join(END_SECONDS)
            self._thread = None
            self.ring.close()

    # --- the thread -----------------------------------------------------------------------------

    def _run(self, epoch: _Epoch) -> None:
        try:
            for part in range(epoch.first // self.per_slot, -(-self.batches // self.per_slot)):
                epoch.free.get()
                self._fill(part, epoch)
                if epoch.ending.is_set():
                    return
                epoch.filled.put(None)
        except BaseException as error:  # raised where the images are needed
            epoch.filled.put(error)

    def _fill(self, part: int, epoch: _Epoch) -> None:
        """Read the images of a slot, from the epoch's first batch on, unless the thread is to end.

        The last part of an epoch is shorter.
        """
        slot, begin = part % SLOTS, part * self.ring.slot_size
        end = min(begin + self.ring.slot_size, self.count)
        self.ring.wait_until_free(slot)
        host, began = self.ring.host(slot), time.perf_counter()
        order = epoch.order
        for start, stop in self._parts(max(begin, epoch.first * self.batch_size), end):
            if epoch.ending.is_set():
                return
            indices = np.arange(start, stop) if order is None else order[start:stop]
            read(self.source, indices, host[start - begin : stop - begin])
            epoch.read += stop - start
        epoch.reading += time.perf_counter() - began

    def _parts(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield which images are read at once, from ``begin`` on, where a batch begins."""
        if self.needed is None:
            for start in range(begin, end, READ_AT_ONCE):
                yield start, min(start + READ_AT_ONCE, end)
            return
        for batch in range(begin, end, self.batch_size):
            for start, stop in self.needed(min(self.batch_size, end - batch)):
                if stop > start:
                    yield batch + start, batch + stop
