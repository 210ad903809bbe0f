"""The receptive field of a unit of a layer in the input image."""

from __future__ import annotations

import math

from gpucnn.config import check_integer
from gpucnn.errors import SettingError, unknown
from gpucnn.nn.layers.base import Shape
from gpucnn.nn.layers.structure import places
from gpucnn.nn.sequential import Sequential

Box = tuple[int, int, int, int]
"""Rows and columns of an image as slices take them: (top, left, bottom, right)."""


def receptive_field(model: Sequential, layer: str, row: int, column: int = 0) -> Box:
    """Return the part of the input image that a unit of a layer depends on.

    All channels of a layer have the same fields. Padding counts as pixels around the image and the
    feature maps: the field of a unit on the border reaches outside the image. The field is the
    smallest box around the pixels; dilation may leave gaps in it. Outputs of a linear layer depend
    on the whole image.

    Args:
        model: the network.
        layer: name of the layer.
        row: row of the unit in the layer's output; of a layer of features (F,) the feature.
        column: its column; 0 for a feature.

    Returns:
        (top, left, bottom, right) in pixels of the input, as in ``image[top:bottom, left:right]``;
        bottom and right are one past the last pixel, and numbers below 0 are outside the image.
        After a transposed convolution, a unit may depend on no pixel: (0, 0, 0, 0).

    Raises:
        SettingError: there is no such layer, or it has no such unit.

    >>> model = gpucnn.models.lenet5()
    >>> gpucnn.nn.receptive_field(model, "conv1", 0, 0)  # padding is 2
    (-2, -2, 3, 3)
    >>> gpucnn.nn.receptive_field(model, "pool2", 4, 2)
    (14, 6, 30, 22)
    """
    known = {place.name: place for place in places(model.layers, model.input_shape)}
    if layer not in known:
        raise unknown("layer", layer, known)
    shape, fields = known[layer].output_shape, known[layer].fields
    at: str | None = layer
    maps = shape
    while at is not None and len(maps) != 3:  # the last feature maps before it
        if known[at].parts:  # features of several layers, or their sums
            fields = None
        at = known[at].source
        maps = model.input_shape if at is None else known[at].output_shape
    _check(layer, shape, row, column)
    if len(shape) == 1 and math.prod(maps) == shape[0]:
        # Features are the units of the last feature maps, in the order of Flatten.
        row, column = divmod(row % math.prod(maps[1:]), maps[2])
    elif len(shape) != 3:
        fields = None
    if fields is None:
        _, height, width = model.input_shape
        return (0, 0, height, width)
    top, bottom = fields[0].pixels(row)
    left, right = fields[1].pixels(column)
    if top == bottom or left == right:
        return (0, 0, 0, 0)
    return (top, left, bottom, right)


def _check(layer: str, shape: Shape, row: int, column: int) -> None:
    """Raise SettingError unless a layer's output of ``shape`` has such a unit."""
    names = ("row", "column") if len(shape) == 3 else ("feature",)
    for name, size, value in zip(names, shape[-len(names) :], (row, column), strict=False):
        if check_integer(name, value, 0) >= size:
            raise SettingError(f"{name} must be 0 to {size - 1} in layer {layer!r}, got {value}")
    if len(shape) != 3 and check_integer("column", column, 0):
        raise SettingError(f"layer {layer!r} has features: column must be 0, got {column}")
