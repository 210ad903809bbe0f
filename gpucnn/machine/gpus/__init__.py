"""Estimates of a kernel's speed on a GPU that is not here.

They come from the counts of the emulator's profile mode, from the GPU's published figures, and from
NVRTC, which compiles for any GPU. ``make_report`` joins them.
"""

from __future__ import annotations

from gpucnn.machine.gpus.nvrtc import Resources
from gpucnn.machine.gpus.occupancy import Occupancy, occupancy
from gpucnn.machine.gpus.report import KernelReport, Report, make_report
from gpucnn.machine.gpus.roofline import Roofline, roofline
from gpucnn.machine.gpus.table import GPUS, Gpu, get_gpu

__all__ = [
    "GPUS",
    "Gpu",
    "KernelReport",
    "Occupancy",
    "Report",
    "Resources",
    "Roofline",
    "get_gpu",
    "make_report",
    "occupancy",
    "roofline",
]
