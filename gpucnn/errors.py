"""What can go wrong: one exception a kind of cause, each with the status the command exits with."""

from __future__ import annotations

from collections.abc import Iterable


class GpucnnError(Exception):
    """Base of every error that gpucnn raises on purpose; its text is one line for the user."""

    status = 1


class SettingError(GpucnnError, ValueError):
    """A setting, an option or a name that cannot be used."""

    status = 2


class ShapeError(GpucnnError, ValueError):
    """Array or layer shapes that do not fit together."""

    status = 2


class ArrayError(GpucnnError, TypeError):
    """An array that is not the backend's own, or has another dtype than the operation takes."""

    status = 2


class DataError(GpucnnError, ValueError):
    """A data set, an image or a label that cannot be read or makes no sense."""

    status = 2


class CheckpointError(GpucnnError, ValueError):
    """A checkpoint that is damaged, of another format, or of another model."""

    status = 2


class BackendError(GpucnnError, RuntimeError):
    """A backend that cannot be had on this machine."""

    status = 1


class DivergedError(GpucnnError, ArithmeticError):
    """A loss or a gradient that is no longer finite."""

    status = 1


class WorkerError(GpucnnError, RuntimeError):
    """A worker process that is gone, or cannot do its part."""

    status = 1


def unknown(kind: str, name: str, known: Iterable[str]) -> SettingError:
    """Return the error for a name that is none of ``known``, with the nearest of them."""
    import difflib  # only ever needed on the way out

    names = {str(entry).lower(): entry for entry in sorted(known)}
    close = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {names[close[0]]!r}?" if close else "known: " + ", ".join(names.values())
    return SettingError(f"unknown {kind} {name!r}: {hint}")
