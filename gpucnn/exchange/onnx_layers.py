"""Layers as ONNX operators of opset 13.

Programs that run ONNX files differ in what they implement: an operator is used only if all of them
have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends.contract.window import Pair, Window
from gpucnn.errors import SettingError
from gpucnn.exchange import onnx_activations, onnx_normalization, onnx_pooling
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
    options = onnx_pooling.geometry(layer.window(shape)) | {"group": layer.groups}
    inputs = _weights(graph, name, layer, weights)
    return graph.add("Conv", value, *inputs, name=name, **options)


def _conv_transpose(
    graph: Graph, name: str, layer: ConvTranspose2d, value: str, shape: Shape, weights: Weights
) -> str:
    window = layer.window(shape)
    sides, rest = zip(*(_transposed_sides(window, axis) for axis in (0, 1)), strict=True)
    options = onnx_pooling.geometry(window, sides) | {"group": layer.groups}
    if all(rest[axis] < window.stride[axis] for axis in (0, 1)):
        inputs = _weights(graph, name, layer, weights)
        options["output_padding"] = rest
        return graph.add("ConvTranspose", value, *inputs, name=name, **options)
    # ONNX Runtime accepts no output_padding as large as the stride, which dilation allows.
    weight = graph.constant(f"{name}.weight", weights[f"{name}.weight"])
    product = graph.add("ConvTranspose", value, weight, name=f"{name}/product", **options)
    padded = onnx_pooling.pad(graph, name, product, ((0, rest[0]), (0, rest[1])), 0.0)
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


def _dropout(
    graph: Graph, name: str, layer: Layer, value: str, shape: Shape, weights: Weights
) -> str:
    """Add nothing: dropout changes nothing but training."""
    return value


_CONVERTERS: dict[type[Layer], Callable[..., str]] = {
    AdaptiveAvgPool2d: onnx_pooling.adaptive_avg_pool,
    AdaptiveMaxPool2d: onnx_pooling.adaptive_max_pool,
    AvgPool2d: onnx_pooling.avg_pool,
    BatchNorm1d: onnx_normalization.batch_norm,
    BatchNorm2d: onnx_normalization.batch_norm,
    Concat: _concat,
    Conv2d: _conv,
    ConvTranspose2d: _conv_transpose,
    Dropout: _dropout,
    Dropout2d: _dropout,
    ELU: onnx_activations.elu,
    GRU: recurrent,
    RNN: recurrent,
    Rows: rows,
    Flatten: _operator("Flatten", axis=1),
    GELU: onnx_activations.gelu,
    GroupNorm: onnx_normalization.group_norm,
    LPPool2d: onnx_pooling.lp_pool,
    LayerNorm: onnx_normalization.layer_norm,
    LeakyReLU: onnx_activations.leaky_relu,
    Linear: _linear,
    MaxPool2d: onnx_pooling.max_pool,
    ReLU: _operator("Relu"),
    Residual: _residual,
    SiLU: onnx_activations.silu,
    Sigmoid: _operator("Sigmoid"),
    Softmax: _operator("Softmax", axis=1),
    Softplus: onnx_activations.softplus,
    SumPool2d: onnx_pooling.sum_pool,
    Tanh: _operator("Tanh"),
    Upsample: onnx_pooling.upsample,
}
"""By the class itself: a subclass may compute anything."""
