"""How the CUDA backend divides work: in how many parts, and the sizes that kernels are told.

Everything here follows from the shapes alone, and never from the device: how a sum is divided
decides how it is rounded.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from gpucnn.backends.contract.window import Window
from gpucnn.errors import ShapeError

TERMS_A_BLOCK = 1024
MOST_PARTS = 256
INT_MAX = 2**31 - 1
WIDE = 64
"""From this many elements on, a block owns a line of softmax or cross-entropy."""
ENOUGH_BLOCKS = 128  # about as many as keep a GPU busy


def count_parts(terms: int) -> int:
    """Return in how many parts, a block each, to add ``terms`` terms into one number."""
    return min(-(-terms // TERMS_A_BLOCK), MOST_PARTS)


def count_splits(terms: int, blocks: int) -> int:
    """Return in how many parts to add ``terms`` terms where ``blocks`` blocks add them otherwise.

    So many that twice ENOUGH_BLOCKS have work, but each part has 64 terms or more.
    """
    return max(1, min(2 * ENOUGH_BLOCKS // blocks, terms // 64))


# --- the whole numbers that kernels take, in the order of their signatures ----------------------


@lru_cache(maxsize=512)
def window_sizes(window: Window) -> tuple[np.int32, ...]:
    """Return kernel_h, kernel_w, stride_h, …, out_h, out_w.

    Kernels number pixels, stops and taps in 32 bits, and step over the padding in 32 bits as well;
    a window for which those do not do raises ShapeError.
    """
    for size in (window.plane, window.output, window.kernel):
        if math.prod(size) > INT_MAX:
            raise ShapeError(f"a plane of {size} has more than {INT_MAX} pixels")
    for axis in (0, 1):
        step, spacing = window.stride[axis], window.dilation[axis]
        last_tap = (window.output[axis] - 1) * step + (window.kernel[axis] - 1) * spacing
        padded = window.plane[axis] + sum(window.padding[axis])
        if max(step, spacing, last_tap, padded) > INT_MAX:
            raise ShapeError(
                f"a window of kernel {window.kernel}, stride {window.stride}, padding "
                f"{window.padding} and dilation {window.dilation} reaches further than {INT_MAX} "
                "pixels"
            )
    (top, _), (left, _) = window.padding
    pairs = (window.kernel, window.stride, (top, left), window.dilation)
    sizes = (*pairs, window.plane, window.output)
    return tuple(np.int32(size) for pair in sizes for size in pair)


@lru_cache(maxsize=512)
def conv_sizes(
    batch: int, channels: int, outputs: int, groups: int, window: Window
) -> tuple[np.int32, ...]:
    """Return batch, channels, outputs and groups of a convolution, and its window's sizes."""
    sizes = window_sizes(window)
    terms = max(channels, outputs) // groups * window.kernel_elements  # of one sum
    if max(batch, channels, outputs, terms) > INT_MAX:
        raise ShapeError(
            f"a convolution of {batch} samples and {channels} channels to {outputs} in {groups} "
            f"group(s) with a kernel of {window.kernel} has a size above {INT_MAX}"
        )
    return *map(np.int32, (batch, channels, outputs, groups)), *sizes


def count_phases(window: Window) -> tuple[int, int]:
    """Return in how many phases a stride parts a plane (conv2d.cu), and the pixels of the largest.

    A stride of s parts each axis in s: pixels s apart meet the same taps.
    """
    sizes = list(zip(window.plane, window.stride, strict=True))
    phases = math.prod(min(size, stride) for size, stride in sizes)
    return phases, math.prod(-(-size // stride) for size, stride in sizes)


def average_sizes(window: Window, count_include_pad: bool, divisor: int | None) -> tuple[int, ...]:
    """Return count_pad, divisor, bottom and right of average pooling."""
    (_, bottom), (_, right) = window.padding
    return int(count_include_pad), divisor or 0, bottom, right
