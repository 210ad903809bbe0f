"""Sums over the ranks of MPI, added in the order of ranks.

MPI's own reductions promise no order of the summands. Here each rank gets a slice of the arrays of
all others (``Ialltoall``), adds them in the order of ranks, and returns the sums (``Iallgather``).
Where that saves little, each rank gets everything and adds it: one message less to wait for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_GATHERED = 1 << 21
"""Bytes that each rank gets of the others at once."""

Arrays = tuple[NDArray[Any], ...]
Requests = Iterator[Any]
"""Requests of MPI, each of which must be complete before the next one is asked for. After the last
one the arrays are the sums."""


def make_exchange(arrays: Arrays, size: int) -> Gathered | Sliced:
    """Return the memory for sums of arrays of these shapes and dtypes over ``size`` ranks."""
    received = (size - 1) * sum(array.nbytes for array in arrays)
    # Of two ranks, slices would be as many bytes.
    return (Gathered if size == 2 or received <= MAX_GATHERED else Sliced)(arrays, size)


class Gathered:
    """Each rank gets all arrays of all ranks."""

    def __init__(self, arrays: Arrays, size: int) -> None:
        self._sent, self._own = _rows(1, arrays)
        self._received, self._all = _rows(size, arrays)

    def run(self, comm: Any, arrays: Arrays) -> Requests:
        """Yield the requests of a sum."""
        for own, array in zip(self._own, arrays, strict=True):
            own[0] = array.reshape(-1)
        yield comm.Iallgather(self._sent, self._received)
        for rows, array in zip(self._all, arrays, strict=True):
            array[...] = _add(rows).reshape(array.shape)


class Sliced:
    """Each rank gets a slice of the first array, and all of the others, which are small."""

    def __init__(self, arrays: Arrays, size: int) -> None:
        first, *others = arrays
        self._length = -(-first.size // size)
        self._first = np.zeros((size, self._length), first.dtype)
        self._sent, self._own = _rows(size, (self._first[0], *others))
        self._received, self._all = _rows(size, (self._first[0], *others))

    def run(self, comm: Any, arrays: Arrays) -> Requests:
        """Yield the requests of a sum."""
        first, *others = arrays
        flat, (slices, *copies) = first.reshape(-1), self._own
        for start, row in zip(range(0, flat.size, self._length), slices, strict=False):
            part = flat[start : start + self._length]
            row[: part.size] = part
        for copy, array in zip(copies, others, strict=True):
            copy[...] = array.reshape(-1)
        yield comm.Ialltoall(self._sent, self._received)
        yield comm.Iallgather(np.ascontiguousarray(_add(self._all[0])), self._first)
        first[...] = self._first.reshape(-1)[: first.size].reshape(first.shape)
        for rows, array in zip(self._all[1:], others, strict=True):
            array[...] = _add(rows).reshape(array.shape)


def _add(rows: NDArray[Any]) -> NDArray[Any]:
    """Return the sum of the rows, from the first to the last, in the place of the first."""
    total: NDArray[Any] = rows[0]
    for row in rows[1:]:
        total += row
    return total


def _rows(count: int, arrays: Arrays) -> tuple[NDArray[np.uint8], list[NDArray[Any]]]:
    """Return bytes (count, ...) that have room for the arrays in each row, and their elements.

    These are views (count, size), one for each array; each begins at a multiple of 8 bytes.
    """
    ends = np.cumsum([0, *(-(-array.nbytes // 8) * 8 for array in arrays)])
    rows = np.zeros((count, ends[-1]), np.uint8)
    views = [
        rows[:, start : start + array.nbytes].view(array.dtype)
        for start, array in zip(ends[:-1], arrays, strict=True)
    ]
    return rows, views
