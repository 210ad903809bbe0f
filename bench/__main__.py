"""``python -m bench``: list the benches or run some of them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import machine, peers
from bench.harness import BenchError, Options, Report
from bench.show import MISSING, as_data, line, table

BENCHES = (
    "ops",
    "lenet",
    "epoch",
    "inference",
    "memory",
    "startup",
    "threads",
    "linear",
    "rbm",
    "profile",
    "scale",
    "reading",
)
GPU_BENCHES = ("gpu_lenet", "gpu_accuracy", "gpu_ops", "gpu_start", "tune")
FIELDS = tuple(field.name for field in fields(Options) if field.name != "progress")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the arguments; exits with status 2 after a message if they are wrong."""
    parser = argparse.ArgumentParser(
        "python -m bench", description="Run benches; without a name, list them."
    )
    parser.add_argument(
        "bench",
        nargs="*",
        choices=[*BENCHES, *GPU_BENCHES, []],
        metavar="BENCH",
        help="which to run",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the machine, versions and all figures to FILE"
    )
    parser.add_argument("--quick", action="store_true", help="two rounds of everything")
    parser.add_argument("--rounds", type=int, metavar="N", help="time each peer N times")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="run the cases whose name contains TEXT"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="start no case or round after S seconds"
    )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="run a GPU bench at tiny sizes, to try it; its figures mean nothing",
    )
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="as --tiny, without a GPU: in the emulator, with PyTorch on the CPU",
    )
    parser.add_argument("--write", action="store_true", help="tune: write the table to the package")
    parser.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="scale: predict with another value of an assumption, which the bench lists",
    )
    parser.add_argument("--out", metavar="FOLDER", help="scale: write the plot to FOLDER/scale.svg")
    arguments: argparse.Namespace = parser.parse_args(argv)
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Run the named benches and return the exit status."""
    arguments = parse(argv)
    console = Console()
    if not arguments.bench:
        console.print(listing())
        return 0
    chosen = {name: value for name, value in vars(arguments).items() if name in FIELDS}
    found: dict[str, Any] = {"machine": machine.describe(), "options": chosen, "benches": {}}

    def keep(report: Report) -> None:
        """Write all figures so far, so that an interrupted run keeps them."""
        found["benches"][name] = as_data(report)
        if arguments.json:
            file = Path(arguments.json)
            new = file.with_name(f"{file.name}.new")
            new.write_text(json.dumps(found, indent=1) + "\n")
            os.replace(new, file)

    def progress(report: Report) -> None:
        print(line(report.rows[-1]), file=sys.stderr, flush=True)
        keep(report)

    options = replace(Options(**chosen), progress=progress)
    for name in arguments.bench:
        try:
            report: Report = import_module(f"bench.{name}").run(options)
        except BenchError as error:
            print(f"bench {name}: {error}", file=sys.stderr)
            return 1
        keep(report)
        if report.rows:
            console.print(table(report))
        for note in report.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        if report.compares_pytorch and not peers.HAS_TORCH:
            console.print(MISSING, markup=False, highlight=False)
    console.print(footer(found["machine"]), markup=False, highlight=False)
    return 0


def listing() -> Table:
    """Return the table of benches."""
    rows = Table("bench", "what it measures", title="python -m bench BENCH ...")
    for name in (*BENCHES, *GPU_BENCHES):
        rows.add_row(name, (import_module(f"bench.{name}").__doc__ or "").splitlines()[0])
    return rows


def footer(about: dict[str, Any]) -> str:
    """Return the line that names the machine and the versions."""
    gpu = about["gpu"]
    blas = " ".join(str(about["blas"].get(key, "")) for key in ("name", "version", "core"))
    return (
        f"{about['date']}, {about['cpu']}, {about['cores']} cores, load {about['load']} before, "
        f"Python {about['python']}, "
        f"NumPy {about['numpy']} ({blas.strip()}), PyTorch {about['torch'] or 'not installed'}"
        + (f", {gpu['name']}, driver {gpu['driver']}, CuPy {gpu['cupy']}" if gpu else "")
    )


if __name__ == "__main__":
    sys.exit(main())
