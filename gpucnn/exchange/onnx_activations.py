"""Activations as ONNX operators of opset 13."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gpucnn.exchange.onnx_graph import Graph
from gpucnn.nn.layers import ELU, GELU, LeakyReLU, SiLU, Softplus
from gpucnn.nn.layers.base import Shape

Weights = Mapping[str, NDArray[np.float32]]


def leaky_relu(
    graph: Graph, name: str, layer: LeakyReLU, value: str, shape: Shape, weights: Weights
) -> str:
    """Add LeakyRelu."""
    return graph.add("LeakyRelu", value, name=name, alpha=float(layer.negative_slope))


def elu(graph: Graph, name: str, layer: ELU, value: str, shape: Shape, weights: Weights) -> str:
    """Add Elu."""
    return graph.add("Elu", value, name=name, alpha=float(layer.alpha))


def gelu(graph: Graph, name: str, layer: GELU, value: str, shape: Shape, weights: Weights) -> str:
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


def silu(graph: Graph, name: str, layer: SiLU, value: str, shape: Shape, weights: Weights) -> str:
    """Add x times its sigmoid."""
    gate = graph.add("Sigmoid", value, name=f"{name}/gate")
    return graph.add("Mul", value, gate, name=name)


def softplus(
    graph: Graph, name: str, layer: Softplus, value: str, shape: Shape, weights: Weights
) -> str:
    """Add Softplus, and where it differs from PyTorch's, factors and the threshold."""
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
