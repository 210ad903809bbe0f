"""Reports on the kernels of a profile for one GPU: counts, resources, occupancy, roofline."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gpucnn.emulator import Profile
from gpucnn.emulator.counts import GlobalAccesses, KernelProfile, Line, SharedAccesses
from gpucnn.errors import BackendError
from gpucnn.machine.gpus.nvrtc import Resources, compile_resources
from gpucnn.machine.gpus.occupancy import Occupancy, occupancy
from gpucnn.machine.gpus.roofline import Roofline, roofline
from gpucnn.machine.gpus.table import Gpu


@dataclass(frozen=True)
class KernelReport:
    """One kernel on one GPU.

    resources and occupancy are None without NVRTC. The occupancy is that of the launch with the
    most blocks. lines: its accesses, the most waste first.
    """

    profile: KernelProfile
    resources: Resources | None
    occupancy: Occupancy | None
    roofline: Roofline
    lines: list[Line]

    @property
    def worst(self) -> Line | None:
        """The line that wastes most; of a kernel without waste, the one that moves most."""
        return self.lines[0] if self.lines else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        kernel = self.profile
        kinds = ("global_load", "global_store", "global_atomic",
                 "shared_load", "shared_store", "shared_atomic")  # fmt: skip
        return {
            "kernel": kernel.name,
            "launches": [
                {"grid": grid, "block": block, "shared_bytes": shared, "count": count}
                for (grid, block, shared), count in kernel.shapes.items()
            ],
            **{kind: counts_as_dict(getattr(kernel, kind)) for kind in kinds},
            "bytes_moved": kernel.bytes_moved,
            "bytes_once": kernel.bytes_once,
            "instructions": kernel.instructions,
            "active_lanes": kernel.active_lanes,
            "flops": kernel.flops,
            "double_flops": kernel.double_flops,
            "resources": self.resources and asdict(self.resources),
            "occupancy": self.occupancy and asdict(self.occupancy),
            "roofline": {
                **asdict(self.roofline),
                "seconds": self.roofline.seconds,
                "roof": self.roofline.roof,
            },
            "lines": [
                {
                    "file": line.file,
                    "line": line.line,
                    "text": line.text,
                    "access": f"{line.space} {line.use}",
                    "size": line.size,
                    **counts_as_dict(line.counts),
                }
                for line in self.lines
            ],
        }


@dataclass(frozen=True)
class Report:
    """The kernels of a profile on one GPU. note: why there are no registers, or None."""

    gpu: Gpu
    kernels: list[KernelReport]
    note: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "gpu": asdict(self.gpu),
            "kernels": [kernel.as_dict() for kernel in self.kernels],
            "note": self.note,
        }


def make_report(profile: Profile, gpu: Gpu) -> Report:
    """Return the report on the kernels of a profile for a GPU, in the order of launches."""
    lines: dict[str, list[Line]] = {}
    for line in profile.lines():
        lines.setdefault(line.kernel, []).append(line)
    kernels, note = [], None
    for name, kernel in profile.kernels.items():
        resources = None
        try:
            code, options = profile.sources[name]
            resources = compile_resources(code, options, gpu.capability).get(name)
        except BackendError as error:
            note = str(error)
        kernels.append(
            KernelReport(
                kernel,
                resources,
                _occupancy(gpu, kernel, resources) if resources else None,
                roofline(gpu, kernel),
                lines.get(name, []),
            )
        )
    return Report(gpu, kernels, note)


def _occupancy(gpu: Gpu, kernel: KernelProfile, resources: Resources) -> Occupancy:
    _, block, shared = max(kernel.shapes, key=lambda shape: shape[0][0] * shape[0][1] * shape[0][2])
    return occupancy(gpu, block[0] * block[1] * block[2], resources.registers, shared)


def counts_as_dict(counts: GlobalAccesses | SharedAccesses) -> dict[str, int]:
    """Return the counts of accesses as plain data."""
    moved = (
        {"sectors": counts.sectors, "least_sectors": counts.least_sectors}
        if isinstance(counts, GlobalAccesses)
        else {"wavefronts": counts.wavefronts, "least_wavefronts": counts.least_wavefronts}
    )
    return {
        "requests": counts.requests,
        "lanes": counts.lanes,
        "bytes": counts.bytes,
        **moved,
        "worst": counts.worst,
        "serial": counts.serial,
    }
