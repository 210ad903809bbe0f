"""``gpucnn check`` and ``gpucnn doctor``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich import box
from rich.table import Table
from rich.text import Text

from gpucnn.backends import choose_backend
from gpucnn.cli.display import is_fancy, make_console, plain_json
from gpucnn.cli.sources import make_backend
from gpucnn.machine.check import check
from gpucnn.machine.doctor import examine


def check_command(arguments: argparse.Namespace) -> int:
    """Print the error and the times of every operation; return 1 if an error is too large."""
    backend, _ = make_backend(arguments.backend, arguments.dtype, arguments.precision)
    results = list(check(backend))
    wrong = [result.op for result in results if not result.ok]
    if arguments.json:
        rows = [{**asdict(result), "ok": result.ok} for result in results]
        known = {"backend": backend.name, "precision": backend.precision, "operations": rows}
        print(json.dumps(plain_json(known)))
        return 1 if wrong else 0
    console = make_console()
    fancy = is_fancy(console)
    table = Table(box=box.ROUNDED if fancy else box.ASCII)
    for heading in ("operation", "error", "", backend.name, "numpy float64", "ratio"):
        table.add_column(heading, justify="left" if heading == "operation" else "right")
    for result in results:
        table.add_row(
            result.op,
            f"{result.error:.4f}",
            Text("ok", "green") if result.ok else Text("WRONG", "bold red"),
            f"{1e3 * result.seconds:.3f} ms",
            f"{1e3 * result.reference_seconds:.3f} ms",
            f"{result.reference_seconds / result.seconds:.2f}",
        )
    console.print(table)
    dtype = f"{backend.dtype}" + (", tf32" if backend.precision == "tf32" else "")
    if wrong:
        verdict = f"errors above their tolerance, 1: {', '.join(wrong)}"
    else:
        verdict = "every error, in units of its tolerance, is at most 1"
    console.print(f"{backend.name} backend, {dtype}: {verdict}")
    return 1 if wrong else 0


def doctor_command(arguments: argparse.Namespace) -> int:
    """Print the hardware and libraries found, and how to fix what is missing."""
    console = make_console()
    fancy = is_fancy(console)
    styles = {"ok": "green", "missing": "yellow", "bad": "bold red"}
    for finding in examine():
        style = styles[finding.state] if fancy else ""
        console.print(Text(f"{finding.state:8}", style), Text(f"{finding.name:14}"), finding.found)
        if finding.fix:
            console.print(" " * 9 + f"-> {finding.fix}")
    backend, reason = choose_backend()
    console.print(f"--backend auto selects {backend.name}: {reason}")
    return 0
