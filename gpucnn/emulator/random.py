"""Random arrays by CuPy's names. The numbers are NumPy's: a seed gives others than with CuPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gpucnn.emulator.array import asarray, ndarray

Size = int | Sequence[int] | None


class Generator:
    """A source of random arrays on the device, as ``cupy.random.default_rng`` gives."""

    def __init__(self, seed: int | None = None) -> None:
        self._host = np.random.default_rng(seed)

    def random(self, size: Size = None, dtype: DTypeLike = float) -> ndarray:
        """Return numbers from 0 to less than 1."""
        return asarray(self._host.random(size), dtype)

    def standard_normal(self, size: Size = None, dtype: DTypeLike = float) -> ndarray:
        """Return numbers of the normal distribution."""
        return asarray(self._host.standard_normal(size), dtype)

    def normal(
        self, loc: float = 0.0, scale: float = 1.0, size: Size = None, dtype: DTypeLike = float
    ) -> ndarray:
        """Return numbers of a normal distribution."""
        return asarray(self._host.normal(loc, scale, size), dtype)

    def uniform(
        self, low: float = 0.0, high: float = 1.0, size: Size = None, dtype: DTypeLike = float
    ) -> ndarray:
        """Return numbers from ``low`` to less than ``high``."""
        return asarray(self._host.uniform(low, high, size), dtype)

    def integers(
        self, low: int, high: int | None = None, size: Size = None, dtype: DTypeLike = np.int64
    ) -> ndarray:
        """Return integers from ``low`` to less than ``high``; from 0 if only one is given."""
        return asarray(self._host.integers(low, high, size), dtype)

    def permutation(self, values: int | ndarray) -> ndarray:
        """Return the numbers below ``values``, or the elements of an array, in random order."""
        host = values.get() if isinstance(values, ndarray) else values
        return asarray(self._host.permutation(host))


default_rng = Generator
_shared = Generator()


def seed(seed: int | None = None) -> None:
    """Start the functions of this module over; without a number, from an unpredictable one."""
    _shared.__init__(seed)  # type: ignore[misc]


def rand(*size: int, dtype: DTypeLike = float) -> ndarray:
    """Return numbers from 0 to less than 1."""
    return _shared.random(size, dtype)


def randn(*size: int, dtype: DTypeLike = float) -> ndarray:
    """Return numbers of the normal distribution."""
    return _shared.standard_normal(size, dtype)


def random(size: Size = None, dtype: DTypeLike = float) -> ndarray:
    """Return numbers from 0 to less than 1."""
    return _shared.random(size, dtype)


random_sample = random


def standard_normal(size: Size = None, dtype: DTypeLike = float) -> ndarray:
    """Return numbers of the normal distribution."""
    return _shared.standard_normal(size, dtype)


def normal(
    loc: float = 0.0, scale: float = 1.0, size: Size = None, dtype: DTypeLike = float
) -> ndarray:
    """Return numbers of a normal distribution."""
    return _shared.normal(loc, scale, size, dtype)


def uniform(
    low: float = 0.0, high: float = 1.0, size: Size = None, dtype: DTypeLike = float
) -> ndarray:
    """Return numbers from ``low`` to less than ``high``."""
    return _shared.uniform(low, high, size, dtype)


def randint(
    low: int, high: int | None = None, size: Size = None, dtype: DTypeLike = np.int64
) -> ndarray:
    """Return integers from ``low`` to less than ``high``; from 0 if only one is given."""
    return _shared.integers(low, high, size, dtype)


def permutation(values: Any) -> ndarray:
    """Return the numbers below ``values``, or the elements of an array, in random order."""
    return _shared.permutation(values)
