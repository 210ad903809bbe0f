"""Recurrent layers, and rows of images, as ONNX operators of opset 13.

ONNX's RNN and GRU take (T, N, F): the layout with the batch first came with opset 14, and ONNX
Runtime has no kernels for it. Their weights have an axis for the two directions, and a GRU's gates
are in the order z, r, n.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gpucnn.exchange.onnx_graph import Graph
from gpucnn.nn.layers import GRU, RNN, Rows
from gpucnn.nn.layers.base import Shape

Weights = Mapping[str, NDArray[np.float32]]


def rows(graph: Graph, name: str, layer: Rows, value: str, shape: Shape, weights: Weights) -> str:
    """Add the rows of images (N, C, H, W) as sequences (N, H, C * W)."""
    channels, height, width = shape
    swapped = graph.add("Transpose", value, name=f"{name}/swapped", perm=(0, 2, 1, 3))
    sizes = graph.constant(f"{name}.shape", np.array([0, height, channels * width], np.int64))
    return graph.add("Reshape", swapped, sizes, name=name)  # 0: the same number of samples


def recurrent(
    graph: Graph, name: str, layer: RNN | GRU, value: str, shape: Shape, weights: Weights
) -> str:
    """Add a recurrent layer for sequences (N, T, F)."""
    options: dict[str, object] = {"hidden_size": layer.hidden_size}
    if isinstance(layer, GRU):
        options["linear_before_reset"] = 1
    else:
        options["activations"] = ["Tanh" if layer.nonlinearity == "tanh" else "Relu"]
    axes = graph.constant(f"{name}.axes", np.array([1], np.int64))
    value = graph.add("Transpose", value, name=f"{name}/by_step", perm=(1, 0, 2))
    for index in range(layer.num_layers):
        inputs = _weights(graph, name, layer, index, weights)
        operator = type(layer).__name__
        states = graph.add(operator, value, *inputs, name=f"{name}/states_l{index}", **options)
        value = graph.add("Squeeze", states, axes, name=f"{name}/l{index}")  # of the directions
    if layer.return_sequences:
        return graph.add("Transpose", value, name=name, perm=(1, 0, 2))
    last = graph.constant(f"{name}.last", np.array(shape[0] - 1, np.int64))
    return graph.add("Gather", value, last, name=name, axis=0)


def _weights(graph: Graph, name: str, layer: RNN | GRU, index: int, weights: Weights) -> list[str]:
    """Add the weights of a recurrence, and its biases one after the other."""

    def rows_of(parameter: str) -> NDArray[np.float32]:
        values = weights[f"{name}.{parameter}_l{index}"]
        if isinstance(layer, RNN):
            return values
        reset, update, new = np.split(values, 3)
        return np.concatenate([update, reset, new])

    found = [
        graph.constant(f"{name}.{parameter}_l{index}", rows_of(parameter)[None])
        for parameter in ("weight_ih", "weight_hh")
    ]
    if layer.bias:
        biases = np.concatenate([rows_of("bias_ih"), rows_of("bias_hh")])
        found.append(graph.constant(f"{name}.bias_l{index}", biases[None]))
    return found
