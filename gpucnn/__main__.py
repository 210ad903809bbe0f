"""The entry point of ``gpucnn`` and ``python -m gpucnn``."""

from __future__ import annotations

# Nothing here may take time to import: before ``main`` runs, Ctrl-C prints a traceback. ``signal``
# imports ``enum``; ``_signal`` is the part of it that is built in.
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from types import FrameType
else:
    import _signal


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; for a process that does nothing else.

    While modules are imported, and after the command has ended, SIGINT and SIGTERM end the process
    at once. ``gpucnn.cli.run`` runs a command within another program and changes nothing in it.
    """
    try:
        for number in (_signal.SIGINT, _signal.SIGTERM):
            _signal.signal(number, _leave)
    except ValueError:  # in another thread than the main one, signals cannot be handled
        pass
    from gpucnn.machine import openblas

    openblas.prepare(os.environ)  # before NumPy is imported
    from gpucnn.cli.main import run

    return run(argv)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
