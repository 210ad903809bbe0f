"""The headers of .npy files, and those with the labels and the digests of a packed split."""

from __future__ import annotations

import hashlib
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from gpucnn.data.files import format_sides, open_file, unreadable
from gpucnn.data.types import Array
from gpucnn.errors import DataError

_BLOCK = 1 << 17  # numbers that are read at a time, 1 MiB


@dataclass(frozen=True)
class Entry:
    """A file of a packed data set, as dataset.json describes it."""

    file: str
    count: int  # images, labels or digests
    bytes: int
    sha256: str


class Header(NamedTuple):
    """What a .npy file says of its array."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    start: int  # of the array in the file


def read_header(path: Path, file: BinaryIO) -> Header:
    """Read the header of a .npy file; DataError if it is none, or not in C order."""
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not of version (1, 0)")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran:
            raise ValueError("not in C order")
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is not a .npy file: {reason}") from None
    return Header(shape, dtype, file.tell())


def read_array(folder: Path, entry: Entry, dtype: str, kept: npt.DTypeLike | None = None) -> Array:
    """Return the array of a file; DataError unless it is the one that was packed.

    ``dtype`` is what the file must have. ``kept`` is that of the result, the machine's own by
    default; of integers it may keep the lower bits. There is one copy of the array in memory.
    """
    path, expected = folder / entry.file, np.dtype(dtype)
    try:
        with open_file(path) as file:
            header = read_header(path, file)
            size = header.start + math.prod(header.shape) * header.dtype.itemsize
            if size != entry.bytes:
                raise _changed(path)
            if header.dtype != expected or header.shape[:1] != (entry.count,):
                found = f"{header.dtype} {format_sides(header.shape)}"
                raise DataError(f"{path} holds {found}, expected {expected} {entry.count}")
            return _read_numbers(
                path, file, header, entry.sha256, kept or expected.newbyteorder("=")
            )
    except OSError as error:
        raise unreadable(path, error) from None


def _read_numbers(
    path: Path, file: BinaryIO, header: Header, sha256: str, kept: npt.DTypeLike
) -> Array:
    file.seek(0)
    digest = hashlib.sha256(file.read(header.start))
    result = np.empty(header.shape, kept)
    flat, size = result.reshape(-1), header.dtype.itemsize
    for start in range(0, len(flat), _BLOCK):
        part = flat[start : start + _BLOCK]
        content = file.read(len(part) * size)
        if len(content) != len(part) * size:
            raise _changed(path)
        digest.update(content)
        part[...] = np.frombuffer(content, header.dtype)
    if file.read(1) or digest.hexdigest() != sha256:
        raise _changed(path)
    return result


def _changed(path: Path) -> DataError:
    return DataError(f"{path} was cut or changed after it was packed: pack the data set again")


class DigestFile:
    """The digests of all images of a split, which are read when they are needed."""

    def __init__(self, folder: Path, entry: Entry) -> None:
        self.folder, self.entry = folder, entry
        self._low: npt.NDArray[np.uint32] | None = None
        self._lock = threading.Lock()

    def read(self) -> npt.NDArray[np.uint64]:
        """Read the digests, uint64 (N,); DataError if the file is damaged."""
        return read_array(self.folder, self.entry, "<u8")

    def low(self) -> npt.NDArray[np.uint32]:
        """Return the lower 32 bits of the digests, (N,), which stay in memory.

        They find a damaged image as well: all but one in 4 billion.
        """
        with self._lock:
            if self._low is None:
                self._low = read_array(self.folder, self.entry, "<u8", np.uint32)
            return self._low
