"""The arithmetic of convolutions and pooling layers: the inputs under a window."""

from __future__ import annotations

import math

import numpy as np

from gpucnn import nn
from gpucnn.arithmetic import adaptive_windows
from gpucnn.backends.contract.window import Window, conv_transpose_window
from gpucnn.web.arithmetic import Arithmetic, Unit


def _windowed(unit: Unit, window: Window, channels: slice, outside: float) -> Arithmetic:
    """Return the inputs (C, R, S) under a window; ``outside`` is the value of padding."""
    axes = []
    for axis in (0, 1):
        first, step = window.starts(axis)[unit.index[1 + axis]], window.dilation[axis]
        axes.append(first + step * np.arange(window.kernel[axis]))
    rows, columns = axes
    _, height, width = unit.input.shape
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    clipped = unit.input[channels][:, rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)]
    inputs = np.where(inside, clipped, outside)
    box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    return Arithmetic(
        "other",
        "",
        inputs,
        window=box,
        channels=(channels.start, channels.stop),
        step=window.dilation,
        elements=int(inside.sum()),
    )


def conv2d(unit: Unit) -> Arithmetic:
    """Return the sum of products of a window with a filter."""
    layer = unit.layer
    assert isinstance(layer, nn.Conv2d)
    group = unit.channel // (layer.out_channels // layer.groups)
    each = layer.in_channels // layer.groups
    channels = slice(group * each, (group + 1) * each)
    found = _windowed(unit, layer.window(unit.input.shape), channels, 0.0)
    weights = unit.weights["weight"][unit.channel]
    return found.weigh(weights, unit.weights.get("bias"), unit.channel)


def conv_transpose2d(unit: Unit) -> Arithmetic:
    """Return the sum of products of the inputs that add to the unit.

    Row i of the input adds to the output rows i * stride - pad_top + r * dilation.
    """
    layer = unit.layer
    assert isinstance(layer, nn.ConvTranspose2d)
    _, height, width = unit.input.shape
    window = conv_transpose_window(
        (height, width),
        layer.kernel,
        layer.stride,
        layer.padding,
        layer.output_padding,
        layer.dilation,
    )
    per_group = layer.out_channels // layer.groups
    group, kernel = divmod(unit.channel, per_group)
    each = layer.in_channels // layer.groups
    channels = slice(group * each, (group + 1) * each)
    pairs = []
    for axis, side in enumerate((height, width)):
        position = unit.index[1 + axis] + window.padding[axis][0]
        elements = np.arange(window.kernel[axis])
        steps = position - elements * window.dilation[axis]
        inside = (steps % window.stride[axis] == 0) & (steps >= 0)
        inside &= steps // window.stride[axis] < side
        pairs.append((steps[inside] // window.stride[axis], elements[inside]))
    (rows, from_top), (columns, from_left) = pairs
    inputs = unit.input[channels][:, rows[:, None], columns]
    weights = unit.weights["weight"][channels, kernel][:, from_top[:, None], from_left]
    box = None
    if inputs.size:
        box = (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
    found = Arithmetic("weighted", "", inputs, window=box, channels=(channels.start, channels.stop))
    return found.weigh(weights, unit.weights.get("bias"), unit.channel)


def _pool(unit: Unit, outside: float = 0.0) -> Arithmetic:
    layer = unit.layer
    assert isinstance(layer, nn.MaxPool2d | nn.AvgPool2d | nn.SumPool2d | nn.LPPool2d)
    channels = slice(unit.channel, unit.channel + 1)
    return _windowed(unit, layer.window(unit.input.shape), channels, outside)


def max_pool2d(unit: Unit) -> Arithmetic:
    """Return the maximum of a window."""
    found = _pool(unit, math.nan)
    found.kind, found.formula = "maximum", f"the largest of {found.elements} values"
    return found


def sum_pool2d(unit: Unit) -> Arithmetic:
    """Return the sum of a window."""
    found = _pool(unit)
    found.sum, found.formula = _sum(found), f"the sum of {found.elements} values"
    return found


def lp_pool2d(unit: Unit) -> Arithmetic:
    """Return the norm of a window."""
    found, layer = _pool(unit), unit.layer
    assert isinstance(layer, nn.LPPool2d)
    squares = layer.norm_type == 2
    found.sum = _sum(found, 2 if squares else 1)
    found.formula = f"the sum of {found.elements} {'squares' if squares else 'values'}"
    kernel = layer.window(unit.input.shape).kernel_elements
    if found.elements < kernel:  # as PyTorch, which takes the mean of those inside
        found.formula += f" * {kernel} / {found.elements}"
    if squares:
        found.formula = f"the square root of {found.formula}"
    return found


def avg_pool2d(unit: Unit) -> Arithmetic:
    """Return the mean of a window."""
    layer, found = unit.layer, _pool(unit)
    assert isinstance(layer, nn.AvgPool2d)
    window, count = layer.window(unit.input.shape), found.elements
    divisor = layer.divisor_override or count
    if layer.count_include_pad and not layer.divisor_override:
        # Of a last window that ceil_mode lets leave the padding as well, only the part inside.
        sides = []
        for axis in (0, 1):
            start = window.starts(axis)[unit.index[1 + axis]]
            end = window.plane[axis] + window.padding[axis][1]
            sides.append(min(start + window.kernel[axis], end) - start)
        divisor = math.prod(sides)
    found.kind, found.sum = "mean", _sum(found)
    found.formula = f"the sum of {count} values / {divisor}"
    return found


def _adaptive(unit: Unit) -> Arithmetic:
    layer = unit.layer
    assert isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d)
    _, height, width = unit.input.shape
    rows, columns = layer.output_plane((height, width))
    top, bottom = adaptive_windows(height, rows)[unit.index[1]]
    left, right = adaptive_windows(width, columns)[unit.index[2]]
    channel = unit.channel
    inputs = unit.input[channel : channel + 1, top:bottom, left:right]
    return Arithmetic(
        "other",
        "",
        inputs,
        window=(top, left, bottom, right),
        channels=(channel, channel + 1),
        elements=inputs.size,
    )


def adaptive_avg_pool2d(unit: Unit) -> Arithmetic:
    """Return the mean of a window."""
    found = _adaptive(unit)
    found.kind, found.sum = "mean", _sum(found)
    found.formula = f"the sum of {found.elements} values / {found.elements}"
    return found


def adaptive_max_pool2d(unit: Unit) -> Arithmetic:
    """Return the maximum of a window."""
    found = _adaptive(unit)
    found.kind, found.formula = "maximum", f"the largest of {found.elements} values"
    return found


def _sum(found: Arithmetic, power: int = 1) -> float:
    assert found.inputs is not None
    return float((found.inputs**power).sum())
