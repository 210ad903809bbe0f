"""Standard output in unusual states: its reader is gone, or the process ends in a live display."""

from __future__ import annotations

import os
import sys


def silence_stdout() -> None:
    """Discard what is still written to standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def show_cursor() -> None:
    """Show the cursor, which a live display hides. For use in a signal handler."""
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), b"\x1b[?25h\n")
