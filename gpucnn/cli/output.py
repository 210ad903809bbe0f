"""Standard output after its reader has closed the pipe."""

from __future__ import annotations

import os


def silence_stdout() -> None:
    """Discard what is still written to standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
