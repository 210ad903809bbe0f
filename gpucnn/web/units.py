"""The arithmetic of one unit: the values and weights from which an output of a layer is computed.

The description of a unit has the following entries, None where the unit has no such value:

- ``source``: the layer that the inputs come from, or "input"; ``source_shape``: shape of the unit's
  layer's input, after a ``Flatten`` the shape before that.
- ``field``: (top, left, bottom, right), the receptive field in the image, which may reach outside.
- ``window``: the same in the source's feature maps, and ``step``, the distance of its rows and of
  its columns; ``channels``: (first, end) of the source's channels.
- ``kind``: "weighted" (the sum of products with weights), "maximum" or "mean" of a window,
  "elementwise" (one input), or "other".
- ``inputs`` and ``weights``: {shape, values}, row by row. In padding, inputs are 0, or None where
  padding takes no part. Of more than ``MOST_VALUES`` inputs (``arithmetic.py``) those with the
  largest products are left; ``indices`` are their numbers, and ``count`` is the number of all.
- ``bias``, ``sum`` (of the products, or of the window) and ``output``; ``formula``: in a line.

NaN and infinity are None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn import nn
from gpucnn.errors import SettingError, unknown
from gpucnn.nn.layers import Layer
from gpucnn.nn.layers.base import Shape
from gpucnn.nn.layers.structure import places
from gpucnn.web import recurrent, windows
from gpucnn.web.arithmetic import Arithmetic, Unit, number


def explain(
    model: nn.Sequential, pixels: NDArray[np.uint8], layer: str, position: tuple[int, int, int]
) -> dict[str, Any]:
    """Return the description of a unit.

    Args:
        model: the network, with ``normalization``.
        pixels: its input, uint8 (C, H, W).
        layer: name of the layer.
        position: channel, row and column of the unit; (feature, 0, 0) in a layer of features, and
            (0, step, feature) in one of sequences.

    Raises:
        SettingError: there is no such layer or unit, or the network computes otherwise than its
            layers do.
    """
    known = {place.name: place for place in places(model.layers, model.input_shape)}
    if layer not in known:
        raise unknown("layer", layer, known)
    place = known[layer]
    index = _index(layer, place.output_shape, position)
    outputs: dict[str | None, NDArray[Any]] = {
        None: _normalized(model, pixels),
        **{name: maps[0] for name, maps in model.feature_maps(pixels[None]).items()},
    }
    values = {name: output.astype(np.float64) for name, output in outputs.items()}
    weights = {
        name: model.backend.to_numpy(part.data).astype(np.float64)
        for name, part in place.layer.state.items()
    }
    parts = tuple((name or "input", values[name]) for name in place.parts)
    found = arithmetic(Unit(place.layer, weights, values[place.source], index, parts))
    before = None if place.source is None else known[place.source]
    flat = before is not None and type(before.layer) is nn.Flatten
    return {
        "layer": layer,
        "type": type(place.layer).__name__,
        "channel": position[0],
        "row": position[1],
        "column": position[2],
        "source": found.source or place.source or "input",
        "source_shape": before.input_shape if flat and before else place.input_shape,
        "field": _field(model, layer, index),
        "output": number(outputs[layer][index]),
        **found.describe(),
    }


def _index(layer: str, shape: Shape, position: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the index of a unit in an output of any shape, which the page shows as (C, H, W)."""
    if len(shape) == 2:  # a sequence: one map
        return _index(layer, (1, *shape), position)[1:]
    seen = (*shape[:2], math.prod(shape[2:])) if len(shape) > 1 else (*shape, 1, 1)
    for name, size, value in zip(("channel", "row", "column"), seen, position, strict=True):
        if not 0 <= value < size:
            raise SettingError(f"{name} must be 0 to {size - 1} in layer {layer!r}, got {value}")
    inner = np.unravel_index(position[2], shape[2:]) if len(shape) > 2 else ()
    return (*position[:2], *map(int, inner))[: len(shape)]


def _normalized(model: nn.Sequential, pixels: NDArray[np.uint8]) -> NDArray[Any]:
    _, x = next(model.batches(pixels[None], 1))
    values: NDArray[Any] = model.backend.to_numpy(x)[0]
    return values


def _field(
    model: nn.Sequential, layer: str, index: tuple[int, ...]
) -> tuple[int, int, int, int] | None:
    if len(index) == 3:
        return nn.receptive_field(model, layer, index[1], index[2])
    return nn.receptive_field(model, layer, index[0]) if len(index) == 1 else None


def arithmetic(unit: Unit) -> Arithmetic:
    """Return how a unit is computed from its layer's input."""
    function = LAYERS.get(type(unit.layer))
    if function is None:
        return Arithmetic("other", f"computed by {type(unit.layer).__name__}, a custom layer")
    return function(unit)


def _linear(unit: Unit) -> Arithmetic:
    *before, output = unit.index
    found = Arithmetic("weighted", "", unit.input[tuple(before)])
    return found.weigh(unit.weights["weight"][output], unit.weights.get("bias"), output)


def _flatten(unit: Unit) -> Arithmetic:
    source = tuple(map(int, np.unravel_index(unit.channel, unit.input.shape)))
    return _element(unit, "the same value", source)


def _rows(unit: Unit) -> Arithmetic:
    row, element = unit.index
    channel, column = divmod(element, unit.input.shape[2])
    return _element(unit, "the same value", (channel, row, column))


def _upsample(unit: Unit) -> Arithmetic:
    assert isinstance(unit.layer, nn.Upsample)
    channel, *at = unit.index
    plane = unit.input.shape[1:]
    size = unit.layer.output_plane((plane[0], plane[1]))
    row, column = (at[axis] * plane[axis] // size[axis] for axis in (0, 1))
    return _element(unit, "the same value", (channel, row, column))


def _softmax(unit: Unit) -> Arithmetic:
    inputs = np.moveaxis(unit.input, 0, -1)[unit.index[1:]]
    return Arithmetic("other", "exp(x) / the sum of exp(x) of all channels", inputs)


def _residual(unit: Unit) -> Arithmetic:
    (body, first), (other, second) = unit.parts
    inputs = np.array([first[unit.index], second[unit.index]])
    return Arithmetic("other", f"the sum of the outputs of {body} and {other}", inputs)


def _concat(unit: Unit) -> Arithmetic:
    ends = list(accumulate(len(values) for _, values in unit.parts))
    branch = next(index for index, end in enumerate(ends) if unit.channel < end)
    name, values = unit.parts[branch]
    channel = unit.channel - ends[branch] + len(values)
    inside = replace(unit, input=values)
    found = _element(inside, f"channel {channel} of {name}", (channel, *unit.index[1:]))
    found.source = name
    return found


def _leaky_relu(unit: Unit) -> Arithmetic:
    assert isinstance(unit.layer, nn.LeakyReLU)
    return _element(unit, f"x if x > 0, else {unit.layer.negative_slope:g} x", unit.index)


def _elu(unit: Unit) -> Arithmetic:
    assert isinstance(unit.layer, nn.ELU)
    return _element(unit, f"x if x > 0, else {unit.layer.alpha:g} (exp(x) - 1)", unit.index)


def _gelu(unit: Unit) -> Arithmetic:
    assert isinstance(unit.layer, nn.GELU)
    gate = "erf(x / sqrt(2))"
    if unit.layer.approximate == "tanh":
        gate = "tanh(sqrt(2 / pi) (x + 0.044715 x^3))"
    return _element(unit, f"x (1 + {gate}) / 2", unit.index)


def _softplus(unit: Unit) -> Arithmetic:
    layer = unit.layer
    assert isinstance(layer, nn.Softplus)
    product = "x" if layer.beta == 1 else f"{layer.beta:g} x"
    quotient = "" if layer.beta == 1 else f" / {layer.beta:g}"
    formula = f"x if {product} > {layer.threshold:g}, else log(1 + exp({product})){quotient}"
    return _element(unit, formula, unit.index)


def _batch_norm(unit: Unit) -> Arithmetic:
    layer, weights = unit.layer, unit.weights
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
    if not layer.track_running_stats:
        return Arithmetic("other", "(x - mean) / sqrt(variance + eps) of the batch")
    mean, variance = (weights[name][unit.channel] for name in ("running_mean", "running_var"))
    formula = f"(x - {mean:g}) / sqrt({variance:g} + {layer.eps:g})"
    if layer.affine:
        weight, bias = (weights[name][unit.channel] for name in ("weight", "bias"))
        formula += f" * {weight:g} + {bias:g}"
    return _element(unit, formula, unit.index)


def _group_norm(unit: Unit) -> Arithmetic:
    layer = unit.layer
    assert isinstance(layer, nn.GroupNorm)
    each = layer.num_channels // layer.num_groups
    first = unit.channel // each * each
    return _normalized_unit(unit.input[first : first + each], "group of channels", layer.affine)


def _layer_norm(unit: Unit) -> Arithmetic:
    layer = unit.layer
    assert isinstance(layer, nn.LayerNorm)
    before = unit.index[: unit.input.ndim - len(layer.sizes)]
    return _normalized_unit(unit.input[before], "layer", layer.elementwise_affine)


def _normalized_unit(inputs: NDArray[np.float64], what: str, affine: bool) -> Arithmetic:
    """Return the arithmetic of a unit that is normalised by all ``inputs``."""
    formula = "(x - mean) / sqrt(variance + eps)" + (" * weight + bias" if affine else "")
    return Arithmetic("other", f"{formula}, of the {inputs.size} values of its {what}", inputs)


def _each(formula: str) -> Callable[[Unit], Arithmetic]:
    """Return the arithmetic of a layer that computes element by element."""
    return lambda unit: _element(unit, formula, unit.index)


def _element(unit: Unit, formula: str, source: tuple[int, ...]) -> Arithmetic:
    """Return the arithmetic of a unit that depends on one input."""
    box = channels = None
    if len(source) == 3:
        channel, row, column = source
        box, channels = (row, column, row + 1, column + 1), (channel, channel + 1)
    return Arithmetic(
        "elementwise", formula, unit.input[source].reshape(1), window=box, channels=channels
    )


LAYERS: Mapping[type[Layer], Callable[[Unit], Arithmetic]] = {
    nn.Conv2d: windows.conv2d,
    nn.ConvTranspose2d: windows.conv_transpose2d,
    nn.MaxPool2d: windows.max_pool2d,
    nn.AvgPool2d: windows.avg_pool2d,
    nn.AdaptiveAvgPool2d: windows.adaptive_avg_pool2d,
    nn.AdaptiveMaxPool2d: windows.adaptive_max_pool2d,
    nn.Upsample: _upsample,
    nn.SumPool2d: windows.sum_pool2d,
    nn.LPPool2d: windows.lp_pool2d,
    nn.Linear: _linear,
    nn.RNN: recurrent.rnn,
    nn.GRU: recurrent.gru,
    nn.Rows: _rows,
    nn.Flatten: _flatten,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.Softmax: _softmax,
    nn.Residual: _residual,
    nn.Concat: _concat,
    nn.ReLU: _each("max(x, 0)"),
    nn.LeakyReLU: _leaky_relu,
    nn.ELU: _elu,
    nn.GELU: _gelu,
    nn.SiLU: _each("x / (1 + exp(-x))"),
    nn.Softplus: _softplus,
    nn.Sigmoid: _each("1 / (1 + exp(-x))"),
    nn.Tanh: _each("tanh(x)"),
    nn.Dropout: _each("x: dropout is off outside training"),
    nn.Dropout2d: _each("x: dropout is off outside training"),
}
"""How each layer of gpucnn computes a unit. Others, and subclasses, may compute anything."""
