"""The one device, and the functions of CUDA's runtime that programs ask about it."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from gpucnn.emulator import graphs, limits
from gpucnn.errors import SettingError

COMPUTE_CAPABILITY = "75"
_AXES = ("X", "Y", "Z")


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Device:
    """The one device, number 0."""

    id = 0

    def __init__(self, device: int | None = None) -> None:
        if device not in (None, 0):
            raise SettingError(
                f"cudaErrorInvalidDevice: the emulator has one device, number 0; got {device!r}"
            )

    def use(self) -> Device:
        """Make the device the current one, which it is."""
        return self

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing changes: there is no other device."""

    def synchronize(self) -> None:
        """Return at once; CaptureError while a stream captures."""
        graphs.synchronize()

    @property
    def compute_capability(self) -> str:
        """The version of the architecture, as ``__CUDA_ARCH__`` has it."""
        return COMPUTE_CAPABILITY

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and total bytes: the memory of this machine."""
        return _memory(), _memory()

    @property
    def attributes(self) -> dict[str, int]:
        """The limits of launches, by CuPy's names."""
        grids = zip(_AXES, limits.MAX_GRID, strict=True)
        blocks = zip(_AXES, limits.MAX_BLOCK, strict=True)
        return {
            **{f"MaxGridDim{axis}": size for axis, size in grids},
            **{f"MaxBlockDim{axis}": size for axis, size in blocks},
            "MaxThreadsPerBlock": limits.MAX_BLOCK_THREADS,
            "MaxSharedMemoryPerBlock": limits.DEFAULT_SHARED_BYTES,
            "MaxSharedMemoryPerBlockOptin": limits.MAX_SHARED_BYTES,
            "MultiProcessorCount": os.cpu_count() or 1,
            "WarpSize": 32,
            "ComputeCapabilityMajor": int(COMPUTE_CAPABILITY[0]),
            "ComputeCapabilityMinor": int(COMPUTE_CAPABILITY[1]),
        }


class runtime:
    """Functions of ``cupy.cuda.runtime``."""

    @staticmethod
    def getDeviceCount() -> int:
        """Return 1."""
        return 1

    @staticmethod
    def getDevice() -> int:
        """Return 0."""
        return 0

    @staticmethod
    def setDevice(device: int) -> None:
        """Do nothing; SettingError for another device than 0."""
        Device(device)

    @staticmethod
    def deviceSynchronize() -> None:
        """Return at once; CaptureError while a stream captures."""
        graphs.synchronize()

    @staticmethod
    def memGetInfo() -> tuple[int, int]:
        """Return free and total bytes."""
        return Device().mem_info

    @staticmethod
    def getDeviceProperties(device: int) -> dict[str, Any]:
        """Return the name and the limits of the device, by CUDA's names."""
        Device(device)
        return {
            "name": b"gpucnn emulator",
            "major": int(COMPUTE_CAPABILITY[0]),
            "minor": int(COMPUTE_CAPABILITY[1]),
            "warpSize": 32,
            "maxThreadsPerBlock": limits.MAX_BLOCK_THREADS,
            "maxThreadsDim": limits.MAX_BLOCK,
            "maxGridSize": limits.MAX_GRID,
            "sharedMemPerBlock": limits.DEFAULT_SHARED_BYTES,
            "sharedMemPerBlockOptin": limits.MAX_SHARED_BYTES,
            "totalGlobalMem": _memory(),
            "totalConstMem": 65536,
        }
