"""Reading items of .npy files in any order, and noticing files that were cut or changed.

The files are read with pread, not mapped into memory: pages that are mapped count as memory of the
process, and a file that is cut while it is mapped ends the process with SIGBUS.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from gpucnn.data.files import format_sides, open_file, unreadable
from gpucnn.data.lazy import image_digests
from gpucnn.data.packed.arrays import DigestFile, Entry, read_header
from gpucnn.data.types import Array, Bytes
from gpucnn.errors import DataError


class _Opened(NamedTuple):
    descriptor: int
    start: int  # of the first image
    state: tuple[int, int, bool]  # when it was opened


def _state(status: os.stat_result) -> tuple[int, int, bool]:
    """Return size, time of the last change, and whether the file is in a folder."""
    return status.st_size, status.st_mtime_ns, status.st_nlink > 0


class ShardFiles:
    """The files with the images of a split, which any number of threads may read.

    Args:
        folder: where they are.
        entries: the files in the order of their images.
        shape: (C, H, W) of an image.
        digests: reads the ``image_digests`` of all images.
    """

    def __init__(
        self, folder: Path, entries: list[Entry], shape: tuple[int, int, int], digests: DigestFile
    ) -> None:
        self.folder, self.entries, self.shape, self.digests = folder, entries, shape, digests
        counts = [entry.count for entry in entries]
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._image_bytes = int(np.prod(shape))
        self._checked = np.zeros(int(self.starts[-1]), np.bool_)  # against their digests
        self._opened: dict[int, _Opened] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._opened)

    def small(self, rows: npt.NDArray[np.int64]) -> Array:
        """Return indices of images in a dtype of few bytes."""
        return rows.astype(np.uint32 if self.starts[-1] <= 1 << 32 else np.int64)

    def read(self, rows: npt.NDArray[np.int64], out: Bytes) -> None:
        """Read the images with the indices ``rows`` (n,) into ``out`` (n, C, H, W), C-contiguous.

        Raises:
            DataError: a file is missing, was cut or changed, or an image is not the one that was
                packed; the message names the file.
        """
        if not len(rows):
            return
        places = np.argsort(rows, kind="stable")  # in the order in which they are on disk
        ordered = rows[places]
        files = np.searchsorted(self.starts, ordered, "right") - 1
        apart = (np.diff(ordered) != 1) | (np.diff(places) != 1) | (np.diff(files) != 0)
        begins = np.concatenate([[0], np.flatnonzero(apart) + 1])
        columns = files[begins], ordered[begins], places[begins], np.diff(begins, append=len(rows))
        runs = list(zip(*(column.tolist() for column in columns), strict=True))
        target, size = memoryview(cast(Any, out)).cast("B"), self._image_bytes
        if len(runs) > 1:
            self._prefetch(runs)
        for index, row, place, count in runs:
            self._read_part(index, row, target[place * size : (place + count) * size])
        for index in set(files.tolist()):
            self._check_unchanged(index)
        self._check_content(rows, out)

    def _prefetch(self, runs: list[tuple[int, int, int, int]]) -> None:
        """Let the system fetch images from the disk all at once, not each when it is read."""
        if hasattr(os, "posix_fadvise"):
            for index, row, _, count in runs:
                descriptor, position = self._position(index, row)
                size = count * self._image_bytes
                with suppress(OSError):  # reading reports what is wrong
                    os.posix_fadvise(descriptor, position, size, os.POSIX_FADV_WILLNEED)

    def _position(self, index: int, row: int) -> tuple[int, int]:
        """Return a file's descriptor, and where the image ``row`` begins."""
        opened = self._opened.get(index) or self._open(index)
        position = opened.start + (row - int(self.starts[index])) * self._image_bytes
        return opened.descriptor, position

    def _read_part(self, index: int, row: int, target: memoryview) -> None:
        """Read images that follow each other in a file, from ``row`` on."""
        descriptor, position = self._position(index, row)
        while target:
            try:
                count = _pread(descriptor, target, position, self._lock)
            except OSError as error:
                raise unreadable(self.folder / self.entries[index].file, error) from None
            if not count:
                self._check_unchanged(index)
                raise self._fault(index, "ends before its last image")
            target, position = target[count:], position + count

    def _open(self, index: int) -> _Opened:
        """Open a file, unless another thread did, and check its size and its header."""
        entry = self.entries[index]
        path = self.folder / entry.file
        with self._lock:
            if index in self._opened:
                return self._opened[index]
            try:
                with open_file(path) as file:
                    status = os.fstat(file.fileno())
                    if status.st_size != entry.bytes:
                        raise self._fault(
                            index, f"has {status.st_size} bytes, expected {entry.bytes}"
                        )
                    header, shape = read_header(path, file), (entry.count, *self.shape)
                    if header.shape != shape or header.dtype != np.uint8:
                        raise DataError(
                            f"{path} holds {header.dtype} {format_sides(header.shape)}, expected"
                            f" uint8 {format_sides(shape)}"
                        )
                    descriptor = os.dup(file.fileno())
            except OSError as error:
                raise unreadable(path, error) from None
            opened = _Opened(descriptor, header.start, _state(status))
            self._opened[index] = opened
        return opened

    def _check_unchanged(self, index: int) -> None:
        """Raise DataError if a file has changed since it was opened."""
        opened = self._opened[index]
        found = _state(os.fstat(opened.descriptor))
        if found != opened.state:
            size, _, in_folder = opened.state
            if found[2] != in_folder:
                raise self._fault(index, "was removed or replaced while it was in use")
            more = "" if found[0] == size else f": it has {found[0]} bytes, not {size}"
            raise self._fault(index, f"was changed while it was in use{more}")

    def _check_content(self, rows: npt.NDArray[np.int64], out: Bytes) -> None:
        """Compare images that are read for the first time with their digests."""
        new = np.flatnonzero(~self._checked[rows])
        if not len(new):
            return
        found = image_digests(out if len(new) == len(rows) else out[new])
        wrong = found.astype(np.uint32) != self.digests.low()[rows[new]]
        if wrong.any():
            row = int(rows[new[wrong.argmax()]])
            index = int(np.searchsorted(self.starts, row, "right")) - 1
            position = row - int(self.starts[index])
            raise self._fault(index, f"is damaged: image {position} is not the one that was packed")
        self._checked[rows[new]] = True

    def _fault(self, index: int, text: str) -> DataError:
        return DataError(
            f"{self.folder / self.entries[index].file} {text} (gpucnn pack --verify checks all"
            " files)"
        )


def _pread(descriptor: int, target: memoryview, position: int, lock: threading.Lock) -> int:
    """Read bytes of a file from ``position`` on; return how many were read."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [target], position)
    with lock:  # Windows
        os.lseek(descriptor, position, os.SEEK_SET)
        data = os.read(descriptor, len(target))
    target[: len(data)] = data
    return len(data)


def _close(opened: dict[int, _Opened]) -> None:
    for file in opened.values():
        os.close(file.descriptor)
