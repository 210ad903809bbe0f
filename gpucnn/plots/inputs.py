"""The parts of an image that an output depends on: receptive fields and saliency."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import DataError
from gpucnn.nn import Sequential
from gpucnn.nn import receptive_field as field_of
from gpucnn.nn.saliency import Classes, gradient_saliency, occlusion_saliency
from gpucnn.plots.canvas import HEAD, MARGIN, Canvas, as_colours, colour_map, limits, value_colours
from gpucnn.plots.layers import as_batch
from gpucnn.plots.style import (
    GRID,
    INK,
    MUTED,
    SERIES,
    SMALL,
    WIDTH,
    Plot,
    clean,
    percent,
    short,
    style,
)

_PANEL = (WIDTH - MARGIN) / 3 - MARGIN
"""Inches of one of three images next to each other."""

_HEADING = 0.24
"""Inches of the text above an image."""


def receptive_field(
    model: Sequential, layer: str, row: int, column: int = 0, image: Any = None
) -> Plot:
    """Draw the part of an image that a unit of a layer depends on.

    Three images: the input with the field as a box, which may reach outside it into the padding;
    the layer's output in the channel with the strongest response, with the unit; and the part of
    the image in the field.

    Args:
        model: the network, with normalization.
        layer: the name of a layer.
        row: the row of the unit; of a layer of features (F,), the feature.
        column: the column of the unit.
        image: uint8 (C, H, W) or (H, W); a grey one if None.

    Returns:
        A figure with one pair of axes.

    Raises:
        SettingError: there is no such layer or unit, or the model has no normalization.
        DataError: the image is not uint8 of the model's input shape, or more than one.

    Example:
        >>> model = gpucnn.models.lenet5(seed=0)
        >>> model.normalization = ((0.1,), (0.3,))
        >>> figure = gpucnn.plots.receptive_field(model, "conv2", 4, 5)
        >>> figure.axes[0].texts[1].get_text()
        'it depends on 14x14 pixels: rows 6 to 19, columns 8 to 21'
    """
    box = field_of(model, layer, row, column)
    if image is None:
        image = np.full(model.input_shape, 128, np.uint8)
    pixels = as_batch(model, image)
    if len(pixels) > 1:
        raise DataError(f"receptive_field draws one image, got {len(pixels)}")
    outputs = model.feature_maps(pixels)[layer][0]
    place = f"row {row}, column {column}" if outputs.ndim == 3 else f"feature {row}"
    title = f"Receptive field of {clean(layer)}, {place}"
    top, left, bottom, right = box
    note = f"it depends on {bottom - top}x{right - left} pixels: rows {top} to {bottom - 1}, "
    note += f"columns {left} to {right - 1}"
    height, width = model.input_shape[1:]
    if min(top, left) < 0 or bottom > height or right > width:
        note += f" (the image has {height}x{width}; around it is padding)"
    if bottom <= top or right <= left:
        note = "it depends on no pixel"
    with style():
        canvas = Canvas(HEAD + _HEADING + _PANEL + MARGIN, title, note.replace("-", "\u2212"))
        _draw_field(canvas, as_colours(pixels[0]), box)
        _draw_unit(canvas, outputs, row, column)
        _draw_part(canvas, as_colours(pixels[0]), box)
        return canvas.figure


def _heading(canvas: Canvas, place: int, text: str, y: float = HEAD) -> tuple[float, float]:
    """Write the text above an image, and return the image's upper left corner."""
    x = MARGIN + place * (_PANEL + MARGIN)
    canvas.text(x, y + 0.1, text, size=SMALL, colour=INK)
    return x, y + _HEADING


def _draw_field(canvas: Canvas, image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> None:
    """Draw the input, as much around it as the field reaches, and the field's box."""
    x, y = _heading(canvas, 0, "input")
    height, width = image.shape[:2]
    # A field may be much larger than the image.
    first_y, first_x = max(min(0, box[0]), -height), max(min(0, box[1]), -width)
    last_y, last_x = min(max(height, box[2]), 2 * height), min(max(width, box[3]), 2 * width)
    unit = min(_PANEL / (last_x - first_x), _PANEL / (last_y - first_y))
    if last_y - first_y > height or last_x - first_x > width:
        canvas.box(x, y, (last_x - first_x) * unit, (last_y - first_y) * unit, GRID)
    canvas.image(image, x - first_x * unit, y - first_y * unit, width * unit, height * unit)
    top, left = max(box[0], first_y), max(box[1], first_x)
    bottom, right = min(box[2], last_y), min(box[3], last_x)
    if bottom > top and right > left:
        _mark(canvas, x + (left - first_x) * unit, y + (top - first_y) * unit,
              (right - left) * unit, (bottom - top) * unit)  # fmt: skip


def _mark(canvas: Canvas, x: float, y: float, width: float, height: float) -> None:
    canvas.box(x, y, width, height, "none", edgecolor=SERIES[1], linewidth=2.2)


def _draw_unit(canvas: Canvas, outputs: NDArray[Any], row: int, column: int) -> None:
    """Draw the channel (or of features the strip) in which the unit is, and mark it."""
    if outputs.ndim == 3:
        responses = np.nan_to_num(np.abs(outputs[:, row, column]), nan=-1)
        channel = int(responses.argmax())
        plane, value = outputs[channel], outputs[channel, row, column]
        text = f"channel {channel} of {len(outputs):,}; the unit is {short(value)}"
    else:
        flat = outputs.reshape(-1)
        side = int(np.ceil(np.sqrt(flat.size)))
        plane = np.full(side * -(-flat.size // side), np.nan)
        plane[: flat.size] = flat
        plane = plane.reshape(-1, side)
        text = f"{flat.size:,} features; number {row} is {short(flat[row])}"
        row, column = divmod(row, side)
    x, y = _heading(canvas, 1, text)
    height, width = plane.shape
    unit = min(_PANEL / width, _PANEL / height)
    canvas.image(value_colours(plane), x, y, width * unit, height * unit)
    _mark(canvas, x + column * unit, y + row * unit, unit, unit)


def _draw_part(canvas: Canvas, image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> None:
    """Draw the part of the image in the field; grey where it is outside the image."""
    x, y = _heading(canvas, 2, "in the receptive field")
    top, left, bottom, right = box
    inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if not inside.size:
        canvas.text(x, y + 0.1, "only padding", size=SMALL, colour=MUTED)
        return
    unit = min(_PANEL / (right - left), _PANEL / (bottom - top))
    if inside.shape[:2] != (bottom - top, right - left):
        canvas.box(x, y, (right - left) * unit, (bottom - top) * unit, GRID)
    x, y = x + max(-left, 0) * unit, y + max(-top, 0) * unit
    canvas.image(inside, x, y, inside.shape[1] * unit, inside.shape[0] * unit)


# --- saliency -----------------------------------------------------------------------------------

_MOST_IMAGES = 6


def saliency(
    model: Sequential,
    images: Any,
    classes: Classes = None,
    *,
    size: int | None = None,
    stride: int | None = None,
) -> Plot:
    """Draw which pixels of an image a class depends on, found in two ways.

    Each row is an image: the image, its gradient saliency (bright where a small change of the pixel
    changes the score most), and its occlusion saliency (red where covering the image lowers the
    probability, blue where it raises it), both over the image in grey.

    Args:
        model: the network, with normalization.
        images: uint8 (C, H, W), (H, W), or up to 6 of them, (N, C, H, W).
        classes: the class, or one for each image; the predicted ones if None.
        size: pixels of a side of the covering square, as for ``nn.occlusion_saliency``.
        stride: pixels that it moves.

    Returns:
        A figure with one pair of axes.

    Raises:
        DataError: the images are not uint8 of the model's input shape, or more than 6.
        SettingError: as ``nn.gradient_saliency`` and ``nn.occlusion_saliency`` raise it.
    """
    pixels = as_batch(model, images)
    if len(pixels) > _MOST_IMAGES:
        raise DataError(f"saliency draws up to {_MOST_IMAGES} images, got {len(pixels)}")
    probabilities = model.predict(pixels)
    gradients = gradient_saliency(model, pixels, classes)
    falls = occlusion_saliency(model, pixels, classes, size=size, stride=stride)
    chosen = probabilities.argmax(1) if classes is None else np.broadcast_to(classes, len(pixels))
    names = model.output_names
    tall = _PANEL * float(np.clip(pixels.shape[2] / pixels.shape[3], 0.3, 1.6))
    step = _HEADING + tall + MARGIN
    note = "gradient: how much a pixel changes the score; covering: red lowers, blue raises it"
    with style():
        canvas = Canvas(HEAD + len(pixels) * step, "Saliency", note)
        for k, image in enumerate(pixels):
            value = float(probabilities[k, chosen[k]])
            likely = percent(value) if model.has_probabilities else short(value)
            low, high = limits(falls[k])
            panels = (
                (f"{clean(names[chosen[k]], 18)}: {likely}", as_colours(image)),
                ("gradient", _glowing(image, gradients[k])),
                (f"covering: {_change(-high)} to {_change(-low)}", _tinted(image, falls[k])),
            )
            for place, (text, colours) in enumerate(panels):
                x, y = _heading(canvas, place, text, HEAD + k * step)
                canvas.fit(colours, x, y, _PANEL, tall)
        return canvas.figure


def _change(value: float) -> str:
    """Return a change of a probability with its sign."""
    return f"{value:+.2g}".replace("-", "\u2212") if abs(value) >= 1e-4 else "0"


def _faint(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return an image as weak greys (H, W, 3), on which colours are visible."""
    grey = as_colours(image).mean(2, keepdims=True)
    return np.asarray(70 + 0.35 * grey + np.zeros(3))


def _glowing(image: NDArray[np.uint8], values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) with values of at least 0 over it, from red to yellow."""
    values = np.nan_to_num(values)
    parts = np.clip(values / (np.quantile(values, 0.995) or values.max() or 1), 0, 1)
    return _blend(_faint(image), colour_map("inferno", 0.35 + 0.65 * parts), parts)


def _tinted(image: NDArray[np.uint8], values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) with values over it: red above 0, blue below."""
    values = np.nan_to_num(values)
    parts = values / (np.abs(values).max() or 1)
    colours = np.where(parts[..., None] > 0, (214, 40, 40), (52, 140, 235))
    return _blend(_faint(image), colours, np.abs(parts))


def _blend(
    image: NDArray[np.float64], colours: NDArray[Any], opacity: NDArray[Any]
) -> NDArray[np.uint8]:
    mixed = (1 - opacity[..., None]) * image + opacity[..., None] * colours[..., :3]
    return np.asarray(np.rint(mixed), np.uint8)
