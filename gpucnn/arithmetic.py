"""Convolution and pooling arithmetic, one axis at a time, and receptive fields.

The numbered relationships are those of V. Dumoulin and F. Visin, "A guide to convolution
arithmetic for deep learning" (arXiv:1603.07285). Sizes are in pixels; every function takes plain
integers and raises ``ValueError`` where no output pixel remains or an argument makes no sense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

Padding = int | tuple[int, int]
"""Pixels added on both sides, or (before, after)."""


def effective_kernel(kernel: int, dilation: int = 1) -> int:
    """Return the span of a kernel whose taps lie ``dilation`` pixels apart: k + (k-1)(d-1)."""
    _at_least("kernel_size", kernel, 1)
    _at_least("dilation", dilation, 1)
    return dilation * (kernel - 1) + 1


def valid_padding() -> tuple[int, int]:
    """Return the padding of a "valid" convolution: none (relationships 1 and 5)."""
    return (0, 0)


def same_padding(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """Return the padding that keeps the size at stride 1 (relationship 3, "half" padding).

    An even span needs one pixel more on one side; as in PyTorch, that side is the far one.
    """
    total = effective_kernel(kernel, dilation) - 1
    return (total // 2, total - total // 2)


def full_padding(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """Return the padding that lets every partial overlap count (relationship 4)."""
    span = effective_kernel(kernel, dilation) - 1
    return (span, span)


def conv_output_size(
    size: int, kernel: int, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> int:
    """Return floor((i + 2p - k - (k-1)(d-1)) / s) + 1 (relationship 15; 1 to 6 are cases)."""
    _at_least("input size", size, 1)
    _at_least("stride", stride, 1)
    before, after = _both_sides(padding)
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
    """Return the output size of pooling (relationship 7); ``stride`` is the kernel's by default.

    With ``ceil_mode`` a last window may hang over the far edge, as long as it begins inside the
    input or its near padding: a window of padding alone has nothing to pool.
    """
    step = kernel if stride is None else stride
    _at_least("input size", size, 1)
    _at_least("stride", step, 1)
    before, after = _both_sides(padding)
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
    """Return s(i-1) + a + k - 2p, k being the kernel's span (relationship 14; 8 to 13 are cases).

    ``output_padding`` is the a of the paper: it tells apart the input sizes that a strided
    convolution maps to the same output, and is less than the stride or the dilation.
    """
    _at_least("input size", size, 1)
    _at_least("stride", stride, 1)
    _at_least("output_padding", output_padding, 0)
    if output_padding >= max(stride, dilation):
        raise ValueError(
            f"output_padding {output_padding} must be less than the stride ({stride}) "
            f"or the dilation ({dilation})"
        )
    before, after = _both_sides(padding)
    output = stride * (size - 1) + output_padding + effective_kernel(kernel, dilation)
    output -= before + after
    if output < 1:
        raise ValueError(f"a padding of {before} + {after} leaves no output")
    return output


@dataclass(frozen=True)
class Step:
    """One layer of a stack along an axis: a convolution, a pooling, or a transposed convolution."""

    kernel: int
    stride: int
    before: int
    dilation: int
    transposed: bool

    def seen_by(self, outputs: set[int]) -> set[int]:
        """Return the indices of the layer's inputs that reach one of ``outputs``."""
        taps = range(0, self.kernel * self.dilation, self.dilation)
        if not self.transposed:
            return {n * self.stride - self.before + tap for n in outputs for tap in taps}
        # Input i stamps its kernel from i * stride - before on.
        offsets = {n + self.before - tap for n in outputs for tap in taps}
        return {offset // self.stride for offset in offsets if offset % self.stride == 0}


@dataclass(frozen=True)
class ReceptiveField:
    """What one output pixel of a stack of layers sees of the input, along one axis.

    ``stride`` is the distance in input pixels between the fields of neighbouring outputs, and
    ``centre`` the middle of the first output's field, in coordinates in which the first input pixel
    covers 0 to 1; behind transposed convolutions both hold on average, and fields differ by less
    than a pixel. The default is the field of an input pixel itself.
    """

    steps: tuple[Step, ...] = ()
    stride: float = 1.0
    centre: float = 0.5

    @property
    def size(self) -> int:
        """Input pixels from the first to the last seen, of the output that sees the most."""
        return _widest(self.steps)

    def after_conv(
        self, kernel: int, stride: int = 1, padding: Padding = 0, dilation: int = 1
    ) -> ReceptiveField:
        """Return the field after one more convolution or pooling."""
        reach = effective_kernel(kernel, dilation) - 1
        before, _ = _both_sides(padding)
        return ReceptiveField(
            steps=(*self.steps, Step(kernel, stride, before, dilation, transposed=False)),
            stride=self.stride * stride,
            centre=self.centre + (reach / 2 - before) * self.stride,
        )

    def after_conv_transpose(
        self, kernel: int, stride: int = 1, padding: Padding = 0, dilation: int = 1
    ) -> ReceptiveField:
        """Return the field after one more transposed convolution."""
        reach = effective_kernel(kernel, dilation) - 1
        before, _ = _both_sides(padding)
        return ReceptiveField(
            steps=(*self.steps, Step(kernel, stride, before, dilation, transposed=True)),
            stride=self.stride / stride,
            centre=self.centre + (before - reach / 2) / stride * self.stride,
        )


@lru_cache(maxsize=256)
def _widest(steps: tuple[Step, ...]) -> int:
    """Walk back from the outputs of one period: transposed strides make neighbours differ."""
    period = math.prod(step.stride for step in steps if step.transposed)
    widest = 0
    for output in range(period):
        seen = {output}
        for step in reversed(steps):
            seen = step.seen_by(seen)
        if seen:  # a transposed convolution can leave outputs that nothing reaches
            widest = max(widest, max(seen) - min(seen) + 1)
    return widest


def _both_sides(padding: Padding) -> tuple[int, int]:
    before, after = (padding, padding) if isinstance(padding, int) else padding
    _at_least("padding", min(before, after), 0)
    return before, after


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
