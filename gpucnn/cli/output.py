"""What is printed: text of any origin, and standard output in unusual states."""

from __future__ import annotations

import os
import sys
import unicodedata


def silence_stdout() -> None:
    """Discard what is still written to standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def printable(text: str) -> str:
    """Return text of any origin in one line, with control characters as escapes.

    Names in somebody else's file could otherwise change what the terminal shows.
    """
    line = " ".join(text.split())
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cs") else c for c in line)


def show_cursor() -> None:
    """Show the cursor, which a live display hides. For use in a signal handler."""
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), b"\x1b[?25h\n")
