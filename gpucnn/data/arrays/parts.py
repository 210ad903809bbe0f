"""Arrays of images that are read in parts, because they may not fit in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from gpucnn.data.lazy import CHUNK_BYTES, LazyImages
from gpucnn.data.types import Array, Bytes, OnProgress


class Lazy(NamedTuple):
    """Whether images are read when they are needed, and what is called while they are examined."""

    wanted: bool = False
    on_progress: OnProgress | None = None


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
