"""How a window slides over a plane: the one place where stride, padding and dilation are read."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, takewhile
from typing import SupportsIndex

from gpucnn import arithmetic
from gpucnn.errors import SettingError, ShapeError

Pair = tuple[int, int]
IntOrPair = SupportsIndex | Sequence[SupportsIndex]


@dataclass(frozen=True, slots=True)
class Window:
    """A checked convolution or pooling window; pairs are (vertical, horizontal).

    ``plane`` is the size of the plane that the window slides over and ``output`` the number of
    places it stops at. For a transposed convolution, which runs the same window backwards,
    ``output`` is the size of its input and ``plane`` that of its result.
    """

    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    """((top, bottom), (left, right))"""
    dilation: Pair
    plane: Pair
    output: Pair

    @property
    def taps(self) -> int:
        """Number of elements under the window."""
        return self.kernel[0] * self.kernel[1]

    def starts(self, axis: int) -> range:
        """Return where along ``axis`` each stop's first tap lies, in pixels of the plane."""
        step, before = self.stride[axis], self.padding[axis][0]
        return range(-before, self.output[axis] * step - before, step)

    def _offsets(self, axis: int) -> range:
        """Return how far the taps along ``axis`` lie behind the first one."""
        return range(0, self.kernel[axis] * self.dilation[axis], self.dilation[axis])

    def taps_inside(self, axis: int) -> list[list[bool]]:
        """Return for each stop along ``axis`` which of its taps lie inside the plane."""
        offsets, size = self._offsets(axis), self.plane[axis]
        return [[0 <= start + offset < size for offset in offsets] for start in self.starts(axis)]

    def all_meet_plane(self, axis: int) -> bool:
        """Return whether each stop along ``axis`` has a tap inside the plane."""
        starts, size = self.starts(axis), self.plane[axis]
        offsets = self._offsets(axis)
        # A stop that begins inside has its first tap there: only those that do not are looked at.
        before = takewhile(lambda start: start < 0, starts)
        after = takewhile(lambda start: start >= size, reversed(starts))
        outside = chain(before, after)
        return all(any(0 <= start + offset < size for offset in offsets) for start in outside)


def pair(name: str, value: IntOrPair, least: int) -> Pair:
    """Return an int or a pair of ints as a pair, each at least ``least``; else SettingError."""
    values = value if isinstance(value, Sequence) else (value, value)
    try:
        first, second = (operator.index(v) for v in values)
    except (TypeError, ValueError):
        raise SettingError(f"{name} must be an integer or a pair of them, got {value!r}") from None
    if min(first, second) < least:
        raise SettingError(f"{name} must be at least {least}, got {value!r}")
    return first, second


def padding_pairs(
    padding: IntOrPair | str, kernel: Pair, stride: Pair, dilation: Pair
) -> tuple[Pair, Pair]:
    """Return padding as ((top, bottom), (left, right)); takes "same" and "valid" as well."""
    if padding == "valid":
        return arithmetic.valid_padding(), arithmetic.valid_padding()
    if padding == "same":
        if stride != (1, 1):
            raise SettingError(f'padding "same" needs a stride of 1, got {stride}')
        vertical, horizontal = map(arithmetic.same_padding, kernel, dilation)
        return vertical, horizontal
    if isinstance(padding, str):
        raise SettingError(f'padding must be an integer, a pair, "same" or "valid": {padding!r}')
    vertical_size, horizontal_size = pair("padding", padding, 0)
    return (vertical_size, vertical_size), (horizontal_size, horizontal_size)


def conv_window(
    plane: Pair,
    kernel: Pair,
    stride: IntOrPair = 1,
    padding: IntOrPair | str = 0,
    dilation: IntOrPair = 1,
) -> Window:
    """Return the window of a convolution over a plane of ``plane`` pixels."""
    steps, spacing = pair("stride", stride, 1), pair("dilation", dilation, 1)
    pads = padding_pairs(padding, kernel, steps, spacing)
    return _conv_window(plane, kernel, steps, pads, spacing)


def conv_transpose_window(
    plane: Pair,
    kernel: Pair,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    output_padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
) -> Window:
    """Return the window that, run backwards, is a transposed convolution of a ``plane`` input."""
    steps, spacing = pair("stride", stride, 1), pair("dilation", dilation, 1)
    vertical, horizontal = pair("padding", padding, 0)
    pads = ((vertical, vertical), (horizontal, horizontal))
    extra = pair("output_padding", output_padding, 0)
    try:
        height, width = map(
            arithmetic.conv_transpose_output_size, plane, kernel, steps, pads, extra, spacing
        )
    except ValueError as error:
        raise ShapeError(f"{error} (input {plane}, kernel {kernel}, stride {steps})") from None
    return Window(kernel, steps, pads, spacing, (height, width), plane)


def pool_window(
    plane: Pair,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> Window:
    """Return the window of a pooling; ``stride`` is the kernel's size by default."""
    kernel = pair("kernel_size", kernel_size, 1)
    steps = kernel if stride is None else pair("stride", stride, 1)
    vertical, horizontal = pair("padding", padding, 0)
    if 2 * vertical > kernel[0] or 2 * horizontal > kernel[1]:
        raise SettingError(f"padding {padding!r} is more than half of the kernel {kernel}")
    pads = ((vertical, vertical), (horizontal, horizontal))
    return _pool_window(plane, kernel, steps, pads, pair("dilation", dilation, 1), ceil_mode)


@lru_cache(maxsize=512)
def _conv_window(
    plane: Pair, kernel: Pair, stride: Pair, padding: tuple[Pair, Pair], dilation: Pair
) -> Window:
    try:
        height, width = map(arithmetic.conv_output_size, plane, kernel, stride, padding, dilation)
    except ValueError as error:
        raise ShapeError(f"{error} (input {plane}, kernel {kernel}, padding {padding})") from None
    return Window(kernel, stride, padding, dilation, plane, (height, width))


@lru_cache(maxsize=512)
def _pool_window(
    plane: Pair,
    kernel: Pair,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    ceil_mode: bool,
) -> Window:
    ceil = (ceil_mode, ceil_mode)
    try:
        height, width = map(
            arithmetic.pool_output_size, plane, kernel, stride, padding, dilation, ceil
        )
    except ValueError as error:
        raise ShapeError(f"{error} (input {plane}, kernel {kernel}, padding {padding})") from None
    window = Window(kernel, stride, padding, dilation, plane, (height, width))
    for axis in (0, 1):
        if not window.all_meet_plane(axis):
            raise ShapeError(
                f"a window of kernel {kernel}, padding {padding} and dilation {dilation} has no "
                f"element of the input {plane} in it"
            )
    return window
