"""Normalisation layers as ONNX operators.

Opset 13 has operators for batch and instance normalisation only: the others are made of these, and
of means.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import SettingError
from gpucnn.exchange.onnx_graph import Graph
from gpucnn.nn.layers import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm
from gpucnn.nn.layers.base import Shape

Weights = Mapping[str, NDArray[np.float32]]


def batch_norm(
    graph: Graph,
    name: str,
    layer: BatchNorm1d | BatchNorm2d,
    value: str,
    shape: Shape,
    weights: Weights,
) -> str:
    """Add a batch normalisation by running statistics."""
    if not layer.track_running_stats:
        raise SettingError(
            f"layer {name!r} ({type(layer).__name__}) has no running statistics, so its outputs "
            "depend on the batch, which ONNX cannot hold: export the weights as .safetensors or "
            ".npz"
        )
    size = layer.num_features
    defaults = {"weight": np.ones(size, np.float32), "bias": np.zeros(size, np.float32)}
    keys = ("weight", "bias", "running_mean", "running_var")
    inputs = [
        graph.constant(full, weights[full] if full in weights else defaults[key])
        for key, full in ((key, f"{name}.{key}") for key in keys)
    ]
    return graph.add("BatchNormalization", value, *inputs, name=name, epsilon=float(layer.eps))


def group_norm(
    graph: Graph, name: str, layer: GroupNorm, value: str, shape: Shape, weights: Weights
) -> str:
    """Add a normalisation of groups: as instances, whose channels the groups are."""
    groups = layer.num_groups
    rows = graph.constant(f"{name}.groups", np.array([0, groups, -1], np.int64))
    back = graph.constant(f"{name}.shape", np.array([-1, *shape], np.int64))
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    units = graph.constant(f"{name}.ones", ones), graph.constant(f"{name}.zeros", zeros)
    seen = graph.add("Reshape", value, rows, name=f"{name}/groups")
    normalized = graph.add(
        "InstanceNormalization", seen, *units, name=f"{name}/normalized", epsilon=float(layer.eps)
    )
    value = graph.add("Reshape", normalized, back, name=f"{name}/reshaped")
    columns = (-1, *(1 for _ in shape[1:]))
    return _affine(graph, name, value, weights, columns)


def layer_norm(
    graph: Graph, name: str, layer: LayerNorm, value: str, shape: Shape, weights: Weights
) -> str:
    """Add a normalisation over the last axes, made of means."""
    axes = list(range(-len(layer.sizes), 0))
    mean = graph.add("ReduceMean", value, name=f"{name}/mean", axes=axes)
    centred = graph.add("Sub", value, mean, name=f"{name}/centred")
    squares = graph.add("Mul", centred, centred, name=f"{name}/squares")
    variance = graph.add("ReduceMean", squares, name=f"{name}/variance", axes=axes)
    eps = graph.constant(f"{name}.eps", np.array(layer.eps, np.float32))
    added = graph.add("Add", variance, eps, name=f"{name}/variance_eps")
    root = graph.add("Sqrt", added, name=f"{name}/deviation")
    value = graph.add("Div", centred, root, name=f"{name}/normalized")
    return _affine(graph, name, value, weights, layer.sizes)


def _affine(graph: Graph, name: str, value: str, weights: Weights, shape: Shape) -> str:
    """Multiply by the weight and add the bias, in ``shape``, where the layer has them."""
    for operator, key in (("Mul", "weight"), ("Add", "bias")):
        full = f"{name}.{key}"
        if full in weights:
            constant = graph.constant(full, weights[full].reshape(shape))
            value = graph.add(operator, value, constant, name=name)
    return value
