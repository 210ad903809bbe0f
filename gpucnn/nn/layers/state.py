"""The arrays that a layer keeps: parameters, which training optimises, and buffers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from gpucnn.backends.contract.checks import Array
from gpucnn.rng import initializer


class Parameter:
    """An array that training changes, and its gradient: views that the model sets."""

    data: Array
    grad: Array
    dtype: np.dtype[np.generic] | None = None
    """Always the backend's floating-point type, for which None stands"""
    optional = False

    def __init__(
        self,
        shape: tuple[int, ...],
        fan_in: int = 1,
        fan_out: int = 1,
        init: str | float = "uniform",
    ) -> None:
        """``init`` is the name of an initialiser, for which the fans are, or every element."""
        self.shape = shape
        self.fan_in = fan_in
        self.fan_out = fan_out
        self.draw = initializer(init)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Buffer:
    """An array that a layer changes by itself, such as running statistics; the model sets it.

    Buffers are in ``state_dict``, in checkpoints and in files of weights, but no optimizer changes
    them. A layer may write ``data`` only in place, and in a forward pass of training only: captured
    steps replay it at the same address.
    """

    data: Array

    def __init__(
        self,
        shape: tuple[int, ...],
        fill: float = 0.0,
        dtype: DTypeLike | None = None,
        optional: bool = False,
    ) -> None:
        """Declare an array of ``shape``, every element of which is ``fill`` at first.

        ``dtype`` is the backend's floating-point type if None. An ``optional`` buffer keeps its
        value if a ``state_dict`` that is loaded has none.
        """
        self.shape, self.fill, self.optional = shape, fill, optional
        self.dtype = None if dtype is None else np.dtype(dtype)
