"""Rings of images on a device: copied from page-locked memory while earlier images are used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.rings import Ring


class DeviceRing(Ring):
    """A ring whose slots are in page-locked memory of the host, and again on the device.

    Copies are work of a stream of their own, so that the device copies a slot while it computes the
    steps of another. Events keep the order: a copy waits for the steps that use the slot before,
    steps for the copy of their slot, and the thread that fills a slot for the copy from it.

    Args:
        cuda: ``cupy.cuda``, or the emulator's module of that name.
        images: the device's memory, uint8 (slots * slot_size, C, H, W).
        slots: number of slots.

    Steps must be launched in one stream, the current one of the thread that calls the methods.
    """

    def __init__(self, cuda: Any, images: Array, slots: int) -> None:
        super().__init__(images, slots)
        self._host = pinned(cuda, images.shape)
        self._stream = cuda.Stream(non_blocking=True)
        # Without ``block`` a thread that waits keeps a core busy.
        self._copied, self._used = (
            [cuda.Event(block=True, disable_timing=True) for _ in range(slots)] for _ in range(2)
        )
        self._device, self._current = cuda.Device(), cuda.get_current_stream

    def host(self, slot: int) -> NDArray[np.uint8]:
        """As in ``Ring``."""
        return self._host[self._rows(slot)]

    def begin(self) -> None:
        """As in ``Ring``. Earlier work may use the memory of the ring, also as another array."""
        for event in self._used:
            event.record()

    def wait_until_free(self, slot: int) -> None:
        """As in ``Ring``."""
        with self._device:  # a thread begins with device 0, whose context any call creates
            self._copied[slot].synchronize()

    def upload(self, slot: int) -> None:
        """As in ``Ring``."""
        self._stream.wait_event(self._used[slot])
        self.images[self._rows(slot)].set(self.host(slot), stream=self._stream)
        self._copied[slot].record(self._stream)
        self._current().wait_event(self._copied[slot])

    def release(self, slot: int) -> None:
        """As in ``Ring``."""
        self._used[slot].record()

    def close(self) -> None:
        """As in ``Ring``."""
        self._stream.synchronize()


def pinned(cuda: Any, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Return page-locked memory of the host for bytes, which a device copies while it computes."""
    memory, size = cuda.alloc_pinned_memory(math.prod(shape)), math.prod(shape)
    array: NDArray[np.uint8] = np.frombuffer(memory, np.uint8, size).reshape(shape)
    return array
