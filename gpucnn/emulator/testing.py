"""Comparisons of arrays by CuPy's names, also of the device's with the host's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpucnn.emulator.array import asnumpy


def _compared(compare: Callable[..., None], actual: Any, desired: Any, options: Any) -> None:
    compare(asnumpy(actual), asnumpy(desired), **options)


def assert_allclose(actual: Any, desired: Any, rtol: float = 1e-7, **options: Any) -> None:
    """Raise AssertionError unless all elements are close, as numpy.testing does."""
    _compared(np.testing.assert_allclose, actual, desired, {"rtol": rtol, **options})


def assert_array_equal(actual: Any, desired: Any, **options: Any) -> None:
    """Raise AssertionError unless all elements are equal, as numpy.testing does."""
    _compared(np.testing.assert_array_equal, actual, desired, options)


def assert_array_almost_equal(actual: Any, desired: Any, decimal: int = 6, **options: Any) -> None:
    """Raise AssertionError unless all elements agree to ``decimal`` places."""
    options = {"decimal": decimal, **options}
    _compared(np.testing.assert_array_almost_equal, actual, desired, options)
