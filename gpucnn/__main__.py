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

    if "--debug" not in (sys.argv if argv is None else argv):
        _ignore_errors_of_destructors()
    try:
        status = run(argv)
    except BaseException:
        if _others_wait():
            sys.excepthook(*sys.exc_info())
            _leave(_signal.SIGTERM, None)
        raise
    if status > 128 and _others_wait():
        _leave(status - 128, None)
    return status


def _ignore_errors_of_destructors() -> None:
    """Print no error that CUDA reports while memory, graphs and events are released.

    After a fault every call returns it again. ``run`` has printed the one that ended the command.
    Extension modules print such errors through both hooks.
    """

    def is_of_cuda(error: BaseException | None) -> bool:
        errors = sys.modules.get("gpucnn.backends.cuda.errors")
        return errors is not None and errors.device_error(error) is not None

    unraisablehook, excepthook = sys.unraisablehook, sys.excepthook
    sys.unraisablehook = lambda found: is_of_cuda(found.exc_value) or unraisablehook(found)
    sys.excepthook = lambda kind, error, trace: is_of_cuda(error) or excepthook(kind, error, trace)


def _leave(number: int, frame: FrameType | None) -> None:
    if _others_wait():
        _signal.signal(number, _signal.SIG_DFL)
        _signal.raise_signal(number)
    os._exit(128 + number)


def _others_wait() -> bool:
    """Return whether processes that were started with this one may wait for it to join MPI.

    What started them ends them if this one is killed by a signal, but not if it exits.
    """
    ranks = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
    return any(rank in os.environ for rank in ranks) and "mpi4py.MPI" not in sys.modules


if __name__ == "__main__":
    sys.exit(main())
