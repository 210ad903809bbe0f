"""The exceptions and warnings of gpucnn, one class for each kind of cause.

``status`` is the exit status with which the command line reports them.
"""

from __future__ import annotations

from collections.abc import Iterable


class GpucnnError(Exception):
    """Base class of all exceptions that gpucnn raises. The message is one line for the user."""

    status = 1


class SettingError(GpucnnError, ValueError):
    """An argument, an option or a name is invalid."""

    status = 2


class ShapeError(GpucnnError, ValueError):
    """The shapes of arrays or layers do not match."""

    status = 2


class ArrayError(GpucnnError, TypeError):
    """An array is not of the backend's type, or its dtype is not the expected one."""

    status = 2


class DataError(GpucnnError, ValueError):
    """A data set, an image or a label cannot be read or is invalid."""

    status = 2


class ReadError(DataError):
    """Images that are read while a network uses them could not be read, or have changed."""

    status = 1


class DataWarning(UserWarning):
    """A data set was read, but not as it may have been meant. The message is one line."""


class CheckpointError(GpucnnError, ValueError):
    """A checkpoint is damaged, has another format, or belongs to another model."""

    status = 2


class BackendError(GpucnnError, RuntimeError):
    """A backend is not available on this machine."""

    status = 1


class OutOfMemoryError(BackendError):
    """A device has too little memory; ``found`` is the message without the ``advice`` after it."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(f"{found}; {advice}")
        self.found = found


class DivergedError(GpucnnError, ArithmeticError):
    """A loss, a gradient or a weight is NaN or infinite."""

    status = 1


class WorkerError(GpucnnError, RuntimeError):
    """A worker process, or another process of a group, has ended or failed.

    ``lost`` is its number in a group if it cannot report that itself.
    """

    status = 1

    def __init__(self, message: str, lost: int | None = None, status: int = 1) -> None:
        super().__init__(message)
        self.lost, self.status = lost, status


def unknown(kind: str, name: str, known: Iterable[str]) -> SettingError:
    """Return the error for a ``name`` that is not in ``known``; it suggests the closest match."""
    import difflib  # imported here because most runs never need it

    names = {str(entry).lower(): entry for entry in sorted(known)}
    close = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    if close:
        hint = f"did you mean {names[close[0]]!r}?"
    else:
        hint = f"expected one of {', '.join(names.values())}"
    return SettingError(f"unknown {kind} {name!r}: {hint}")
