"""The filters of convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import SettingError, unknown
from gpucnn.nn import Conv2d, ConvTranspose2d, Sequential
from gpucnn.plots.canvas import HEAD, MARGIN, NOTE, Canvas, limits, mosaic, signed_colours
from gpucnn.plots.style import MUTED, WIDTH, Plot, clean, short, sides, style

_MOST_FILTERS = 128
_MOST_ROWS, _MOST_INPUTS = 16, 16
"""Filters and their input channels that are drawn, where each input channel has its own image."""


def filters(model: Sequential, layer: str | None = None) -> Plot:
    """Draw the weights of a convolution: blue negative, white 0, red positive, on one scale.

    Filters of one input channel are drawn next to each other. Those of a first layer on colour
    images are drawn as colours, in which grey is 0. Of others, each filter is a row with an image
    for each of its input channels, the first 16 filters and channels of more.

    Args:
        model: the network.
        layer: the name of a Conv2d or ConvTranspose2d; the first one if None.

    Returns:
        A figure with one pair of axes, on which the filters (or the rows) are images.

    Raises:
        SettingError: the model has no convolution, or ``layer`` is not one.

    Example:
        >>> figure = gpucnn.plots.filters(gpucnn.models.lenet5(seed=0))
        >>> len(figure.axes[0].images) - 1  # the last one is the scale
        6
    """
    name, found = _convolution(model, layer)
    weights = _weights(model, found)
    outputs, inputs, height, width = weights.shape
    scale = max(map(abs, limits(weights)))
    parts = [f"{outputs:,} filters of {sides((inputs, height, width))}"]
    if found.groups > 1:
        parts.append(f"{found.groups} groups")
    colour = inputs == 3 == model.input_shape[0] and next(iter(model.layers)) == name
    title = f"Filters of {clean(name)}"
    with style():
        if inputs == 1 or colour:
            return weight_images(title, parts, weights, scale)
        return _filter_rows(title, parts, weights, scale, found.groups)


def _convolution(model: Sequential, layer: str | None) -> tuple[str, Conv2d | ConvTranspose2d]:
    """Return the name and the layer of a convolution; SettingError if it is none."""
    layers = model.every_layer()
    known = {
        name: found for name, found in layers.items() if isinstance(found, Conv2d | ConvTranspose2d)
    }
    if not known:
        raise SettingError("the model has no convolution, so it has no filters to draw")
    name = next(iter(known)) if layer is None else layer
    if name in layers and name not in known:
        raise SettingError(
            f"layer {name!r} ({type(layers[name]).__name__}) has no filters: expected "
            f"{' or '.join(map(repr, known))}"
        )
    if name not in known:
        raise unknown("layer", str(name), known)
    return name, known[name]


def _weights(model: Sequential, layer: Conv2d | ConvTranspose2d) -> NDArray[Any]:
    """Return the weights as (out, in / groups, kh, kw), also of a transposed convolution."""
    weights = model.backend.to_numpy(layer.weights()[0])
    if isinstance(layer, Conv2d):
        return weights
    inputs, outputs, *kernel = weights.shape
    split = weights.reshape(layer.groups, inputs // layer.groups, outputs, *kernel)
    return split.swapaxes(1, 2).reshape(-1, inputs // layer.groups, *kernel)


def _as_colour_filters(weights: NDArray[Any], scale: float) -> NDArray[np.uint8]:
    """Return filters (N, 3, H, W) as colours (N, H, W, 3): 0 is grey, ``scale`` is full."""
    colours = np.rint(np.clip(127.5 * (1 + np.nan_to_num(weights) / (scale or 1)), 0, 255))
    return np.asarray(colours.transpose(0, 2, 3, 1), np.uint8)


def weight_images(title: str, parts: list[str], weights: NDArray[Any], scale: float) -> Plot:
    """Draw weights (N, 1 or 3, H, W) in rows, those of three channels as colours."""
    if weights.shape[1] == 3:
        return _filter_grid(title, parts, _as_colour_filters(weights, scale), None)
    return _filter_grid(title, parts, signed_colours(weights[:, 0], scale), scale)


def _filter_grid(
    title: str, parts: list[str], planes: NDArray[np.uint8], scale: float | None
) -> Plot:
    """Draw filters (N, H, W, colours) in rows, each with its number."""
    count = min(len(planes), _MOST_FILTERS)
    if count < len(planes):
        parts.append(f"the first {count} are shown")
    columns = min(count, 8 if count <= 32 else 16)
    step = (WIDTH - MARGIN) / max(columns, 6)
    side, rows = step - MARGIN, -(-count // columns)
    height = side * float(np.clip(planes.shape[1] / planes.shape[2], 0.3, 3))
    canvas = Canvas(HEAD + rows * (height + 0.24) + 0.04, title, ", ".join(parts))
    for index in range(count):
        x = MARGIN + index % columns * step
        y = HEAD + index // columns * (height + 0.24)
        canvas.fit(planes[index], x, y, side, height)
        canvas.text(x + side / 2, y + height + 0.1, f"{index}", colour=MUTED, size=8, ha="center")
    if scale is not None:
        _draw_scale(canvas, scale)
    return canvas.figure


def _filter_rows(
    title: str, parts: list[str], weights: NDArray[Any], scale: float, groups: int
) -> Plot:
    """Draw each filter (in, H, W) as a row with an image of each of its input channels."""
    outputs, inputs = weights.shape[:2]
    rows, columns = min(outputs, _MOST_ROWS), min(inputs, _MOST_INPUTS)
    if rows < outputs or columns < inputs:
        parts.append(f"the first {rows} filters and {columns} input channels are shown")
    label = 1.0
    side = min((WIDTH - MARGIN - label) / columns, 0.5)
    height = side * float(np.clip(weights.shape[2] / weights.shape[3], 0.4, 2.5))
    top = HEAD + 0.2
    canvas = Canvas(top + rows * height + MARGIN, title, ", ".join(parts))
    canvas.text(label - 0.08, top - 0.1, "input channel", colour=MUTED, size=8, ha="right")
    for column in range(columns):
        x = label + (column + 0.5) * side
        name = "" if groups > 1 else f"{column}"
        canvas.text(x, top - 0.1, name, colour=MUTED, size=8, ha="center")
    for row in range(rows):
        y = top + row * height
        first = row // (outputs // groups) * inputs
        name = f"filter {row}" if groups == 1 else f"{row} (of {first} to {first + inputs - 1})"
        canvas.text(label - 0.08, y + 0.47 * height, name, colour=MUTED, size=8, ha="right")
        strip = mosaic(signed_colours(weights[row, :columns], scale), columns, gap=2)
        canvas.image(strip, label, y + 0.04 * height, columns * side, 0.92 * height)
    _draw_scale(canvas, scale)
    return canvas.figure


def _draw_scale(canvas: Canvas, scale: float) -> None:
    """Draw the colours from -scale to scale in the upper right corner."""
    width, x, y = 1.1, canvas.width - MARGIN - 0.45, NOTE + 0.07
    ramp = signed_colours(np.linspace(-scale, scale, 64)[None], scale)
    canvas.image(ramp, x - width, y - 0.06, width, 0.12)
    canvas.text(x - width - 0.05, y, short(-scale), size=8, colour=MUTED, ha="right")
    canvas.text(x + 0.05, y, short(scale), size=8, colour=MUTED)
