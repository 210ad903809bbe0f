"""What profile mode counts: accesses of warps to global and shared memory, and a kernel's sums."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypeVar

SECTOR_BYTES = 32
WAVEFRONT_BYTES = 128  # 32 banks of 4 bytes

Launch = tuple[tuple[int, ...], tuple[int, ...], int]
"""Grid and block (x, y, z), and the bytes of static and dynamic shared memory of a block."""


@dataclass
class Accesses:
    """Accesses of one kind, added up.

    requests: warp instructions. lanes: threads that took part in them. bytes: that these threads
    asked for. worst: the most sectors, or wavefronts, of one request. serial: of atomic operations,
    the most lanes at one address, summed over the requests.
    """

    requests: int = 0
    lanes: int = 0
    bytes: int = 0
    worst: int = 0
    serial: int = 0
    _moved: int = 0
    _least: int = 0

    def add(self, other: Accesses) -> None:
        """Add further accesses."""
        for name in ("requests", "lanes", "bytes", "serial", "_moved", "_least"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.worst = max(self.worst, other.worst)

    @property
    def active_lanes(self) -> float:
        """Threads per request: 32 is best."""
        return _ratio(self.lanes, self.requests)

    @property
    def per_request(self) -> float:
        """Sectors, or wavefronts, per request."""
        return _ratio(self._moved, self.requests)

    @property
    def least_per_request(self) -> float:
        """Sectors, or wavefronts, per request that would have been enough."""
        return _ratio(self._least, self.requests)

    @property
    def moved_bytes(self) -> int:
        """Bytes of all sectors, or of all wavefronts."""
        return self._moved * self._unit

    @property
    def wasted_bytes(self) -> int:
        """Those of ``moved_bytes`` that a better access pattern would avoid."""
        return (self._moved - self._least) * self._unit

    _unit = 0


class GlobalAccesses(Accesses):
    """Accesses to global memory, which is transferred in sectors of 32 bytes."""

    _unit = SECTOR_BYTES

    @property
    def sectors(self) -> int:
        """Sectors that the requests touch; each request counts for itself."""
        return self._moved

    @property
    def least_sectors(self) -> int:
        """Sectors that would have held the same bytes: per request, the distinct bytes / 32."""
        return self._least

    @property
    def efficiency(self) -> float:
        """``least_sectors / sectors``: 1 is best."""
        return _ratio(self._least, self._moved, 1.0)


class SharedAccesses(Accesses):
    """Accesses to shared memory. In a wavefront each of the 32 banks serves one word of 4 bytes."""

    _unit = WAVEFRONT_BYTES

    @property
    def wavefronts(self) -> int:
        """Wavefronts that the requests take."""
        return self._moved

    @property
    def least_wavefronts(self) -> int:
        """Wavefronts without bank conflicts: 1 per request, with 8 bytes a thread 2, with 16 4.

        A load of 8 or 16 bytes whose pairs of threads agree in the address needs half as many.
        """
        return self._least

    @property
    def conflict(self) -> float:
        """``wavefronts / least_wavefronts``: 1 is without bank conflicts, 2 is a 2-way conflict."""
        return _ratio(self._moved, self._least, 1.0)


@dataclass(frozen=True)
class Line:
    """Accesses of one kind on one line of a kernel.

    file, line: as #line directives name them, or None. text: the source line. space: "global" or
    "shared". use: "load", "store" or "atomic". size: bytes of each thread's access.
    """

    kernel: str
    file: str | None
    line: int | None
    text: str
    space: str
    use: str
    size: int
    counts: GlobalAccesses | SharedAccesses


@dataclass
class KernelProfile:
    """The launches of one kernel.

    shapes: how often each grid, block and size of shared memory was launched.
    sectors_read, sectors_written: distinct sectors of global memory per launch, added up: the
    traffic with a cache that forgets nothing.
    instructions: of warps, as g++ compiles them; lanes: threads that took part in them.
    flops, double_flops: operations on float32 and on float64 numbers: additions, multiplications,
    divisions and square roots; a fused multiply-add is two.
    """

    name: str
    shapes: Counter[Launch] = field(default_factory=Counter)
    global_load: GlobalAccesses = field(default_factory=GlobalAccesses)
    global_store: GlobalAccesses = field(default_factory=GlobalAccesses)
    global_atomic: GlobalAccesses = field(default_factory=GlobalAccesses)
    shared_load: SharedAccesses = field(default_factory=SharedAccesses)
    shared_store: SharedAccesses = field(default_factory=SharedAccesses)
    shared_atomic: SharedAccesses = field(default_factory=SharedAccesses)
    sectors_read: int = 0
    sectors_written: int = 0
    instructions: int = 0
    lanes: int = 0
    flops: int = 0
    double_flops: int = 0

    @property
    def launches(self) -> int:
        """How often the kernel was launched."""
        return self.shapes.total()

    @property
    def shared(self) -> SharedAccesses:
        """All accesses to shared memory."""
        return _sum(SharedAccesses(), self.shared_load, self.shared_store, self.shared_atomic)

    @property
    def active_lanes(self) -> float:
        """Threads per warp instruction: 32 is without divergence."""
        return _ratio(self.lanes, self.instructions)

    @property
    def bytes_moved(self) -> int:
        """Bytes of global memory as the requests move them, read and written."""
        return sum(
            each.moved_bytes for each in (self.global_load, self.global_store, self.global_atomic)
        )

    @property
    def bytes_once(self) -> int:
        """Bytes of global memory with each sector once per launch, read and written."""
        return (self.sectors_read + self.sectors_written) * SECTOR_BYTES


_Kind = TypeVar("_Kind", bound=Accesses)


def _sum(total: _Kind, *parts: Accesses) -> _Kind:
    for part in parts:
        total.add(part)
    return total


def _ratio(value: int, to: int, otherwise: float = 0.0) -> float:
    return value / to if to else otherwise


def accesses_of(site: Any, space: str) -> GlobalAccesses | SharedAccesses:
    """Return the counts of a ``struct Site`` of runtime.h."""
    kind = GlobalAccesses if space == "global" else SharedAccesses
    return kind(
        site.requests, site.lanes, site.lanes * site.size, site.worst, site.serial,
        site.moved, site.least,
    )  # fmt: skip
