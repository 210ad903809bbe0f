"""The geometry of a sliding window: kernel size, stride, padding, dilation and output size."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, takewhile
from typing import Any, SupportsIndex

from gpucnn import arithmetic
from gpucnn.errors import SettingError, ShapeError

Pair = tuple[int, int]
IntOrPair = SupportsIndex | Sequence[SupportsIndex]
Padding = IntOrPair | Sequence[IntOrPair]
"""An integer, (vertical, horizontal), or with different sides ((top, bottom), (left, right))."""


@dataclass(frozen=True, slots=True)
class Window:
    """A validated convolution or pooling window. Pairs are (vertical, horizontal).

    The window slides over a ``plane`` of H by W pixels and has ``output`` positions. A transposed
    convolution has the window of the convolution whose input gradient it computes, so ``plane`` is
    the size of its result and ``output`` the size of its input.
    """

    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    """((pad_top, pad_bottom), (pad_left, pad_right))"""
    dilation: Pair
    plane: Pair
    output: Pair

    @property
    def kernel_elements(self) -> int:
        """Number of elements of the kernel."""
        return self.kernel[0] * self.kernel[1]

    def starts(self, axis: int) -> range:
        """Return the plane coordinate of the first kernel element, for each output position."""
        stride, pad_before = self.stride[axis], self.padding[axis][0]
        return range(-pad_before, self.output[axis] * stride - pad_before, stride)

    def _kernel_offsets(self, axis: int) -> range:
        """Return the distance in pixels of each kernel element from the first."""
        return range(0, self.kernel[axis] * self.dilation[axis], self.dilation[axis])

    def elements_inside(self, axis: int) -> list[list[bool]]:
        """Return, for each output position, which kernel elements lie inside the plane."""
        offsets, size = self._kernel_offsets(axis), self.plane[axis]
        return [[0 <= start + offset < size for offset in offsets] for start in self.starts(axis)]

    def always_overlaps(self, axis: int) -> bool:
        """Return whether a kernel element lies inside the plane at every output position."""
        starts, size = self.starts(axis), self.plane[axis]
        offsets = self._kernel_offsets(axis)
        # Where the first element lies inside there is nothing to check: only the positions at both
        # ends remain, and large planes cost no time.
        before = takewhile(lambda start: start < 0, starts)
        after = takewhile(lambda start: start >= size, reversed(starts))
        outside = chain(before, after)
        return all(any(0 <= start + offset < size for offset in offsets) for start in outside)


def pair(name: str, value: IntOrPair, least: int) -> Pair:
    """Return ``value``, an integer or a pair of integers, as a pair.

    As in PyTorch, a sequence of one integer counts as that integer. Raises SettingError for
    anything else, and for integers below ``least``.
    """
    try:
        first, second = (operator.index(v) for v in _two(value))
    except (TypeError, ValueError):
        raise SettingError(
            f"{name} must be an integer or a pair of integers, got {value!r}"
        ) from None
    if min(first, second) < least:
        raise SettingError(f"{name} must be at least {least}, got {value!r}")
    return first, second


def _two(value: Any) -> Sequence[Any]:
    """Return ``value`` for both axes: twice if it is not a sequence, or one of one element."""
    if not isinstance(value, Sequence):
        return (value, value)
    return value if len(value) != 1 else (value[0], value[0])


def padding_sides(padding: Padding) -> tuple[Pair, Pair]:
    """Return ``padding`` as ((top, bottom), (left, right)).

    Raises SettingError unless it is an integer, a pair, or a pair of pairs, of 0 or more.
    """
    sides = _two(padding)
    if isinstance(padding, str) or len(sides) != 2:
        raise SettingError(
            "padding must be an integer, (vertical, horizontal) or ((top, bottom), (left, right)), "
            f"got {padding!r}"
        )
    return pair("padding", sides[0], 0), pair("padding", sides[1], 0)


def conv_padding(
    padding: Padding | str, kernel: Pair, stride: Pair, dilation: Pair
) -> tuple[Pair, Pair]:
    """Return the padding of a convolution, which may be "same" or "valid", by ``padding_sides``."""
    if padding == "valid":
        return arithmetic.valid_padding(), arithmetic.valid_padding()
    if padding == "same":
        if stride != (1, 1):
            raise SettingError(f'padding "same" needs a stride of 1, got {stride}')
        vertical, horizontal = map(arithmetic.same_padding, kernel, dilation)
        return vertical, horizontal
    if isinstance(padding, str):
        raise SettingError(
            f'padding must be an integer, a pair, "same" or "valid", got {padding!r}'
        )
    return padding_sides(padding)


def conv_window(
    plane: Pair,
    kernel: Pair,
    stride: IntOrPair = 1,
    padding: Padding | str = 0,
    dilation: IntOrPair = 1,
) -> Window:
    """Return the window of a convolution with an input of ``plane`` pixels."""
    strides, dilations = pair("stride", stride, 1), pair("dilation", dilation, 1)
    pads = conv_padding(padding, kernel, strides, dilations)
    return _conv_window(plane, kernel, strides, pads, dilations)


def conv_transpose_window(
    plane: Pair,
    kernel: Pair,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    output_padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
) -> Window:
    """Return the window of a transposed convolution with an input of ``plane`` pixels."""
    strides, dilations = pair("stride", stride, 1), pair("dilation", dilation, 1)
    pads = padding_sides(padding)
    extra = pair("output_padding", output_padding, 0)
    try:
        height, width = map(
            arithmetic.conv_transpose_output_size, plane, kernel, strides, pads, extra, dilations
        )
    except ValueError as error:
        raise ShapeError(f"{error} (input {plane}, kernel {kernel}, stride {strides})") from None
    return Window(kernel, strides, pads, dilations, (height, width), plane)


def pool_window(
    plane: Pair,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> Window:
    """Return the window of a pooling; ``stride`` defaults to the kernel size.

    The padding of a side is at most half of the window, which covers what ONNX calls SAME_UPPER
    and SAME_LOWER. PyTorch does not count dilation here.
    """
    kernel = pair("kernel_size", kernel_size, 1)
    strides = kernel if stride is None else pair("stride", stride, 1)
    pads, dilations = padding_sides(padding), pair("dilation", dilation, 1)
    extent = tuple(map(arithmetic.effective_kernel, kernel, dilations))
    if any(2 * max(sides) > size for sides, size in zip(pads, extent, strict=True)):
        size = f"kernel size {kernel}" if extent == kernel else f"dilated kernel's size {extent}"
        raise SettingError(f"padding {padding!r} is more than half of the {size}")
    return _pool_window(plane, kernel, strides, pads, dilations, ceil_mode)


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
        if not window.always_overlaps(axis):
            raise ShapeError(
                f"a window of kernel {kernel}, padding {padding} and dilation {dilation} covers "
                f"only padding of the input {plane}"
            )
    return window
