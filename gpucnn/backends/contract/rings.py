"""Memory for images on their way to training steps: some are read while others are used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends.contract.checks import Array


class Ring:
    """Slots for images, which are filled in turn by one thread and used by another.

    For each slot, in turn:

    1. the thread that reads images calls ``wait_until_free``, and writes them to ``host(slot)``;
    2. the thread that launches steps calls ``upload``, launches the steps that use the slot, and
       calls ``release``.

    A slot is filled again when it was released. The caller sees to that; a device does the copies
    and the steps later, and the ring keeps those in order.

    This is the ring of arrays in the host's memory: steps use what was written there.

    Args:
        images: uint8 (slots * slot_size, C, H, W), what steps use.
        slots: number of slots.
    """

    def __init__(self, images: Array, slots: int) -> None:
        self.images, self.slots = images, slots
        self.slot_size = len(images) // slots

    def host(self, slot: int) -> NDArray[np.uint8]:
        """Return the memory that the images of a slot are written to, (slot_size, C, H, W)."""
        host: NDArray[np.uint8] = self.images[self._rows(slot)]
        return host

    def begin(self) -> None:
        """Prepare for new images, in the thread that launches steps: no slot is used any more."""

    def wait_until_free(self, slot: int) -> None:
        """Wait until ``host(slot)``, which was released, can be written."""

    def upload(self, slot: int) -> None:
        """Let steps that are launched from now on use the images of ``host(slot)``."""

    def release(self, slot: int) -> None:
        """Mark the end of the steps that use a slot."""

    def close(self) -> None:
        """Wait until nothing reads the host's memory of any slot."""

    def _rows(self, slot: int) -> slice[Any, Any, Any]:
        return slice(slot * self.slot_size, (slot + 1) * self.slot_size)
