"""How the CUDA backend divides work: the number of parts of a sum, and the structs of sizes.

Everything here follows from the shapes alone, and never from the device: how a sum is divided
determines how it is rounded.
"""

from __future__ import annotations

import math
from functools import lru_cache

from gpucnn.backends.contract.window import Window
from gpucnn.backends.cuda.sources import pack
from gpucnn.backends.cuda.structs import StructValue
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

    So many that 3 ENOUGH_BLOCKS have work, as many as a GPU runs at once where a block has 128
    threads of 168 registers; but each part has 64 terms or more.
    """
    return max(1, min(3 * ENOUGH_BLOCKS // blocks, terms // 64))


# --- the structs that kernels take -------------------------------------------------------------


@lru_cache(maxsize=512)
def window_struct(window: Window) -> StructValue:
    """Return the struct Window of kernels/window.cuh.

    Kernels index planes, output positions and kernel elements in 32 bits, and the padding as well;
    a window that is too large for that raises ShapeError.
    """
    return pack("Window", **_window_fields(window))


@lru_cache(maxsize=512)
def conv2d_struct(
    batch: int, channels: int, outputs: int, groups: int, window: Window
) -> StructValue:
    """Return the struct Conv2d of kernels/conv2d.cuh; ShapeError if a size exceeds 32 bits."""
    fields = _window_fields(window)
    terms = max(channels, outputs) // groups * window.kernel_elements  # of a group's sum
    if max(batch, channels, outputs, terms) > INT_MAX:
        raise ShapeError(
            f"a convolution of {batch} samples and {channels} channels to {outputs} in {groups} "
            f"group(s) with a kernel of {window.kernel} has a size above {INT_MAX}"
        )
    return pack("Conv2d", N=batch, C=channels, K=outputs, groups=groups, **fields)


def _window_fields(window: Window) -> dict[str, int]:
    for size in (window.plane, window.output, window.kernel):
        if math.prod(size) > INT_MAX:
            raise ShapeError(f"a plane of {size} has more than {INT_MAX} elements")
    for axis in (0, 1):
        step, spacing = window.stride[axis], window.dilation[axis]
        reach = (window.output[axis] - 1) * step + (window.kernel[axis] - 1) * spacing
        padded = window.plane[axis] + sum(window.padding[axis])
        if max(step, spacing, reach, padded) > INT_MAX:
            raise ShapeError(
                f"a window of kernel {window.kernel}, stride {window.stride}, padding "
                f"{window.padding} and dilation {window.dilation} spans more than {INT_MAX} "
                "elements"
            )
    (height, width), (out_h, out_w), (rows, columns) = window.plane, window.output, window.kernel
    (pad_top, _), (pad_left, _) = window.padding
    stride, dilation = window.stride, window.dilation
    return {
        "H": height, "W": width, "R": rows, "S": columns, "P": out_h, "Q": out_w,
        "pad_h": pad_top, "pad_w": pad_left, "stride_h": stride[0], "stride_w": stride[1],
        "dilation_h": dilation[0], "dilation_w": dilation[1],
    }  # fmt: skip


def stride_classes(window: Window) -> tuple[int, int]:
    """Return the number of stride classes of a plane, and the elements of the largest one.

    A stride of s divides each axis into s classes (kernels/conv2d.cuh): elements that are s apart
    meet the same kernel elements.
    """
    sizes = list(zip(window.plane, window.stride, strict=True))
    classes = math.prod(min(size, stride) for size, stride in sizes)
    return classes, math.prod(-(-size // stride) for size, stride in sizes)


def average_sizes(window: Window, count_include_pad: bool, divisor: int | None) -> tuple[int, ...]:
    """Return count_pad, divisor, pad_bottom and pad_right of average pooling."""
    (_, bottom), (_, right) = window.padding
    return int(count_include_pad), divisor or 0, bottom, right
