"""Receptive fields: the input pixels that an output depends on, along one axis.

All sizes are in pixels. A field keeps the layers that it went through, so that the pixels of each
output are exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from gpucnn.arithmetic import Padding, adaptive_window, both_sides, effective_kernel


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
        windows = (adaptive_window(self.size, self.outputs, p) for p in outputs)
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
        pad_before, _ = both_sides(padding)
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
        pad_before, _ = both_sides(padding)
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
