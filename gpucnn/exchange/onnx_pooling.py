"""Pooling, adaptive pooling and upsampling as ONNX operators of opset 13.

The size of an image is fixed in a graph, so paddings are computed here and given as numbers: ONNX's
``ceil_mode`` and its rules for padding have changed from version to version, and programs that run
ONNX files differ in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.arithmetic import adaptive_windows
from gpucnn.backends.contract.window import Pair, Window
from gpucnn.exchange.onnx_graph import Graph
from gpucnn.nn.layers import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    LPPool2d,
    MaxPool2d,
    SumPool2d,
    Upsample,
)
from gpucnn.nn.layers.base import Shape

Weights = Mapping[str, NDArray[np.float32]]
Sides = tuple[Pair, Pair]


def max_pool(
    graph: Graph, name: str, layer: MaxPool2d, value: str, shape: Shape, weights: Weights
) -> str:
    """Add MaxPool."""
    window = layer.window(shape)
    sides = _covering(window)
    # ONNX Runtime accepts no padding as large as the kernel, which a dilated one may have.
    if any(max(sides[axis]) >= window.kernel[axis] for axis in (0, 1)):
        value, sides = pad(graph, name, value, sides, -np.inf), ((0, 0), (0, 0))
    return graph.add("MaxPool", value, name=name, **geometry(window, sides))


def avg_pool(
    graph: Graph, name: str, layer: AvgPool2d, value: str, shape: Shape, weights: Weights
) -> str:
    """Add AveragePool, and what corrects its divisors where they are others than PyTorch's."""
    window, sides = layer.window(shape), _covering(layer.window(shape))
    if layer.divisor_override is not None:
        factor = np.array(window.kernel_elements / layer.divisor_override, np.float32)
        return _scaled_means(graph, name, value, window, factor)
    if not layer.count_include_pad or sides == window.padding:
        options = _means(window, include_pad=layer.count_include_pad)
        return graph.add("AveragePool", value, name=name, **options)
    return _scaled_means(graph, name, value, window, _shares(window))


def sum_pool(
    graph: Graph, name: str, layer: SumPool2d, value: str, shape: Shape, weights: Weights
) -> str:
    """Add means times the number of elements."""
    window = layer.window(shape)
    factor = np.array(window.kernel_elements, np.float32)
    return _scaled_means(graph, name, value, window, factor)


def lp_pool(
    graph: Graph, name: str, layer: LPPool2d, value: str, shape: Shape, weights: Weights
) -> str:
    """Add sums, of squares for p = 2, and their root."""
    # PyTorch's: where a window reaches beyond the image, the mean of the others replaces what is
    # missing, and with p = 1 it is the sum of x, not of its absolute value as in ONNX's LpPool.
    window = layer.window(shape)
    factors = window.kernel_elements * _shares(window)
    if layer.norm_type == 1:
        return _scaled_means(graph, name, value, window, factors)
    squares = graph.add("Mul", value, value, name=f"{name}/squares")
    sums = _scaled_means(graph, f"{name}/sums", squares, window, factors)
    return graph.add("Sqrt", sums, name=name)


def adaptive_avg_pool(
    graph: Graph, name: str, layer: AdaptiveAvgPool2d, value: str, shape: Shape, weights: Weights
) -> str:
    """Add AveragePool if all windows have one size; else products with the shares of pixels."""
    _, height, width = shape
    rows, columns = layer.output_plane((height, width))
    if options := _even_windows(shape, (rows, columns)):
        return graph.add("AveragePool", value, name=name, **options)
    vertical = graph.constant(f"{name}.rows", _window_shares(height, rows))
    horizontal = graph.constant(f"{name}.columns", _window_shares(width, columns).T.copy())
    means = graph.add("MatMul", vertical, value, name=f"{name}/rows")
    return graph.add("MatMul", means, horizontal, name=name)


def _window_shares(size: int, outputs: int) -> NDArray[np.float32]:
    """Return the matrix (outputs, size) of means over the windows of adaptive pooling."""
    shares = np.zeros((outputs, size), np.float32)
    for output, (start, end) in enumerate(adaptive_windows(size, outputs)):
        shares[output, start:end] = 1 / (end - start)
    return shares


def adaptive_max_pool(
    graph: Graph, name: str, layer: AdaptiveMaxPool2d, value: str, shape: Shape, weights: Weights
) -> str:
    """Add MaxPool if all windows have one size; else the windows, gathered, and their maxima."""
    size = layer.output_plane((shape[1], shape[2]))
    if options := _even_windows(shape, size):
        return graph.add("MaxPool", value, name=name, **options)
    for axis, what in ((2, "rows"), (3, "columns")):
        windows = adaptive_windows(shape[axis - 1], size[axis - 2])
        longest = max(end - start for start, end in windows)
        # A shorter window has its last element several times.
        indices = [[min(start + i, end - 1) for i in range(longest)] for start, end in windows]
        constant = graph.constant(f"{name}.{what}", np.array(indices, np.int64))
        gathered = graph.add("Gather", value, constant, name=f"{name}/{what}", axis=axis)
        node = name if axis == 3 else f"{name}/maxima"
        value = graph.add("ReduceMax", gathered, name=node, axes=[axis + 1], keepdims=0)
    return value


def _even_windows(shape: Shape, size: Pair) -> dict[str, Any] | None:
    """Return the attributes of windows that divide the plane; None if they differ in size."""
    _, height, width = shape
    if height % size[0] or width % size[1]:
        return None
    kernel = (height // size[0], width // size[1])
    return {"kernel_shape": kernel, "strides": kernel}


def upsample(
    graph: Graph, name: str, layer: Upsample, value: str, shape: Shape, weights: Weights
) -> str:
    """Add Resize for integer factors; else the rows and columns that are copied.

    Programs that run ONNX files round the positions of other factors each in their own way.
    """
    plane = shape[1:]
    size = layer.output_plane((plane[0], plane[1]))
    if not (size[0] % plane[0] or size[1] % plane[1]):
        scales = np.array([1, 1, size[0] // plane[0], size[1] // plane[1]], np.float32)
        constant = graph.constant(f"{name}.scales", scales)
        options = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return graph.add("Resize", value, "", constant, name=name, mode="nearest", **options)
    for axis, what in ((2, "rows"), (3, "columns")):
        sources = np.arange(size[axis - 2]) * plane[axis - 2] // size[axis - 2]
        constant = graph.constant(f"{name}.{what}", sources)
        node = name if axis == 3 else f"{name}/{what}"
        value = graph.add("Gather", value, constant, name=node, axis=axis)
    return value


def _scaled_means(
    graph: Graph, name: str, value: str, window: Window, factor: NDArray[np.float32]
) -> str:
    """Add the means of all elements of each window, zeros outside the image, times ``factor``."""
    options = _means(window, include_pad=True)
    means = graph.add("AveragePool", value, name=f"{name}/means", **options)
    return graph.add("Mul", means, graph.constant(f"{name}.factor", factor), name=name)


def _means(window: Window, include_pad: bool) -> dict[str, Any]:
    options = geometry(window, _covering(window)) | {"count_include_pad": int(include_pad)}
    del options["dilations"]  # AveragePool has none in this opset
    return options


def _covering(window: Window) -> Sides:
    """Return the padding with which the last window of each axis ends inside it."""

    def axis_sides(axis: int) -> Pair:
        before, after = window.padding[axis]
        extent = (window.kernel[axis] - 1) * window.dilation[axis] + 1
        end = (window.output[axis] - 1) * window.stride[axis] + extent
        return before, max(after, end - before - window.plane[axis])

    return axis_sides(0), axis_sides(1)


def _shares(window: Window) -> NDArray[np.float32]:
    """Return the elements of a kernel over those in the plane and its padding: (P, Q)."""
    ends = [window.plane[axis] + window.padding[axis][1] for axis in (0, 1)]
    rows, columns = (
        np.minimum(window.kernel[axis], ends[axis] - np.array(window.starts(axis)))
        for axis in (0, 1)
    )
    return (window.kernel_elements / np.outer(rows, columns)).astype(np.float32)


def pad(graph: Graph, name: str, value: str, sides: Sides, content: float) -> str:
    """Add rows and columns of ``content`` on each side."""
    (top, bottom), (left, right) = sides
    amounts = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    inputs = (
        graph.constant(f"{name}.pads", amounts),
        graph.constant(f"{name}.padding", np.array(content, np.float32)),
    )
    return graph.add("Pad", value, *inputs, name=f"{name}/padded")


def geometry(window: Window, sides: Sides | None = None) -> dict[str, Any]:
    """Return the attributes of a window; ``sides`` is in place of its padding."""
    (top, bottom), (left, right) = sides or window.padding
    return {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "pads": (top, left, bottom, right),
        "dilations": window.dilation,
    }
