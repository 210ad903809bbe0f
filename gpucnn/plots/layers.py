"""What is inside a network: the filters of convolutions, and the outputs of all layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import DataError, SettingError, unknown
from gpucnn.nn import Conv2d, ConvTranspose2d, Sequential
from gpucnn.nn.preprocessing import check_images
from gpucnn.plots.canvas import (
    HEAD,
    MARGIN,
    NOTE,
    Canvas,
    as_colours,
    limits,
    mosaic,
    signed_colours,
    value_colours,
)
from gpucnn.plots.style import INK, MUTED, SERIES, WIDTH, Plot, clean, percent, style
from gpucnn.training.figures import class_names

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
    parts = [f"{outputs:,} filters of {_sides((inputs, height, width))}"]
    if found.groups > 1:
        parts.append(f"{found.groups} groups")
    colour = inputs == 3 == model.input_shape[0] and next(iter(model.layers)) == name
    title = f"Filters of {clean(name)}"
    with style():
        if inputs == 1 or colour:
            draw = _as_colour_filters if colour else signed_colours
            planes = draw(weights if colour else weights[:, 0], scale)
            return _filter_grid(title, parts, planes, None if colour else scale)
        return _filter_rows(title, parts, weights, scale, found.groups)


def _convolution(model: Sequential, layer: str | None) -> tuple[str, Conv2d | ConvTranspose2d]:
    """Return the name and the layer of a convolution; SettingError if it is none."""
    known = {
        name: found
        for name, found in model.layers.items()
        if isinstance(found, Conv2d | ConvTranspose2d)
    }
    if not known:
        raise SettingError("the model has no convolution, so it has no filters to draw")
    name = next(iter(known)) if layer is None else layer
    if name in model.layers and name not in known:
        raise SettingError(
            f"layer {name!r} ({type(model.layers[name]).__name__}) has no filters: expected "
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


def short(value: float) -> str:
    """Return a number with two digits."""
    return f"{value:.2g}".replace("-", "\u2212")


# --- outputs of all layers ----------------------------------------------------------------------

_LABEL = 1.45
"""Inches of the names of the layers."""

_LETTERS = 21
"""Letters of a note that fit there."""

_LEAST_MAP, _GREATEST_MAP = 0.32, 0.62
"""Inches a side of a feature map."""

_MOST_MAP_ROWS = 4
_BARS = 32
"""Features that are drawn as bars; more are a strip of colours."""

_STRIP, _STRIP_ROWS = 128, 4
"""Features in a row of a strip, and rows."""

_MOST_IMAGES, _MOST_LAYERS = 6, 40


@dataclass(frozen=True)
class _Row:
    """A row of the plot: its name, notes under it, its height, and what draws an image's part."""

    name: str
    notes: tuple[str, ...]
    height: float
    draw: Callable[[Canvas, int, float, float], None]


def feature_maps(model: Sequential, images: Any) -> Plot:
    """Draw the output of every layer for one or several images, from the input downwards.

    Each channel is an image. Outputs without height and width are bars, or if there are more than
    32, strips of colours. Layers with negative outputs are blue (negative), white (0) and red;
    others go from violet (0) to yellow, each on its own scale. Of many channels the first are
    drawn. The last row has the probabilities of the classes, if the network has such.

    Args:
        model: the network, with normalization.
        images: uint8 (C, H, W), (H, W), or up to 6 of them, (N, C, H, W).

    Returns:
        A figure with one pair of axes.

    Raises:
        DataError: the images are not uint8 of the model's input shape, or more than 6.
        SettingError: the model has no normalization, or a ``forward`` of its own.
    """
    pixels = as_batch(model, images)
    if len(pixels) > _MOST_IMAGES:
        raise DataError(f"feature_maps draws up to {_MOST_IMAGES} images, got {len(pixels)}")
    width = (WIDTH - _LABEL) / len(pixels) - MARGIN
    rows = [_input_row(pixels, width)]
    maps = list(model.feature_maps(pixels).items())
    for number, (name, outputs) in enumerate(maps[:_MOST_LAYERS]):
        kind = type(model.layers[name]).__name__
        same = number > 0 and np.array_equal(outputs, maps[number - 1][1], equal_nan=True)
        rows.append(_same_row(name, kind) if same else _layer_row(name, kind, outputs, width))
    if len(model.output_shape) == 1:
        rows.append(_class_row(model, model.predict(pixels), width))
    note = "blue negative, white 0, red positive; without negative values violet 0, yellow greatest"
    if len(maps) > _MOST_LAYERS:
        note = f"the first {_MOST_LAYERS} of {len(maps)} layers"
    with style():
        canvas = Canvas(HEAD + sum(row.height for row in rows), "Feature maps", note)
        y = HEAD
        for row in rows:
            _draw_row(canvas, row, y, len(pixels), width)
            y += row.height
        return canvas.figure


def as_batch(model: Sequential, images: Any) -> NDArray[np.uint8]:
    """Return one image, (C, H, W) or (H, W), or several as uint8 (N, C, H, W), checked."""
    pixels = np.asarray(images)
    if pixels.shape in (model.input_shape, model.input_shape[1:]):
        pixels = pixels.reshape(1, *model.input_shape)
    return check_images(pixels, model.input_shape)


def _draw_row(canvas: Canvas, row: _Row, y: float, images: int, width: float) -> None:
    canvas.text(MARGIN, y + 0.08, row.name, size=9, weight="bold")
    for line, note in enumerate(row.notes, 1):
        canvas.text(MARGIN, y + 0.08 + 0.14 * line, note, size=7.5, colour=MUTED)
    for image in range(images):
        row.draw(canvas, image, _LABEL + image * (width + MARGIN), y)


def _input_row(pixels: NDArray[np.uint8], width: float) -> _Row:
    height, breadth = pixels.shape[2:]
    scale = min(1.1 / height, width / breadth)

    def draw(canvas: Canvas, image: int, x: float, y: float) -> None:
        canvas.image(as_colours(pixels[image]), x, y, breadth * scale, height * scale)

    return _Row("input", (_sides(pixels.shape[1:]),), max(height * scale, 0.3) + 0.14, draw)


def _same_row(name: str, kind: str) -> _Row:
    def draw(canvas: Canvas, image: int, x: float, y: float) -> None:
        canvas.text(x, y + 0.08, "the same as above", size=8, colour=MUTED)

    return _Row(clean(name, 16), (kind,), 0.36, draw)


def _layer_row(name: str, kind: str, outputs: NDArray[Any], width: float) -> _Row:
    """Return the row of outputs (N, C, H, W), (N, F) or of another shape."""
    notes = [
        f"{kind} {_sides(outputs.shape[1:])}",
        "{} to {}".format(*map(short, limits(outputs))),
    ]
    draw: Callable[[Canvas, int, float, float], None]
    if outputs.ndim == 4:
        shown, height, draw = _maps(outputs, width)
        whole = outputs.shape[1]
    else:
        flat = outputs.reshape(len(outputs), -1)
        shown, height, draw = (_bars if flat.shape[1] <= _BARS else _strip)(flat, width)
        whole = flat.shape[1]
    if shown < whole:
        notes.append(f"the first {shown} of {whole:,}")
    return _Row(clean(name, 16), tuple(notes), max(height, 0.14 * len(notes) + 0.2) + 0.12, draw)


Drawing = tuple[int, float, Callable[[Canvas, int, float, float], None]]
"""How many outputs are drawn, the height, and what draws those of an image at x, y."""


def _maps(outputs: NDArray[Any], width: float) -> Drawing:
    """Return the drawing of feature maps (N, C, H, W)."""
    channels, height, breadth = outputs.shape[1:]
    a_row = max(1, int(width / _LEAST_MAP))
    shown = min(channels, _MOST_MAP_ROWS * a_row)
    rows = -(-shown // a_row)
    columns = -(-shown // rows)
    side = min(width / columns, _GREATEST_MAP)
    tall = side * float(np.clip(height / breadth, 0.25, 2.5))
    colours = value_colours(outputs[:, :shown])

    def draw(canvas: Canvas, image: int, x: float, y: float) -> None:
        canvas.image(mosaic(colours[image], columns), x, y, columns * side, rows * tall)

    return shown, rows * tall, draw


def _strip(outputs: NDArray[Any], width: float) -> Drawing:
    """Return the drawing of features (N, F) as rows of coloured cells."""
    shown = min(outputs.shape[1], _STRIP * _STRIP_ROWS)
    rows = -(-shown // _STRIP)
    columns = -(-shown // rows)
    padded = np.full((len(outputs), rows * columns), np.nan)
    padded[:, :shown] = outputs[:, :shown]
    colours = value_colours(padded).reshape(len(outputs), rows, columns, 4)

    def draw(canvas: Canvas, image: int, x: float, y: float) -> None:
        canvas.image(colours[image], x, y, width, 0.12 * rows)

    return shown, 0.12 * rows, draw


_BAR_HEIGHT = 0.55


def _bars(outputs: NDArray[Any], width: float) -> Drawing:
    """Return the drawing of features (N, F) as bars, upwards from 0 or downwards."""
    low, high = limits(outputs)
    low, high = min(low, 0.0), max(high, 0.0)
    unit = _BAR_HEIGHT / ((high - low) or 1)
    step = min(width / outputs.shape[1], 0.45)

    def draw(canvas: Canvas, image: int, x: float, y: float) -> None:
        zero = y + high * unit
        for index, value in enumerate(np.nan_to_num(outputs[image].astype(float))):
            top = zero - max(min(value, high), 0) * unit
            size = abs(max(min(value, high), low)) * unit
            colour = SERIES[0] if value < 0 else SERIES[1]
            canvas.box(x + (index + 0.1) * step, top, 0.8 * step, size, colour)
        canvas.box(x, zero - 0.004, outputs.shape[1] * step, 0.008, MUTED)

    return outputs.shape[1], _BAR_HEIGHT, draw


_MOST_CLASSES = 10


def _class_row(model: Sequential, probabilities: NDArray[Any], width: float) -> _Row:
    """Return the row of the classes: up to 10 in their order, of more the most probable."""
    names = class_names(model.classes, probabilities.shape[1])
    count = min(len(names), _MOST_CLASSES)
    step = min(width / count, 0.56)
    letters = max(2, int(step / 0.07))
    greatest = 1.0 if model.has_probabilities else max(limits(probabilities)[1], 1e-9)

    def draw(canvas: Canvas, image: int, x: float, y: float) -> None:
        values = np.nan_to_num(probabilities[image].astype(float))
        order: Sequence[int] = range(len(names))
        if len(names) > count:
            order = np.argsort(-values, kind="stable")[:count].tolist()
        base = y + 0.16 + _BAR_HEIGHT
        for place, index in enumerate(order):
            best = index == values.argmax()
            size = _BAR_HEIGHT * min(max(values[index] / greatest, 0), 1)
            left = x + place * step
            colour = SERIES[0] if best else SERIES[4]
            canvas.box(left + 0.1 * step, base - size, 0.8 * step, size, colour)
            if best:
                text = percent(values[index]) if model.has_probabilities else short(values[index])
                canvas.text(left + step / 2, base - size - 0.08, text, size=7.5, ha="center")
            canvas.text(
                left + step / 2,
                base + 0.09,
                clean(names[index], letters),
                size=7.5,
                colour=INK if best else MUTED,
                ha="center",
            )
        canvas.box(x, base - 0.004, count * step, 0.008, MUTED)

    notes = (f"{len(names):,} classes",) if count == len(names) else (f"{count} of {len(names):,}",)
    title = "probabilities" if model.has_probabilities else "scores"
    return _Row(title, notes, _BAR_HEIGHT + 0.16 + 0.26, draw)


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(f"{side:,}" for side in shape)
