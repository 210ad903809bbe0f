"""The images of a packed split, as an array that is read a few images at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucnn.data.lazy import LazyImages, Recorded, Rows
from gpucnn.data.packed.files import ShardFiles
from gpucnn.data.types import Bytes
from gpucnn.errors import ShapeError


class Shards(LazyImages):
    """Images uint8 (N, C, H, W) in .npy files, of which only those that are asked for are read.

    Any number of threads may read. An image is compared with its digest when it is first read, and
    a file that is cut or changed is reported as DataError with its name.

    Args:
        files: the files of the split.
        recorded: what they record of the whole split.
        rows: which of their images these are, in increasing order; None: all.
    """

    def __init__(
        self,
        files: ShardFiles,
        recorded: Recorded | None = None,
        rows: range | npt.NDArray[Any] | None = None,
    ) -> None:
        rows = range(int(files.starts[-1])) if rows is None else rows
        super().__init__((len(rows), *files.shape))
        self.files, self.recorded, self.rows = files, recorded, rows

    def take(self, indices: npt.ArrayLike, out: Bytes | None = None) -> Bytes:
        """Return the images with some indices, (n, C, H, W), as the base class says.

        ``out`` must be uint8 (n, C, H, W) and C-contiguous.
        """
        rows = self._rows(self.checked(indices))
        return self._read(rows, self.new(len(rows)) if out is None else out)

    def chunks(self, size: int | None = None, start: int = 0) -> Iterator[Bytes]:
        """Yield all images from ``start`` on in their order, as the base class says."""
        size = size or self.chunk_size()
        for begin in range(start, len(self), size):
            rows = self._rows(np.arange(begin, min(begin + size, len(self))))
            yield self._read(rows, self.new(len(rows)))

    def subset(self, rows: Rows) -> Shards:
        """Return some of the images, in increasing order; they are not read."""
        chosen = self.indices(rows)
        if isinstance(self.rows, range) and isinstance(chosen, range):
            return Shards(self.files, rows=self.rows[chosen.start : chosen.stop : chosen.step])
        found = self._rows(np.asarray(chosen, np.int64))
        return Shards(self.files, rows=self.files.small(found))

    def digests(self) -> npt.NDArray[np.uint64]:
        """Return the ``image_digests`` of all images, as they were packed."""
        kept = self.files.digests.read()
        if isinstance(self.rows, range):
            return kept[self.rows.start : self.rows.stop : self.rows.step]
        chosen: npt.NDArray[np.uint64] = kept[self.rows]
        return chosen

    def _rows(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the images of the files that some of these images are."""
        if isinstance(self.rows, range):
            return indices * self.rows.step + self.rows.start
        rows: npt.NDArray[np.int64] = self.rows[indices].astype(np.int64)
        return rows

    def _read(self, rows: npt.NDArray[np.int64], out: Bytes) -> Bytes:
        shape = (len(rows), *self.shape[1:])
        if out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ShapeError(f"out is {out.dtype} {out.shape}, expected C-contiguous uint8 {shape}")
        self.files.read(rows, out)
        return out
