"""Arrays of images that are read in parts, because they may not fit in memory."""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from math import prod
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np

from gpucnn.data.lazy import CHUNK_BYTES, LazyImages
from gpucnn.data.types import Array, Bytes, OnProgress


class Lazy(NamedTuple):
    """Whether images are read when they are needed, and what is called while they are examined.

    What takes long to read is read once, and kept in a file without a name in ``folder``.
    """

    wanted: bool = False
    on_progress: OnProgress | None = None
    folder: str | None = None


EAGER = Lazy()
"""Images are read into memory."""


class LazyArray(ABC):
    """An array, of any dtype, that is read in parts of its first axis.

    It has the ``shape``, ``dtype``, ``ndim``, ``size`` and ``len`` of an array.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @abstractmethod
    def chunks(self, size: int, start: int = 0) -> Iterator[Array]:
        """Yield all items from ``start`` on in their order, ``size`` at a time or fewer."""

    def parts(self) -> Iterator[Array]:
        """Yield all items in parts of a few MiB."""
        item = prod(self.shape[1:]) * max(self.dtype.itemsize, 1)
        return self.chunks(max(1, CHUNK_BYTES // max(item, 1)))


class Spooled(LazyArray):
    """Rows of numbers in a file without a name, which ends with this object.

    Args:
        columns: in a row.
        folder: where the file is; None: in that of the system for such files.
    """

    def __init__(self, columns: int, folder: str | None) -> None:
        super().__init__((0, columns), np.dtype(np.uint8))
        self._folder = folder
        self._blocks: list[tuple[int, int, np.dtype[Any]]] = []  # first row, position, dtype
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 (closed with this object)
        weakref.finalize(self, self._file.close)

    def add(self, rows: Array) -> None:
        """Add rows (n, D), uint8 or float32; OSError, with the folder's name, if it is full."""
        count, columns = self.shape
        try:
            self._blocks.append((count, self._file.seek(0, os.SEEK_END), rows.dtype))
            self._file.write(np.ascontiguousarray(rows).data)
            self._file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._folder or "") from error
        self.shape = (count + len(rows), columns)
        self.dtype = np.promote_types(self.dtype, rows.dtype)

    def chunks(self, size: int, start: int = 0) -> Iterator[Array]:
        """Yield all rows from ``start`` on, ``size`` at a time or fewer."""
        ends = [*(first for first, _, _ in self._blocks[1:]), len(self)]
        for (first, position, dtype), end in zip(self._blocks, ends, strict=True):
            row = self.shape[1] * dtype.itemsize
            for begin in range(max(start, first), end, size):
                count = min(size, end - begin)
                self._file.seek(position + (begin - first) * row)
                yield np.frombuffer(self._file.read(count * row), dtype).reshape(count, -1)


class Converted(LazyImages):
    """Images uint8 (N, C, H, W) that are made of an array when they are read.

    Args:
        array: the array.
        shape: of the images.
        convert: makes the images of some items.
    """

    def __init__(
        self,
        array: LazyArray,
        shape: tuple[int, int, int, int],
        convert: Callable[[Array], Bytes],
    ) -> None:
        super().__init__(shape)
        self.array, self.convert = array, convert

    def chunks(self, size: int | None = None, start: int = 0) -> Iterator[Bytes]:
        """Yield all images from ``start`` on in their order, as the base class says."""
        for items in self.array.chunks(size or self.chunk_size(), start):
            yield np.ascontiguousarray(self.convert(items))
