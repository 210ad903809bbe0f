"""``gpucnn check`` and ``gpucnn doctor``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich.text import Text

from gpucnn.backends import choose_backend
from gpucnn.cli.console import is_fancy, make_console, print_table
from gpucnn.cli.display import plain_json
from gpucnn.cli.sources import make_backend
from gpucnn.machine.check import check
from gpucnn.machine.doctor import examine


def check_command(arguments: argparse.Namespace) -> int:
    """Print the error and the times of each operation; return 1 if an error is too large."""
    backend, _ = make_backend(arguments.backend, arguments.dtype, arguments.precision)
    results = list(check(backend, only=arguments.only or ""))
    wrong = [result.op for result in results if not result.ok]
    if arguments.json:
        rows = [{**asdict(result), "ok": result.ok} for result in results]
        known = {"backend": backend.name, "precision": backend.precision, "operations": rows}
        print(json.dumps(plain_json(known)))
        return 1 if wrong else 0
    console = make_console()
    cells = [
        (
            result.op,
            f"{result.error:.4f}",
            Text("ok", "green") if result.ok else Text("WRONG", "bold red"),
            f"{1e3 * result.seconds:.3f} ms",
            f"{1e3 * result.reference_seconds:.3f} ms",
            f"{result.reference_seconds / result.seconds:.2f}",
        )
        for result in results
    ]
    print_table(console, cells, ("operation", "error", "", backend.name, "numpy float64", "ratio"))
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
    styles = {"ok": "green", "missing": "yellow", "bad": "bold red"} if is_fancy(console) else {}
    indent = 24 if console.width >= 80 else 2
    for finding in examine():
        state = Text(finding.state.ljust(8) + " ", styles.get(finding.state, ""))
        if indent == 2:  # no room for columns
            console.print(state + Text(finding.name))
            console.print_indented(finding.found, indent)
        else:
            first, *rest = Text(finding.found).wrap(console, console.width - indent) or [Text()]
            console.print(state + Text(finding.name.ljust(15)) + first)
            for line in rest:
                console.print(Text(" " * indent) + line)
        if finding.fix:
            console.print(" " * min(indent, 9) + f"-> {finding.fix}", soft_wrap=True)
    backend, reason = choose_backend()
    console.print(f"--backend auto selects {backend.name}: {reason}")
    return 0
