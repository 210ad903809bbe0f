"""A grid of images with two lines of text under each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.config import check_integer
from gpucnn.data import Split
from gpucnn.data.lazy import LazyImages
from gpucnn.errors import DataError, SettingError
from gpucnn.plots.canvas import HEAD, MARGIN, Canvas, as_colours
from gpucnn.plots.style import BAD, MUTED, SMALL, WIDTH, Plot

MOST_IMAGES = 240
"""Images that fit into a file of Matplotlib, of at most 65,535 pixels a side."""

SHORT = 4
"""Letters of a name that fit under an image of six in a row; with longer ones, it is four."""

LETTERS = {6: SHORT, 4: 12}
"""Letters of a name, by the number of images in a row."""


def pixels_of(images: Any, count: int, name: str) -> NDArray[Any] | LazyImages:
    """Return the images of an evaluation of ``count`` of them; DataError for others."""
    pixels = images.images if isinstance(images, Split) else images
    if not isinstance(pixels, LazyImages):
        pixels = np.asarray(pixels)
    if pixels.ndim not in (3, 4) or len(pixels) != count:
        raise DataError(
            f"{name} needs the {count} images of the evaluation, got an array of shape "
            f"{pixels.shape}"
        )
    return pixels


def checked_count(count: int) -> int:
    """Return how many images to draw at most; SettingError for others than 1 to 240."""
    if (count := check_integer("count", count, 1)) > MOST_IMAGES:
        raise SettingError(f"count is {count}, expected at most {MOST_IMAGES} images")
    return count


def image_grid(
    pixels: NDArray[Any] | LazyImages,
    order: NDArray[Any],
    captions: Callable[[int], tuple[str, str]],
    columns: int,
    title: str,
    note: str,
    empty: str = "",
) -> Plot:
    """Draw the images with the indices ``order``, ``columns`` in a row.

    ``captions`` returns what the network answered, which is drawn bold, and what is true.
    """
    width = (WIDTH - MARGIN) / columns - MARGIN
    height = width * float(np.clip(pixels.shape[-2] / pixels.shape[-1], 0.3, 2.5))
    step = height + 0.48
    canvas = Canvas(HEAD + max(-(-len(order) // columns) * step - 0.04, 0.4), title, note)
    if not len(order):
        canvas.text(MARGIN, HEAD + 0.1, empty, size=10)
    for place, index in enumerate(order):
        x = MARGIN + place % columns * (width + MARGIN)
        y = HEAD + place // columns * step
        canvas.fit(as_colours(pixels[index]), x, y, width, height)
        for line, text in enumerate(captions(int(index))):
            canvas.text(
                x,
                y + height + 0.12 + 0.15 * line,
                text,
                size=SMALL,
                colour=MUTED if line else BAD,
                weight="normal" if line else "bold",
            )
    return canvas.figure
