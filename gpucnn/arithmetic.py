"""Output sizes of convolution and pooling along one axis, and receptive fields.

Relationship numbers refer to V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep
learning" (arXiv:1603.07285). All sizes are in pixels. Every function takes integers and raises
``ValueError`` if an argument is out of range or if the output would be empty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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
    """Return the output size of pooling (relationship 7).

    ``stride`` defaults to the kernel size. With ``ceil_mode`` the last window may extend past the
    padded input, provided that it starts inside the input or the padding before it.
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
    before, after = _both_sides(padding)
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
    return [_adaptive_window(size, outputs, p) for p in range(outputs)]


def _adaptive_window(size: int, outputs: int, p: int) -> tuple[int, int]:
    return p * size // outputs, -(-(p + 1) * size // outputs)


def nearest_copies(size: int, outputs: int) -> list[tuple[int, int]]:
    """Return the outputs, from the first to one past the last, that are copies of each pixel.

    Output p of an upsampling to the nearest pixel is pixel floor(p i / o).
    """
    _at_least("input size", size, 1)
    _at_least("output size", outputs, 1)
    return [(-(-h * outputs // size), -(-(h + 1) * outputs // size)) for h in range(size)]


@dataclass(frozen=True)
class Stage:
    """A convolution, pooling or transposed convolution along one axis."""

    kernel: int
    stride: int
    pad_before: int
    dilation: int
    transposed: bool

    @property
    def period(self) -> int:
        """After how many outputs the sizes of their fields repeat."""
        return self.stride if self.transposed else 1

    def inputs_of(self, outputs: set[int]) -> set[int]:
        """Return the indices of the inputs that contribute to any of ``outputs``."""
        offsets = range(0, self.kernel * self.dilation, self.dilation)
        if not self.transposed:
            return {
                n * self.stride - self.pad_before + offset for n in outputs for offset in offsets
            }
        # Input i is added to outputs i * stride - pad_before + offset.
        scaled = {n + self.pad_before - offset for n in outputs for offset in offsets}
        return {position // self.stride for position in scaled if position % self.stride == 0}


@dataclass(frozen=True)
class Resampling:
    """An adaptive pooling, or an upsampling to the nearest pixel, along one axis."""

    size: int
    outputs: int
    pools: bool

    @property
    def period(self) -> int:
        """After how many outputs the sizes of their fields repeat."""
        return self.outputs // math.gcd(self.size, self.outputs)

    def inputs_of(self, outputs: set[int]) -> set[int]:
        """Return the indices of the inputs that contribute to any of ``outputs``."""
        if not self.pools:
            return {p * self.size // self.outputs for p in outputs}
        windows = (_adaptive_window(self.size, self.outputs, p) for p in outputs)
        return {h for start, end in windows for h in range(start, end)}


@dataclass(frozen=True)
class Paths:
    """Several paths from the same input, whose outputs are added or put side by side."""

    paths: tuple[Stages, ...]

    @property
    def period(self) -> int:
        """After how many outputs the sizes of their fields repeat."""
        return math.lcm(*map(_period, self.paths))

    def inputs_of(self, outputs: set[int]) -> set[int]:
        """Return the indices of the inputs that contribute to any of ``outputs``."""
        return set().union(*(_inputs_of(path, outputs) for path in self.paths))


Stages = tuple[Stage | Resampling | Paths, ...]


@dataclass(frozen=True)
class ReceptiveField:
    """The input pixels that one output pixel of a stack of layers depends on, along one axis.

    ``stride`` is the distance in input pixels between the fields of adjacent outputs. ``centre`` is
    the centre of the first output's field, in coordinates where the first input pixel covers 0 to
    1. After a strided transposed convolution, fields of adjacent outputs differ in size and
    distance: both are averages, from which the field of an output may be off by up to half a
    pixel of that layer's input, and by more if its kernel is dilated. So they are after an adaptive
    pooling or an upsampling whose sizes do not divide. ``pixels`` is exact. The default value is
    the field of an input pixel itself.
    """

    stages: Stages = ()
    stride: float = 1.0
    centre: float = 0.5

    @property
    def size(self) -> int:
        """Number of input pixels from the first to the last, for the output with most of them."""
        return _largest_field(self.stages)

    def pixels(self, output: int) -> tuple[int, int]:
        """Return the first input pixel that an output depends on, and one past the last.

        Indices below 0, and beyond the input, are padding. An output of a transposed
        convolution may depend on no pixel: then (0, 0).
        """
        inputs = _inputs_of(self.stages, {output})
        return (min(inputs), max(inputs) + 1) if inputs else (0, 0)

    def after_conv(
        self, kernel: int, stride: int = 1, padding: Padding = 0, dilation: int = 1
    ) -> ReceptiveField:
        """Return the receptive field after appending a convolution or pooling."""
        reach = effective_kernel(kernel, dilation) - 1
        pad_before, _ = _both_sides(padding)
        return ReceptiveField(
            stages=(*self.stages, Stage(kernel, stride, pad_before, dilation, transposed=False)),
            stride=self.stride * stride,
            centre=self.centre + (reach / 2 - pad_before) * self.stride,
        )

    def after_conv_transpose(
        self, kernel: int, stride: int = 1, padding: Padding = 0, dilation: int = 1
    ) -> ReceptiveField:
        """Return the receptive field after appending a transposed convolution."""
        reach = effective_kernel(kernel, dilation) - 1
        pad_before, _ = _both_sides(padding)
        return ReceptiveField(
            stages=(*self.stages, Stage(kernel, stride, pad_before, dilation, transposed=True)),
            stride=self.stride / stride,
            centre=self.centre + (pad_before - reach / 2) / stride * self.stride,
        )

    def after_adaptive_pooling(self, size: int, outputs: int) -> ReceptiveField:
        """Return the receptive field after appending an adaptive pooling of ``size`` pixels."""
        stage = Resampling(size, outputs, pools=True)
        return self._resampled(stage, (size / outputs - 1) / 2)

    def after_upsampling(self, size: int, outputs: int) -> ReceptiveField:
        """Return the receptive field after appending an upsampling to the nearest pixel."""
        stage = Resampling(size, outputs, pools=False)
        # Rounding down to a pixel takes off multiples of 1 / period below 1, each as often.
        return self._resampled(stage, -(stage.period - 1) / stage.period / 2)

    def _resampled(self, stage: Resampling, offset: float) -> ReceptiveField:
        return ReceptiveField(
            stages=(*self.stages, stage),
            stride=self.stride * stage.size / stage.outputs,
            centre=self.centre + offset * self.stride,
        )

    @classmethod
    def union(cls, start: ReceptiveField, paths: Sequence[ReceptiveField]) -> ReceptiveField:
        """Return the pixels that any of ``paths`` depends on, which all begin with ``start``.

        Where paths have different strides, or transposed convolutions, stride and centre are
        averages.
        """
        tails = [path.stages[len(start.stages) :] for path in paths]
        stride = sum(path.stride for path in paths) / len(paths)
        centre = sum(path.centre for path in paths) / len(paths)
        if all(_period(tail) == 1 for tail in tails):
            boxes = [_box(tail, (0, 0)) for tail in tails]
            ends = min(first for first, _ in boxes), max(last for _, last in boxes)
            centre = start.centre + sum(ends) / 2 * start.stride
        return cls((*start.stages, Paths(tuple(tails))), stride, centre)


def _box(stages: Stages, outputs: tuple[int, int]) -> tuple[int, int]:
    """Return the first and the last input of outputs from the first to the last.

    The period of every stage is 1.
    """
    first, last = outputs
    for stage in reversed(stages):
        if isinstance(stage, Paths):
            boxes = [_box(path, (first, last)) for path in stage.paths]
            first, last = min(box[0] for box in boxes), max(box[1] for box in boxes)
        elif isinstance(stage, Resampling):
            inputs = stage.inputs_of({first, last})
            first, last = min(inputs), max(inputs)
        else:
            first = first * stage.stride - stage.pad_before
            last = last * stage.stride - stage.pad_before + stage.dilation * (stage.kernel - 1)
    return first, last


def _period(stages: Stages) -> int:
    """Return after how many outputs the sizes of fields repeat."""
    return math.prod(stage.period for stage in stages)


@lru_cache(maxsize=256)
def _largest_field(stages: Stages) -> int:
    """Return the size of the largest field among the outputs of one period."""
    largest = 0
    for output in range(_period(stages)):
        inputs = _inputs_of(stages, {output})
        if inputs:  # a transposed convolution may have outputs without any input
            largest = max(largest, max(inputs) - min(inputs) + 1)
    return largest


def _inputs_of(stages: Stages, outputs: set[int]) -> set[int]:
    """Return the indices of the pixels that any of ``outputs`` depends on."""
    for stage in reversed(stages):
        outputs = stage.inputs_of(outputs)
    return outputs


def _both_sides(padding: Padding) -> tuple[int, int]:
    before, after = (padding, padding) if isinstance(padding, int) else padding
    _at_least("padding", min(before, after), 0)
    return before, after


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
