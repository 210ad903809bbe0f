"""What arrays compute outside of kernels, by NumPy: operators, ufuncs and reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from gpucnn.errors import ArrayError


class Operators(NDArrayOperatorsMixin):
    """Operators and methods that NumPy computes; ``_compute`` gets its function and arguments.

    CuPy launches kernels of its own for these. Operands are device arrays and numbers; NumPy
    arrays are refused, as CuPy does.
    """

    __slots__ = ()

    def _compute(
        self, function: Any, args: tuple[Any, ...], options: dict[str, Any], out: Any = None
    ) -> Any:
        raise NotImplementedError

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any
    ) -> Any:
        target = out[0] if isinstance(out, tuple) else out
        return self._compute(getattr(ufunc, method), inputs, options, target)

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        return self._compute(function, args, options)

    def _reduce(self, function: Any, axis: Any, options: dict[str, Any]) -> Any:
        return self._compute(function, (self,), {"axis": axis, **options})

    def sum(self, axis: Any = None, **options: Any) -> Any:
        """Return the sum, as numpy.sum."""
        return self._reduce(np.sum, axis, options)

    def prod(self, axis: Any = None, **options: Any) -> Any:
        """Return the product, as numpy.prod."""
        return self._reduce(np.prod, axis, options)

    def mean(self, axis: Any = None, **options: Any) -> Any:
        """Return the mean, as numpy.mean."""
        return self._reduce(np.mean, axis, options)

    def std(self, axis: Any = None, **options: Any) -> Any:
        """Return the standard deviation, as numpy.std."""
        return self._reduce(np.std, axis, options)

    def var(self, axis: Any = None, **options: Any) -> Any:
        """Return the variance, as numpy.var."""
        return self._reduce(np.var, axis, options)

    def max(self, axis: Any = None, **options: Any) -> Any:
        """Return the maximum, as numpy.max."""
        return self._reduce(np.max, axis, options)

    def min(self, axis: Any = None, **options: Any) -> Any:
        """Return the minimum, as numpy.min."""
        return self._reduce(np.min, axis, options)

    def argmax(self, axis: Any = None, **options: Any) -> Any:
        """Return the index of the maximum, as numpy.argmax."""
        return self._reduce(np.argmax, axis, options)

    def argmin(self, axis: Any = None, **options: Any) -> Any:
        """Return the index of the minimum, as numpy.argmin."""
        return self._reduce(np.argmin, axis, options)

    def all(self, axis: Any = None, **options: Any) -> Any:
        """Return whether all elements are true, as numpy.all."""
        return self._reduce(np.all, axis, options)

    def any(self, axis: Any = None, **options: Any) -> Any:
        """Return whether an element is true, as numpy.any."""
        return self._reduce(np.any, axis, options)

    def cumsum(self, axis: Any = None, **options: Any) -> Any:
        """Return the sums of the first elements, as numpy.cumsum."""
        return self._reduce(np.cumsum, axis, options)

    def dot(self, other: Any) -> Any:
        """Return the product of matrices or vectors, as numpy.dot."""
        return self._compute(np.dot, (self, other), {})

    def clip(self, low: Any = None, high: Any = None) -> Any:
        """Return the elements limited to a range, as numpy.clip."""
        return self._compute(np.clip, (self, low, high), {})

    def conj(self) -> Any:
        """Return the complex conjugates."""
        return self._compute(np.conj, (self,), {})


def host_values(value: Any, array: type, memories: list[Any]) -> Any:
    """Return an argument as NumPy takes it: device arrays as their memory, which is noted.

    Raises ArrayError for an array of the host.
    """
    if isinstance(value, array):
        memories.append(value._memory)  # type: ignore[attr-defined]
        return value._host  # type: ignore[attr-defined]
    if isinstance(value, np.ndarray):
        raise ArrayError("arrays of NumPy and of the device do not mix: use asarray()")
    if isinstance(value, list | tuple):
        return type(value)(host_values(part, array, memories) for part in value)
    return value
