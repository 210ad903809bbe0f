"""The roofline: the time that a kernel takes at least, by the rates of a GPU's parts.

A kernel cannot be faster than the slowest of its parts, and is usually slower: latency, barriers
and the start of a launch are not in it. No more multiprocessors work than a launch has blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpucnn.emulator.counts import WAVEFRONT_BYTES, KernelProfile
from gpucnn.machine.gpus.table import Gpu

LINE_BYTES = 128
"""That a multiprocessor's L1 cache, and its shared memory, transfer per clock."""


@dataclass(frozen=True)
class Roofline:
    """Lower bounds in seconds, of all launches of a kernel together.

    arithmetic: of the floating-point operations. memory: of the device memory, with each sector
    transferred once per launch. l1: of the sectors and wavefronts that requests move.
    """

    arithmetic: float
    memory: float
    l1: float

    @property
    def seconds(self) -> float:
        """The greatest of the bounds."""
        return max(self.arithmetic, self.memory, self.l1)

    @property
    def roof(self) -> str:
        """The name of the greatest bound."""
        return max(("memory", "arithmetic", "l1"), key=lambda name: float(getattr(self, name)))


def roofline(gpu: Gpu, kernel: KernelProfile) -> Roofline:
    """Return the lower bounds of a kernel's launches on a GPU."""
    grids = (grid for grid, _, _ in kernel.shapes)
    working = min(gpu.multiprocessors, max(x * y * z for x, y, z in grids))
    share = working / gpu.multiprocessors
    operations = kernel.flops / gpu.tflops + kernel.double_flops / gpu.double_tflops
    moved = kernel.bytes_moved + kernel.shared.wavefronts * WAVEFRONT_BYTES
    return Roofline(
        arithmetic=operations / 1e12 / share,
        memory=kernel.bytes_once / gpu.bandwidth / 1e9,
        l1=moved / (LINE_BYTES * working * gpu.clock * 1e9),
    )
