"""The outputs of all layers of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import DataError
from gpucnn.nn import Sequential
from gpucnn.nn.preprocessing import check_images
from gpucnn.plots.canvas import HEAD, MARGIN, Canvas, as_colours, limits, mosaic, value_colours
from gpucnn.plots.style import (
    INK,
    MUTED,
    SERIES,
    WIDTH,
    Plot,
    clean,
    percent,
    short,
    sides,
    style,
)

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
    maps, layers = list(model.feature_maps(pixels).items()), model.every_layer()
    for number, (name, outputs) in enumerate(maps[:_MOST_LAYERS]):
        kind = type(layers[name]).__name__
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

    return _Row("input", (sides(pixels.shape[1:]),), max(height * scale, 0.3) + 0.14, draw)


def _same_row(name: str, kind: str) -> _Row:
    def draw(canvas: Canvas, image: int, x: float, y: float) -> None:
        canvas.text(x, y + 0.08, "the same as above", size=8, colour=MUTED)

    return _Row(clean(name, 16), (kind,), 0.36, draw)


def _layer_row(name: str, kind: str, outputs: NDArray[Any], width: float) -> _Row:
    """Return the row of outputs (N, C, H, W), (N, F) or of another shape."""
    notes = [
        f"{kind} {sides(outputs.shape[1:])}",
        "{} to {}".format(*map(short, limits(outputs))),
    ]
    draw: Callable[[Canvas, int, float, float], None]
    if outputs.ndim == 4:
        shown, height, draw = _maps(outputs, width)
        count = outputs.shape[1]
    else:
        flat = outputs.reshape(len(outputs), -1)
        shown, height, draw = (_bars if flat.shape[1] <= _BARS else _strip)(flat, width)
        count = flat.shape[1]
    if shown < count:
        notes.append(f"the first {shown} of {count:,}")
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
    names = model.output_names
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
