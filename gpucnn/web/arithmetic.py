"""What a unit is computed from, as data for the page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.nn.layers import Layer

MOST_VALUES = 16_384
"""Inputs of a unit that are listed."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Unit:
    """A unit of a layer: layer, state, input (C, H, W), (T, F) or (F,), and index."""

    layer: Layer
    weights: dict[str, Values]
    input: Values
    index: tuple[int, ...]
    parts: tuple[tuple[str, Values], ...] = ()
    """Names and outputs of the layers inside whose outputs are joined."""

    @property
    def channel(self) -> int:
        """The channel, or the number of the feature."""
        return self.index[0]


@dataclass
class Arithmetic:
    """How a unit is computed; the fields of the description that depend on the layer."""

    kind: str
    formula: str
    inputs: Values | None = None
    weights: Values | None = None
    bias: float | None = None
    sum: float | None = None
    window: tuple[int, int, int, int] | None = None
    channels: tuple[int, int] | None = None
    step: tuple[int, int] = (1, 1)
    elements: int = 0
    """How many of the inputs are not padding."""
    source: str | None = None
    """The layer that the inputs come from, None for the one before the unit's layer."""

    def describe(self) -> dict[str, Any]:
        """Return the fields as plain data, of many inputs those with the largest products."""
        count = 0 if self.inputs is None else self.inputs.size
        inputs, weights, indices = self.inputs, self.weights, None
        if inputs is not None and count > MOST_VALUES:
            flat = inputs.ravel()
            size = np.abs(np.nan_to_num(flat if weights is None else flat * weights.ravel()))
            indices = np.sort(np.argsort(-size, kind="stable")[:MOST_VALUES])
            inputs = flat[indices]
            weights = None if weights is None else weights.ravel()[indices]
        return {
            "kind": self.kind,
            "formula": self.formula,
            "window": self.window,
            "step": self.step,
            "channels": self.channels,
            "inputs": _values(inputs),
            "weights": _values(weights),
            "indices": None if indices is None else indices.tolist(),
            "count": count,
            "bias": number(self.bias),
            "sum": number(self.sum),
        }

    def weigh(self, weights: Values, bias: Values | None, at: int) -> Arithmetic:
        """Make it the sum of products with weights, plus element ``at`` of a bias."""
        assert self.inputs is not None
        self.kind, self.weights = "weighted", weights
        with np.errstate(all="ignore"):
            self.sum = float((self.inputs * weights).sum())
        self.bias = None if bias is None else float(bias[at])
        shape = " x ".join(map(str, self.inputs.shape))
        self.formula = f"the sum of {shape} products" + ("" if bias is None else " + the bias")
        return self


def number(value: Any) -> float | None:
    """Return a number for JSON, None if it is NaN or infinite."""
    return float(value) if value is not None and math.isfinite(value) else None


def _values(values: Values | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {"shape": list(values.shape), "values": [number(value) for value in values.ravel()]}
