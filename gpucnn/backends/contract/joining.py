"""What joins the outputs of several layers: sums, and channels one after the other."""

from __future__ import annotations

import operator
from abc import abstractmethod
from typing import SupportsIndex

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array
from gpucnn.errors import SettingError, ShapeError


class Joining(Arrays):
    """What joins the outputs of several layers: sums, and channels one after the other."""

    def add(self, input: Array, other: Array, relu: bool = False) -> Array:
        """Return the sum of two arrays of one shape.

        With ``relu``, the operation is followed by ``relu``; the result has the same bits.
        """
        self._check_pair("add", "input", input, "other", other)
        return self._add(input, other, bool(relu))

    @abstractmethod
    def _add(self, input: Array, other: Array, relu: bool) -> Array: ...

    def write_channels(self, output: Array, input: Array, start: int) -> None:
        """Write ``input`` (N, C, ...) to the channels of ``output`` (N, D, ...) from ``start``."""
        op = "write_channels"
        self._check_axes(op, "output", output)
        self._check(op, "input", input, (output.shape[0], None, *output.shape[2:]))
        first = checked_range(op, output.shape[1], start, input.shape[1], "channels of input")
        self._write_channels(output, input, first)

    @abstractmethod
    def _write_channels(self, output: Array, input: Array, start: int) -> None: ...

    def read_channels(self, input: Array, start: int, channels: int) -> Array:
        """Return ``channels`` of the channels of ``input`` (N, D, ...) from ``start``.

        The result may share memory with ``input``.
        """
        op = "read_channels"
        self._check_axes(op, "input", input)
        first = checked_range(op, input.shape[1], start, channels, "channels")
        return self._read_channels(input, first, operator.index(channels))

    @abstractmethod
    def _read_channels(self, input: Array, start: int, channels: int) -> Array: ...

    def _check_axes(self, op: str, name: str, array: Array) -> None:
        """Raise unless an array has channels: (N, D) or (N, D, ...)."""
        self._check(op, name, array)
        if array.ndim < 2:
            raise ShapeError(f"{op}: {name} must have shape (N, C, ...), got {tuple(array.shape)}")


def checked_range(op: str, channels: int, start: int, count: int, what: str) -> int:
    """Return ``start``; SettingError unless ``count`` channels from there are among ``channels``.

    ``what`` is what the channels to be counted are called.
    """
    if not isinstance(count, SupportsIndex) or not 1 <= operator.index(count) <= channels:
        raise SettingError(f"{op}: {what} must be 1 to {channels}, got {count!r}")
    last = channels - operator.index(count)
    if not isinstance(start, SupportsIndex) or not 0 <= operator.index(start) <= last:
        raise SettingError(f"{op}: start must be 0 to {last}, got {start!r}")
    return operator.index(start)
