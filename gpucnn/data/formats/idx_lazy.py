"""The images of an IDX file, read when they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gpucnn.data.formats.idx_file import open_idx
from gpucnn.data.lazy import LazyImages
from gpucnn.data.types import Bytes
from gpucnn.errors import DataError


class IdxImages(LazyImages):
    """The images of a file, plain or gzip, uint8 (N, 1, rows, columns).

    Raises DataError, also while they are read, for a file that is unreadable or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_idx(path, 3) as opened:
            count, height, width = opened.shape
        super().__init__((count, 1, height, width))

    def chunks(self, size: int | None = None, start: int = 0) -> Iterator[Bytes]:
        """Yield all images from ``start`` on in their order, as the base class says."""
        size = size or self.chunk_size()
        with open_idx(self.path, 3) as opened:
            if opened.shape != (len(self), *self.shape[2:]):
                raise DataError(f"{self.path} was changed while it was read")
            opened.stream.seek(start * self.image_bytes, 1)
            for first in range(start, len(self), size):
                count = min(size, len(self) - first)
                data = opened.stream.read(count * self.image_bytes)
                if len(data) != count * self.image_bytes:
                    opened.expect_end(first * self.image_bytes + len(data))
                yield np.frombuffer(data, np.uint8).reshape(count, *self.shape[1:])
            opened.expect_end(opened.bytes)
