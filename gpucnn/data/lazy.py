"""Images that are read when they are needed, because all of them may not fit in memory."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpucnn.data.types import Bytes
from gpucnn.errors import DataError

CHUNK_BYTES = 1 << 22
"""Bytes of images that are read at a time"""

Rows = slice | range | npt.NDArray[Any]
"""Which images: a slice, a range, indices (n,), or booleans (N,)."""


class Recorded(NamedTuple):
    """What files record of all images of a split and their labels."""

    labels: str  # SHA-256 of the labels, in hexadecimal
    fingerprint: str  # Split.fingerprint()
    mean: tuple[float, ...]  # Split.statistics()
    std: tuple[float, ...]


class LazyImages(ABC):
    """Images uint8 (N, C, H, W) that are read when they are needed.

    ``shape``, ``dtype``, ``ndim`` and ``len`` are those of an array. Indexing, with what NumPy
    takes as the first index, reads the images that are asked for: ``images[3]``, ``images[:10]``,
    ``images[[4, 2]]``. Converting all to an array is refused.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4
    recorded: Recorded | None = None

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self.shape = shape

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: uint8 {self.shape}>"

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        _, channels, height, width = self.shape
        return channels * height * width

    def chunk_size(self) -> int:
        """Return the number of images that ``chunks`` reads at a time by default."""
        return max(1, CHUNK_BYTES // self.image_bytes)

    @abstractmethod
    def chunks(self, size: int | None = None, start: int = 0) -> Iterator[Bytes]:
        """Yield all images from ``start`` on in their order, (n, C, H, W), n at most ``size``.

        By default, ``size`` is such that a chunk has about 4 MiB.
        """

    def take(self, indices: npt.ArrayLike, out: Bytes | None = None) -> Bytes:
        """Return the images with some indices, (n, C, H, W): in ``out`` if that is given.

        IndexError for an index outside -N to N - 1, or other than integers or booleans.
        """
        rows = self.checked(indices)
        result = self.new(len(rows)) if out is None else out
        if not len(rows):
            return result
        order = np.argsort(rows, kind="stable")
        pending, start = 0, int(rows[order[0]])
        for chunk in self.chunks(start=start):
            stop = pending + int(np.searchsorted(rows[order[pending:]], start + len(chunk)))
            wanted = order[pending:stop]
            result[wanted] = chunk[rows[wanted] - start]
            pending, start = stop, start + len(chunk)
            if pending == len(rows):
                break
        return result

    def digests(self) -> npt.NDArray[np.uint64] | None:
        """Return the ``image_digests`` of all images if they are recorded, else None."""
        return None

    def subset(self, rows: Rows) -> LazyImages:
        """Return some of the images, in increasing order; they are not read."""
        return Chosen(self, self.indices(rows))

    def turned(self) -> LazyImages:
        """Return the images with rows and columns exchanged."""
        return Turned(self)

    def new(self, count: int) -> Bytes:
        """Return an array for so many images, not initialised."""
        return np.empty((count, *self.shape[1:]), np.uint8)

    def checked(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the numbers from 0 to N - 1 that indices (n,) or booleans (N,) mean.

        IndexError for others, and for an index outside -N to N - 1.
        """
        rows = np.asarray(indices)
        if rows.dtype == np.bool_ and rows.shape == (len(self),):
            return np.flatnonzero(rows)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise IndexError(
                f"an index of images on disk is {rows.dtype} {rows.shape}, expected an integer, a"
                f" slice, integers (n,) or booleans ({len(self)},)"
            )
        rows = rows.astype(np.int64, copy=False)
        if rows.size and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"{rows.min()} to {rows.max()} are not in the {len(self)} images")
        return np.where(rows < 0, rows + len(self), rows)

    def indices(self, rows: Rows) -> range | npt.NDArray[Any]:
        """Return which images ``rows`` are: a range, or indices (n,) of few bytes."""
        if isinstance(rows, slice):
            return range(*rows.indices(len(self)))
        if isinstance(rows, range):
            return rows
        return self.checked(rows).astype(np.uint32 if len(self) <= 1 << 32 else np.int64)

    def __getitem__(self, key: Any) -> Any:
        first, *rest = (key or (None,)) if isinstance(key, tuple) else (key,)
        if not all(isinstance(one, slice) or _is_integer(one) for one in rest):
            raise IndexError(
                "images on disk take integers and slices after the first index: use"
                " images[...][...] for others"
            )
        if _is_integer(first):
            return self.take([first])[0][tuple(rest)]
        if isinstance(first, slice):
            first = range(*first.indices(len(self)))
        return self.take(first)[(slice(None), *rest)]

    def __iter__(self) -> Iterator[Bytes]:
        for chunk in self.chunks():
            yield from chunk

    def __array__(self, *arguments: Any, **keywords: Any) -> Bytes:
        raise DataError(
            f"{len(self):,} images are on disk, and may not fit in memory: use images[:1000] for"
            " some, or images.chunks() for all in parts"
        )


class Chosen(LazyImages):
    """Some of the images of ``images``: those with the increasing indices ``rows``."""

    def __init__(self, images: LazyImages, rows: range | npt.NDArray[Any]) -> None:
        super().__init__((len(rows), *images.shape[1:]))
        self.images, self.rows = images, rows

    def take(self, indices: npt.ArrayLike, out: Bytes | None = None) -> Bytes:
        """Return the images with some indices, as the base class says."""
        return self.images.take(np.asarray(self.rows, np.int64)[self.checked(indices)], out)

    def chunks(self, size: int | None = None, start: int = 0) -> Iterator[Bytes]:
        """Yield all images from ``start`` on in their order, as the base class says."""
        size = size or self.chunk_size()
        if start >= len(self):
            return
        position, pending = int(self.rows[start]), start
        for chunk in self.images.chunks(size, position):
            stop = position + len(chunk)
            after = _position(self.rows, stop, pending)
            if after > pending:
                yield chunk[np.asarray(self.rows[pending:after]).astype(np.int64) - position]
            position, pending = stop, after
            if pending == len(self):
                return


def _position(rows: range | npt.NDArray[Any], value: int, start: int) -> int:
    """Return the first position from ``start`` on of increasing ``rows`` with ``value`` or more."""
    if isinstance(rows, range):
        return max(start, min(len(rows), -((rows.start - value) // rows.step)))
    return start + int(np.searchsorted(rows[start:], value))


class Turned(LazyImages):
    """The images of ``images`` with rows and columns exchanged."""

    def __init__(self, images: LazyImages) -> None:
        count, channels, height, width = images.shape
        super().__init__((count, channels, width, height))
        self.images = images

    def take(self, indices: npt.ArrayLike, out: Bytes | None = None) -> Bytes:
        """Return the images with some indices, as the base class says."""
        rows = self.checked(indices)
        result = self.new(len(rows)) if out is None else out
        result[...] = self.images.take(rows).transpose(0, 1, 3, 2)
        return result

    def chunks(self, size: int | None = None, start: int = 0) -> Iterator[Bytes]:
        """Yield all images from ``start`` on in their order, as the base class says."""
        for chunk in self.images.chunks(size, start):
            yield np.ascontiguousarray(chunk.transpose(0, 1, 3, 2))


Images = Bytes | LazyImages
"""Images in memory, or read when they are needed."""


def _is_integer(index: object) -> bool:
    """Return whether NumPy takes an index as an integer; booleans are masks."""
    return isinstance(index, int | np.integer) and not isinstance(index, bool)


def image_digests(images: Bytes) -> npt.NDArray[np.uint64]:
    """Return a 64-bit digest (BLAKE2b) of the pixels of each image, uint64 (n,)."""
    rows = images.reshape(len(images), -1)
    joined = b"".join([hashlib.blake2b(row.data, digest_size=8).digest() for row in rows])
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)


def chunks(images: Images) -> Iterator[Bytes]:
    """Yield all images in parts of bounded size."""
    if isinstance(images, LazyImages):
        yield from images.chunks()
        return
    step = max(1, CHUNK_BYTES // max(images[0].size, 1))
    for start in range(0, len(images), step):
        yield images[start : start + step]


def part(images: Images, rows: Rows) -> Images:
    """Return some of the images: those in memory as NumPy does, others without reading them."""
    return images.subset(rows) if isinstance(images, LazyImages) else images[rows]


def turned(images: Images) -> Images:
    """Return images with rows and columns exchanged."""
    return images.turned() if isinstance(images, LazyImages) else images.transpose(0, 1, 3, 2)
