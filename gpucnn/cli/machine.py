"""``gpucnn doctor``."""

from __future__ import annotations

import argparse

from rich.text import Text

from gpucnn.backends import choose_backend
from gpucnn.cli.console import is_fancy, make_console
from gpucnn.machine.doctor import examine


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
