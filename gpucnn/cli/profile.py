"""``gpucnn profile``."""

from __future__ import annotations

import argparse
import json

from rich.text import Text

from gpucnn.cli.console import PlainConsole, make_console, print_table
from gpucnn.cli.display import plain_json
from gpucnn.cli.inference import shape_options
from gpucnn.cli.output import printable
from gpucnn.cli.sources import build_model, print_compiling
from gpucnn.config import check_integer
from gpucnn.emulator.counts import Line
from gpucnn.errors import SettingError
from gpucnn.machine.gpus import KernelReport, Report, get_gpu, make_report
from gpucnn.training.profile import profile_step

TEXT_COLUMNS = 44
LEGEND = """\
sectors: of 32 bytes of global memory, per load or store of a warp; efficiency: those needed / moved
conflict: wavefronts of shared memory over those without bank conflicts; lanes: active, of 32
once: each sector of device memory once per launch; moved: as the loads and stores ask for them
least time: no launch is faster than this roof allows; latency and barriers are not included"""


def profile_command(arguments: argparse.Namespace) -> int:
    """Print what the kernels of a training step ask of a GPU."""
    if arguments.backend != "emulated":
        raise SettingError(
            f"gpucnn profile counts in the emulator: --backend must be emulated, got"
            f" {arguments.backend!r}; on a GPU use NVIDIA's ncu"
        )
    gpu = get_gpu(arguments.gpu)
    most_lines = check_integer("--lines", arguments.lines, 0)
    model = build_model(arguments.network, shape_options(arguments))
    profile = profile_step(
        model, arguments.batch_size, fused=not arguments.general, notify=print_compiling
    )
    report = make_report(profile, gpu)
    if arguments.json:
        print(json.dumps(plain_json(report.as_dict())))
        return 0
    console = make_console()
    images = "1 image" if arguments.batch_size == 1 else f"{arguments.batch_size} images"
    name = printable(arguments.network)
    console.print(f"one training step of {name} with {images}, counted without a GPU")
    _print_accesses(console, report.kernels)
    _print_roofline(console, report)
    _print_lines(console, report.kernels, most_lines)
    console.print(LEGEND)
    if report.note:
        console.print(f"no registers, spills and occupancy: {printable(report.note)}")
    return 0


def _print_accesses(console: PlainConsole, kernels: list[KernelReport]) -> None:
    rows = []
    for kernel in kernels:
        counts = kernel.profile
        load, store, shared = counts.global_load, counts.global_store, counts.shared
        rows.append((
            counts.name,
            _place(kernel.worst),
            str(counts.launches),
            f"{load.per_request:.1f}" if load.requests else "",
            f"{load.efficiency:.0%}" if load.requests else "",
            f"{store.per_request:.1f}" if store.requests else "",
            f"{store.efficiency:.0%}" if store.requests else "",
            f"{shared.conflict:.2f}" if shared.requests else "",
            f"{counts.active_lanes:.1f}",
        ))  # fmt: skip
    headings = ("kernel", "most waste", "launches", "sectors a load", "load efficiency",
                "sectors a store", "store efficiency", "conflict", "lanes")  # fmt: skip
    print_table(console, rows, headings, left=2)


def _print_roofline(console: PlainConsole, report: Report) -> None:
    rows = []
    for kernel in report.kernels:
        counts, resources, held = kernel.profile, kernel.resources, kernel.occupancy
        spills = resources and resources.spill_stores + resources.spill_loads
        rows.append((
            counts.name,
            f"{counts.bytes_once / 1e3:,.0f}",
            f"{counts.bytes_moved / 1e3:,.0f}",
            f"{(counts.flops + counts.double_flops) / 1e6:,.2f}",
            str(resources.registers) if resources else "",
            str(spills) if resources else "",
            f"{max(shared for _, _, shared in counts.shapes):,}",
            f"{held.share:.0%}, {held.limit}" if held else "",
            f"{1e6 * kernel.roofline.seconds:.2f}",
            kernel.roofline.roof,
        ))  # fmt: skip
    headings = (f"on {report.gpu.name}", "kB once", "kB moved", "MFLOP", "registers", "spilled",
                "shared bytes", "occupancy, limit", "least µs", "roof")  # fmt: skip
    print_table(console, rows, headings)


def _print_lines(console: PlainConsole, kernels: list[KernelReport], most: int) -> None:
    lines = [line for kernel in kernels for line in kernel.lines if line.counts.wasted_bytes]
    lines.sort(key=lambda line: -line.counts.wasted_bytes)
    rows = [
        (
            _place(line),
            line.kernel,
            f"{line.space} {line.use}",
            f"{line.counts.requests:,}",
            f"{line.counts.per_request:.1f}",
            f"{line.counts.least_per_request:.1f}",
            f"{line.counts.wasted_bytes / 1e3:,.0f}",
        )
        for line in lines[:most]
    ]
    headings = ("line", "kernel", "access", "requests", "moved each", "needed each", "kB wasted")
    if rows:
        print_table(console, rows, headings, left=3)


def _place(line: Line | None) -> Text:
    return Text(f"{_where(line)}  {_short(line.text)}" if line else "")


def _where(line: Line) -> str:
    file = printable((line.file or "?").rpartition("/")[2])
    return f"{file}:{line.line}" if line.line else file


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= TEXT_COLUMNS else f"{text[: TEXT_COLUMNS - 1]}…"
