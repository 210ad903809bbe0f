"""Layers as ONNX operators of opset 13.

The size of an image is fixed in a graph, so paddings are computed here and given as numbers: ONNX's
``ceil_mode`` and its rules for padding have changed from version to version, and programs that run
ONNX files differ in them. For the same reason an operator is used only if all of them have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.arithmetic import adaptive_windows
from gpucnn.backends.contract.window import Pair, Window
from gpucnn.errors import SettingError
from gpucnn.exchange import onnx_normalization
from gpucnn.exchange.onnx_graph import Graph
from gpucnn.exchange.onnx_recurrent import recurrent, rows
from gpucnn.nn.layers import (
    ELU,
    GELU,
    GRU,
    RNN,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Dropout2d,
    Flatten,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    LPPool2d,
    MaxPool2d,
    ReLU,
    Residual,
    Rows,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    SumPool2d,
    Tanh,
    Upsample,
)
from gpucnn.nn.layers.base import Shape

Weights = Mapping[str, NDArray[np.float32]]
Sides = tuple[Pair, Pair]


def add_layer(
    graph: Graph, name: str, layer: Layer, value: str, shape: Shape, weights: Weights
) -> str:
    """Add a layer to a graph and return the name of its output.

    Args:
        graph: the graph so far.
        name: the layer's name.
        layer: a layer of gpucnn; SettingError for any other.
        value: the name of its input.
        shape: the shape of the input, without the batch.
        weights: all parameters and buffers of the network, by their names.
    """
    convert = _CONVERTERS.get(type(layer))
    if convert is None:
        raise SettingError(
            f"layer {name!r} ({type(layer).__name__}) is a custom layer, for which ONNX has no "
            "operator: export a network without it, or weights as .safetensors or .npz"
        )
    return convert(graph, name, layer, value, shape, weights)


# --- layers with weights ------------------------------------------------------------------------


def _conv(
    graph: Graph, name: str, layer: Conv2d, value: str, shape: Shape, weights: Weights
) -> str:
    options = _geometry(layer.window(shape)) | {"group": layer.groups}
    inputs = _weights(graph, name, layer, weights)
    return graph.add("Conv", value, *inputs, name=name, **options)


def _conv_transpose(
    graph: Graph, name: str, layer: ConvTranspose2d, value: str, shape: Shape, weights: Weights
) -> str:
    window = layer.window(shape)
    sides, rest = zip(*(_transposed_sides(window, axis) for axis in (0, 1)), strict=True)
    options = _geometry(window, sides) | {"group": layer.groups}
    if all(rest[axis] < window.stride[axis] for axis in (0, 1)):
        inputs = _weights(graph, name, layer, weights)
        options["output_padding"] = rest
        return graph.add("ConvTranspose", value, *inputs, name=name, **options)
    # ONNX Runtime accepts no output_padding as large as the stride, which dilation allows.
    weight = graph.constant(f"{name}.weight", weights[f"{name}.weight"])
    product = graph.add("ConvTranspose", value, weight, name=f"{name}/product", **options)
    padded = _pad(graph, name, product, ((0, rest[0]), (0, rest[1])), 0.0)
    if not layer.bias:
        return padded
    column = weights[f"{name}.bias"].reshape(-1, 1, 1)
    return graph.add("Add", padded, graph.constant(f"{name}.bias_column", column), name=name)


def _transposed_sides(window: Window, axis: int) -> tuple[Pair, int]:
    """Return what is cut off both sides of an axis, and the zeros that are added at its end.

    What ``output_padding`` asks for is first taken from what would be cut off.
    """
    before, _ = window.padding[axis]
    extent = (window.kernel[axis] - 1) * window.dilation[axis] + 1
    complete = (window.output[axis] - 1) * window.stride[axis] + extent
    cut = complete - before - window.plane[axis]
    return (before, max(cut, 0)), max(-cut, 0)


def _linear(
    graph: Graph, name: str, layer: Linear, value: str, shape: Shape, weights: Weights
) -> str:
    if len(shape) == 1:
        inputs = _weights(graph, name, layer, weights)
        return graph.add("Gemm", value, *inputs, name=name, transB=1)
    transposed = np.ascontiguousarray(weights[f"{name}.weight"].T)
    product = graph.constant(f"{name}.weight_transposed", transposed)
    if not layer.bias:
        return graph.add("MatMul", value, product, name=name)
    rows = graph.add("MatMul", value, product, name=f"{name}/product")
    return graph.add(
        "Add", rows, graph.constant(f"{name}.bias", weights[f"{name}.bias"]), name=name
    )


def _weights(graph: Graph, name: str, layer: Layer, weights: Weights) -> list[str]:
    names = [f"{name}.{key}" for key in layer.parameters]
    return [graph.constant(full, weights[full]) for full in names]


def _geometry(window: Window, sides: Sides | None = None) -> dict[str, Any]:
    """Return the attributes of a window; ``sides`` is in place of its padding."""
    (top, bottom), (left, right) = sides or window.padding
    return {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "pads": (top, left, bottom, right),
        "dilations": window.dilation,
    }


# --- pooling ------------------------------------------------------------------------------------


def _max_pool(
    graph: Graph, name: str, layer: MaxPool2d, value: str, shape: Shape, weights: Weights
) -> str:
    window = layer.window(shape)
    sides = _covering(window)
    # ONNX Runtime accepts no padding as large as the kernel, which a dilated one may have.
    if any(max(sides[axis]) >= window.kernel[axis] for axis in (0, 1)):
        value, sides = _pad(graph, name, value, sides, -np.inf), ((0, 0), (0, 0))
    return graph.add("MaxPool", value, name=name, **_geometry(window, sides))


def _avg_pool(
    graph: Graph, name: str, layer: AvgPool2d, value: str, shape: Shape, weights: Weights
) -> str:
    window, sides = layer.window(shape), _covering(layer.window(shape))
    if layer.divisor_override is not None:
        factor = np.array(window.kernel_elements / layer.divisor_override, np.float32)
        return _scaled_means(graph, name, value, window, factor)
    if not layer.count_include_pad or sides == window.padding:
        options = _means(window, include_pad=layer.count_include_pad)
        return graph.add("AveragePool", value, name=name, **options)
    return _scaled_means(graph, name, value, window, _shares(window))


def _sum_pool(
    graph: Graph, name: str, layer: SumPool2d, value: str, shape: Shape, weights: Weights
) -> str:
    window = layer.window(shape)
    factor = np.array(window.kernel_elements, np.float32)
    return _scaled_means(graph, name, value, window, factor)


def _lp_pool(
    graph: Graph, name: str, layer: LPPool2d, value: str, shape: Shape, weights: Weights
) -> str:
    # PyTorch's: where a window reaches beyond the image, the mean of the others replaces what is
    # missing, and with p = 1 it is the sum of x, not of its absolute value as in ONNX's LpPool.
    window = layer.window(shape)
    factors = window.kernel_elements * _shares(window)
    if layer.norm_type == 1:
        return _scaled_means(graph, name, value, window, factors)
    squares = graph.add("Mul", value, value, name=f"{name}/squares")
    sums = _scaled_means(graph, f"{name}/sums", squares, window, factors)
    return graph.add("Sqrt", sums, name=name)


def _adaptive_avg_pool(
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


def _adaptive_max_pool(
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


def _upsample(
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
    options = _geometry(window, _covering(window)) | {"count_include_pad": int(include_pad)}
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


def _pad(graph: Graph, name: str, value: str, sides: Sides, content: float) -> str:
    """Add rows and columns of ``content`` on each side."""
    (top, bottom), (left, right) = sides
    amounts = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    inputs = (
        graph.constant(f"{name}.pads", amounts),
        graph.constant(f"{name}.padding", np.array(content, np.float32)),
    )
    return graph.add("Pad", value, *inputs, name=f"{name}/padded")


# --- layers inside layers -----------------------------------------------------------------------


def _residual(
    graph: Graph, name: str, layer: Residual, value: str, shape: Shape, weights: Weights
) -> str:
    return graph.add("Add", *_paths(graph, name, layer, value, shape, weights), name=name)


def _concat(
    graph: Graph, name: str, layer: Concat, value: str, shape: Shape, weights: Weights
) -> str:
    parts = _paths(graph, name, layer, value, shape, weights)
    return graph.add("Concat", *parts, name=name, axis=1)


def _paths(
    graph: Graph, name: str, layer: Layer, value: str, shape: Shape, weights: Weights
) -> list[str]:
    """Add the layers inside a layer; return the names of the outputs of its paths."""
    ends = []
    for path in layer.paths:
        end, before = value, shape
        for label, inner in path.items():
            end = add_layer(graph, f"{name}.{label}", inner, end, before, weights)
            before = inner.output_shape(before)
        ends.append(end)
    return ends


# --- the others ---------------------------------------------------------------------------------


def _operator(operator: str, **attributes: Any) -> Callable[..., str]:
    """Return the converter of a layer that is one operator without arguments."""

    def convert(
        graph: Graph, name: str, layer: Layer, value: str, shape: Shape, weights: Weights
    ) -> str:
        return graph.add(operator, value, name=name, **attributes)

    return convert


def _leaky_relu(
    graph: Graph, name: str, layer: LeakyReLU, value: str, shape: Shape, weights: Weights
) -> str:
    return graph.add("LeakyRelu", value, name=name, alpha=float(layer.negative_slope))


def _elu(graph: Graph, name: str, layer: ELU, value: str, shape: Shape, weights: Weights) -> str:
    return graph.add("Elu", value, name=name, alpha=float(layer.alpha))


def _gelu(graph: Graph, name: str, layer: GELU, value: str, shape: Shape, weights: Weights) -> str:
    """Add x (1 + erf(x / sqrt(2))) / 2, or the approximation: this opset has no Gelu."""
    if layer.approximate == "tanh":
        square = graph.add("Mul", value, value, name=f"{name}/square")
        cubic = _times(graph, f"{name}/cubic", square, 0.044715 * math.sqrt(2 / math.pi))
        slope = _plus(graph, f"{name}/slope", cubic, math.sqrt(2 / math.pi))
        inner = graph.add("Mul", value, slope, name=f"{name}/inner")
        gate = graph.add("Tanh", inner, name=f"{name}/gate")
    else:
        inner = _times(graph, f"{name}/inner", value, math.sqrt(0.5))
        gate = graph.add("Erf", inner, name=f"{name}/gate")
    half = _times(graph, f"{name}/half", value, 0.5)
    factor = _plus(graph, f"{name}/factor", gate, 1.0)
    return graph.add("Mul", half, factor, name=name)


def _silu(graph: Graph, name: str, layer: SiLU, value: str, shape: Shape, weights: Weights) -> str:
    gate = graph.add("Sigmoid", value, name=f"{name}/gate")
    return graph.add("Mul", value, gate, name=name)


def _softplus(
    graph: Graph, name: str, layer: Softplus, value: str, shape: Shape, weights: Weights
) -> str:
    if layer.beta == 1 and layer.threshold >= 20:  # where x > 20 the results differ by 2e-9
        return graph.add("Softplus", value, name=name)
    product = _times(graph, f"{name}/product", value, layer.beta)
    smooth = graph.add("Softplus", product, name=f"{name}/smooth")
    smooth = _times(graph, f"{name}/quotient", smooth, 1 / layer.beta)
    threshold = graph.constant(f"{name}.threshold", np.array(layer.threshold, np.float32))
    beyond = graph.add("Greater", product, threshold, name=f"{name}/beyond")
    return graph.add("Where", beyond, value, smooth, name=name)


def _times(graph: Graph, name: str, value: str, factor: float) -> str:
    constant = graph.constant(f"{name}.factor", np.array(factor, np.float32))
    return graph.add("Mul", value, constant, name=name)


def _plus(graph: Graph, name: str, value: str, term: float) -> str:
    return graph.add(
        "Add", value, graph.constant(f"{name}.term", np.array(term, np.float32)), name=name
    )


def _dropout(
    graph: Graph, name: str, layer: Layer, value: str, shape: Shape, weights: Weights
) -> str:
    """Add nothing: dropout changes nothing but training."""
    return value


_CONVERTERS: dict[type[Layer], Callable[..., str]] = {
    AdaptiveAvgPool2d: _adaptive_avg_pool,
    AdaptiveMaxPool2d: _adaptive_max_pool,
    AvgPool2d: _avg_pool,
    BatchNorm1d: onnx_normalization.batch_norm,
    BatchNorm2d: onnx_normalization.batch_norm,
    Concat: _concat,
    Conv2d: _conv,
    ConvTranspose2d: _conv_transpose,
    Dropout: _dropout,
    Dropout2d: _dropout,
    ELU: _elu,
    GRU: recurrent,
    RNN: recurrent,
    Rows: rows,
    Flatten: _operator("Flatten", axis=1),
    GELU: _gelu,
    GroupNorm: onnx_normalization.group_norm,
    LPPool2d: _lp_pool,
    LayerNorm: onnx_normalization.layer_norm,
    LeakyReLU: _leaky_relu,
    Linear: _linear,
    MaxPool2d: _max_pool,
    ReLU: _operator("Relu"),
    Residual: _residual,
    SiLU: _silu,
    Sigmoid: _operator("Sigmoid"),
    Softmax: _operator("Softmax", axis=1),
    Softplus: _softplus,
    SumPool2d: _sum_pool,
    Tanh: _operator("Tanh"),
    Upsample: _upsample,
}
"""By the class itself: a subclass may compute anything."""
