"""Profile mode: what kernels ask of memory, counted warp by warp, without a GPU.

``with emulator.profiling() as profile:`` counts the launches inside it; ``print(profile)`` shows a
table, and ``profile.kernel(name)`` returns a kernel's counts. With GPUCNN_EMULATOR=profile all
launches are counted, and the table is printed when Python exits. README.md says how it is counted,
and what is not exact.
"""

from __future__ import annotations

import atexit
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpucnn.emulator import abi, report, settings
from gpucnn.emulator.compiled import Compiled
from gpucnn.emulator.counts import (
    GlobalAccesses,
    KernelProfile,
    Launch,
    Line,
    SharedAccesses,
    accesses_of,
)
from gpucnn.errors import unknown

USES = {"READ": "load", "WRITE": "store", "ATOMIC": "atomic"}
_USES = tuple(USES[name] for name in abi.enumerators("Use"))
Source = tuple[str, tuple[str, ...]]
"""The code and the options of a RawModule."""
_SPACES = tuple(name.lower() for name in abi.enumerators("Space"))


class Profile:
    """The counts of launches, by kernel and by source line."""

    def __init__(self) -> None:
        self.kernels: dict[str, KernelProfile] = {}
        """By name, in the order of their first launches."""
        self.not_counted = 0
        """Launches of graphs that were captured in another mode."""
        # By kernel, library, place, space and use: size and counts.
        self._sites: dict[tuple[Any, ...], tuple[int, GlobalAccesses | SharedAccesses]] = {}
        self.sources: dict[str, Source] = {}
        """By kernel."""
        self._sources: dict[Path, Source] = {}

    def kernel(self, name: str) -> KernelProfile:
        """Return a kernel's counts; SettingError with the closest name if it was not launched."""
        if name not in self.kernels:
            raise unknown("profiled kernel", name, self.kernels)
        return self.kernels[name]

    def add(
        self, name: str, made: Compiled, source: Source, launch: Launch, sites: Any,
        once: Iterable[int],
    ) -> None:  # fmt: skip
        """Add one launch: the ``struct Site`` of runtime.h, and its distinct sectors."""
        kernel = self.kernels.setdefault(name, KernelProfile(name))
        kernel.shapes[launch] += 1
        read, written = once
        kernel.sectors_read += read
        kernel.sectors_written += written
        self.sources[name] = self._sources[made.path] = source
        for site in sites:
            space, use = _SPACES[site.space], _USES[site.use]
            if space == "code":
                instructions, flops, double_flops = made.notes["work"][site.rank]
                kernel.instructions += site.requests * instructions
                kernel.lanes += site.lanes * instructions
                kernel.flops += site.lanes * flops
                kernel.double_flops += site.lanes * double_flops
                continue
            counts = accesses_of(site, space)
            getattr(kernel, f"{space}_{use}").add(counts)
            key = (name, made.path, site.place, space, use)
            if key in self._sites:
                self._sites[key][1].add(counts)
            else:
                self._sites[key] = (site.size, counts)

    def lines(self, kernel: str | None = None) -> list[Line]:
        """Return the accesses by source line, of one kernel or of all, the most waste first."""
        wanted = {key: value for key, value in self._sites.items() if kernel in (None, key[0])}
        places: dict[Path, set[int]] = defaultdict(set)
        for _, library, place, _, _ in wanted:
            places[library].add(place)
        found = {}
        for library, pcs in places.items():
            found[library] = report.find_lines(library, sorted(pcs))
        lines: dict[tuple[Any, ...], Line] = {}
        for (name, library, place, space, use), (size, counts) in wanted.items():
            file, number = found[library][place]
            key = (name, file, number, space, use, size)
            if key not in lines:
                text = _source_line(self._sources[library][0], file, number)
                kind = GlobalAccesses if space == "global" else SharedAccesses
                lines[key] = Line(name, file, number, text, space, use, size, kind())
            lines[key].counts.add(counts)
        return sorted(lines.values(), key=_by_waste)

    def __str__(self) -> str:
        """Return a table of the kernels; ``gpucnn profile`` shows more."""
        rows: list[tuple[object, ...]] = [
            ("kernel", "launches", "load sectors", "of least", "store sectors", "of least",
             "shared wavefronts", "of least", "lanes", "flops")
        ]  # fmt: skip
        for name, kernel in self.kernels.items():
            load, store, shared = kernel.global_load, kernel.global_store, kernel.shared
            rows.append((
                name, kernel.launches, load.sectors, load.least_sectors, store.sectors,
                store.least_sectors, shared.wavefronts, shared.least_wavefronts,
                f"{kernel.active_lanes:.1f}", kernel.flops + kernel.double_flops,
            ))  # fmt: skip
        widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                str(cell).rjust(width) if i else str(cell).ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        if self.not_counted:
            lines.append(
                f"{self.not_counted} launches are not counted: their graph was captured in another"
                " mode"
            )
        return "\n".join(lines)


def _by_waste(line: Line) -> tuple[Any, ...]:
    counts = line.counts
    return -counts.wasted_bytes, -counts.moved_bytes, line.kernel, line.file or "", line.line or 0


def _source_line(code: str, file: str | None, number: int | None) -> str:
    """Return a line of a source, whose #line directives name its files; empty if it is not there.

    A line of a file that the source includes is read from that file.
    """
    name, next_number = "", 1
    for text in code.splitlines():
        directive = re.match(r'\s*#\s*line\s+(\d+)(?:\s+"([^"]*)")?', text)
        if directive:
            next_number = int(directive.group(1))
            name = directive.group(2) or name
        else:
            if (name, next_number) == (file, number):
                return text.strip()
            next_number += 1
    try:
        lines = Path(file or "").read_text(encoding="utf-8").splitlines()
        return lines[(number or 0) - 1].strip()
    except (OSError, ValueError, IndexError):
        return ""


_active: Profile | None = None  # of ``profiling``
_process: Profile | None = None  # of GPUCNN_EMULATOR=profile


def active() -> Profile | None:
    """Return the profile of the ``with`` that runs, if one does."""
    return _active


def collecting() -> Profile:
    """Return the profile of the current ``with``, or that of the whole process."""
    global _process
    if _active is not None:
        return _active
    if _process is None:
        _process = Profile()
        atexit.register(_print_profile)
    return _process


def _print_profile() -> None:
    print(_process, file=sys.stderr)


@contextmanager
def profiling() -> Iterator[Profile]:
    """Count the launches inside the ``with``, also of kernels obtained before.

    The launches of a graph are counted if it was captured in profile mode, for example inside the
    ``with``; others are in ``not_counted``.
    """
    global _active
    before, were = _active, settings.current()
    _active = Profile()
    settings.configure("profile")
    try:
        yield _active
    finally:
        settings.configure(were.mode, were.order, were.seed, were.threads)
        _active = before
