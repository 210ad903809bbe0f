"""Output sizes of convolution and pooling along one axis, and the pixels under each output.

Relationship numbers refer to V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep
learning" (arXiv:1603.07285). All sizes are in pixels. Every function takes integers and raises
``ValueError`` if an argument is out of range or if the output would be empty.
"""

from __future__ import annotations

Padding = int | tuple[int, int]
"""Pixels added on each side, or the pair (before, after)."""


def effective_kernel(kernel: int, dilation: int = 1) -> int:
    """Return the extent of a dilated kernel in pixels: k + (k-1)(d-1)."""
    _at_least("kernel_size", kernel, 1)
    _at_least("dilation", dilation, 1)
    return dilation * (kernel - 1) + 1


def valid_padding() -> tuple[int, int]:
    """Return the padding of a "valid" convolution, which is zero (relationships 1 and 5)."""
    return (0, 0)


def same_padding(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """Return the padding that keeps the size at stride 1 (relationship 3, "half" padding).

    If the total is odd, the extra pixel is added after the input, as in PyTorch.
    """
    total = effective_kernel(kernel, dilation) - 1
    return (total // 2, total - total // 2)


def full_padding(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """Return the padding with which every partial overlap yields an output (relationship 4)."""
    span = effective_kernel(kernel, dilation) - 1
    return (span, span)


def conv_output_size(
    size: int, kernel: int, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> int:
    """Return floor((i + 2p - k - (k-1)(d-1)) / s) + 1.

    This is relationship 15; relationships 1 to 6 are special cases of it.
    """
    _at_least("input size", size, 1)
    _at_least("stride", stride, 1)
    before, after = both_sides(padding)
    span = effective_kernel(kernel, dilation)
    padded = size + before + after
    if span > padded:
        raise ValueError(f"a kernel that spans {span} does not fit a padded input of {padded}")
    return (padded - span) // stride + 1


def pool_output_size(
    size: int,
    kernel: int,
    stride: int | None = None,
    padding: Padding = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int:
    """Return the output size of pooling (relationship 7).

    ``stride`` defaults to the kernel size. With ``ceil_mode`` the last window may extend past the
    padded input, provided that it starts inside the input or the padding before it.
    """
    step = kernel if stride is None else stride
    _at_least("input size", size, 1)
    _at_least("stride", step, 1)
    before, after = both_sides(padding)
    span = effective_kernel(kernel, dilation)
    room = size + before + after - span
    output = (room + (step - 1 if ceil_mode else 0)) // step + 1
    if ceil_mode and (output - 1) * step >= size + before:
        output -= 1
    if output < 1:
        raise ValueError(f"a window that spans {span} does not fit a padded input of {room + span}")
    return output


def conv_transpose_output_size(
    size: int,
    kernel: int,
    stride: int = 1,
    padding: Padding = 0,
    output_padding: int = 0,
    dilation: int = 1,
) -> int:
    """Return s(i-1) + a + k - 2p, where k is the extent of the kernel.

    This is relationship 14; relationships 8 to 13 are special cases of it. ``output_padding`` is a
    in the formula. It selects one of the input sizes that a strided convolution maps to the same
    output size, and must be less than the stride or the dilation.
    """
    _at_least("input size", size, 1)
    _at_least("stride", stride, 1)
    _at_least("output_padding", output_padding, 0)
    if output_padding >= max(stride, dilation):
        raise ValueError(
            f"output_padding {output_padding} must be less than the stride ({stride}) "
            f"or the dilation ({dilation})"
        )
    before, after = both_sides(padding)
    output = stride * (size - 1) + output_padding + effective_kernel(kernel, dilation)
    output -= before + after
    if output < 1:
        raise ValueError(f"a padding of {before} + {after} leaves no output")
    return output


def adaptive_windows(size: int, outputs: int) -> list[tuple[int, int]]:
    """Return where each window of an adaptive pooling begins, and one past its end.

    Window p covers every pixel of the part from p / outputs to (p + 1) / outputs of the axis, as in
    PyTorch: floor(p i / o) to ceil((p + 1) i / o).
    """
    _at_least("input size", size, 1)
    _at_least("output size", outputs, 1)
    return [adaptive_window(size, outputs, p) for p in range(outputs)]


def adaptive_window(size: int, outputs: int, p: int) -> tuple[int, int]:
    """Return where window ``p`` of an adaptive pooling begins, and one past its end."""
    return p * size // outputs, -(-(p + 1) * size // outputs)


def nearest_copies(size: int, outputs: int) -> list[tuple[int, int]]:
    """Return the outputs, from the first to one past the last, that are copies of each pixel.

    Output p of an upsampling to the nearest pixel is pixel floor(p i / o).
    """
    _at_least("input size", size, 1)
    _at_least("output size", outputs, 1)
    return [(-(-h * outputs // size), -(-(h + 1) * outputs // size)) for h in range(size)]


def both_sides(padding: Padding) -> tuple[int, int]:
    """Return the padding (before, after)."""
    before, after = (padding, padding) if isinstance(padding, int) else padding
    _at_least("padding", min(before, after), 0)
    return before, after


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
