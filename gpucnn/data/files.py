"""What the readers share: opening files, errors of the system, listings, limits on unpacking."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BufferedReader
from pathlib import Path
from typing import Any

from gpucnn.errors import DataError

FOLDER = "a folder"
_KINDS = {
    stat.S_IFDIR: FOLDER,
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# Deflate, the method of .gz and .npz files, packs at most 258 bytes into 2 bits: 1032 to 1.
_DEFLATE_RATIO = 1032
# Above this unpacked size the limit is a ratio that no set of real images reaches.
_LARGE, _LARGE_RATIO = 1 << 28, 200


def unreadable(path: Path | str, error: OSError) -> DataError:
    """Return the DataError for a file or a folder that the operating system does not read."""
    return DataError(f"{path} cannot be read: {error.strerror or error}")


class Opened:
    """The files that are opened in a context, with their sizes and times of the last change."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[int, int]] = {}
        self.notes: dict[str, Any] = {}  # what identifies many files

    def add(self, path: Path | str, status: os.stat_result) -> None:
        """Remember a file; DataError if it has changed since it was first opened."""
        state = status.st_size, status.st_mtime_ns
        if self.files.setdefault(os.path.abspath(path), state) != state:
            raise changed(path)

    def check(self) -> None:
        """Raise DataError for the first file that has changed since it was opened."""
        for path in self.files:
            try:
                self.add(path, os.stat(path))
            except OSError as error:
                raise unreadable(path, error) from None


_opened: ContextVar[Opened | None] = ContextVar("opened", default=None)


@contextmanager
def recording() -> Iterator[Opened]:
    """Collect the files that are opened within the block by this thread."""
    found = Opened()
    token = _opened.set(found)
    try:
        yield found
    finally:
        _opened.reset(token)


def note_source(name: str, value: Any) -> None:
    """Add what identifies the files of a folder to what is ``recording``, if anything is."""
    if (found := _opened.get()) is not None:
        found.notes[name] = value


def changed(path: Path | str) -> DataError:
    """Return the error for a file that changes while it is read."""
    return DataError(f"{path} was changed while it was read: start over")


def open_file(path: Path | str) -> BufferedReader:
    """Open a file for reading; OSError if the system does not.

    Raises:
        DataError: ``path`` is a named pipe, a device or a socket. It is not opened: reading from a
            pipe may wait forever.
    """
    kind = other_kind(os.stat(path).st_mode)
    if kind and kind != FOLDER:  # which the system refuses
        raise DataError(f"{path} is {kind}, not a file")
    file = Path(path).open("rb")  # noqa: SIM115 (the caller closes it)
    if (found := _opened.get()) is not None:
        found.add(path, os.fstat(file.fileno()))
    return file


def other_kind(mode: int) -> str:
    """Return what a ``mode`` is of, such as "a named pipe"; "" if it is of a file."""
    if stat.S_ISREG(mode):
        return ""
    return _KINDS.get(stat.S_IFMT(mode), "of an unknown kind")


def list_folder(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted by name; DataError if it cannot be read."""
    try:
        found = list(folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from None
    # By name, as paths compare differently on different systems; composed, as macOS may store it
    # decomposed.
    return sorted(found, key=lambda path: (unicodedata.normalize("NFC", path.name), path.name))


def format_sides(shape: Iterable[int]) -> str:
    """Return a shape as in messages: ``3x28x28``."""
    return "x".join(str(side) for side in shape)


def check_packing(what: str, unpacked: int, packed: int) -> None:
    """Raise DataError if ``packed`` bytes of deflated images cannot hold ``unpacked`` ones.

    Such a file is damaged, or made to exhaust memory. The header alone is enough to refuse it.
    """
    ratio = _DEFLATE_RATIO if unpacked <= _LARGE else _LARGE_RATIO
    if unpacked > ratio * packed:
        raise DataError(
            f"{what} declares {unpacked} unpacked bytes, but {packed} packed bytes hold at most"
            f" {ratio * packed}: the file is damaged"
        )
