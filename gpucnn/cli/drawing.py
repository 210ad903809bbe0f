"""Images drawn with characters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from gpucnn.cli.console import is_fancy

SHADES = " .:-=+*#%@"
"""Characters from dark to bright."""

_SIDE = 28  # of the drawings of larger images, in pixels
_GAP = 2  # characters between two drawings
_TWO_DRAWINGS = 60  # columns from which two drawings fit next to each other
_MOST_COLUMNS = 160  # of the two


def draw(console: Console, pixels: NDArray[np.uint8]) -> None:
    """Draw an image (C, H, W), with colours where the console supports them, else in ASCII."""
    for line in _lines(pixels, is_fancy(console)):
        line.rstrip()
        console.print(line)


def draw_stages(console: Console, stages: Mapping[str, NDArray[Any]]) -> None:
    """Draw images (H, W), from 0 to 1, next to each other as far as they fit, with their names."""
    draw_row(console, {name: _reduce(image)[None] for name, image in stages.items()})


def draw_row(console: Console, images: Mapping[str, NDArray[np.uint8]]) -> None:
    """Draw images (C, H, W) next to each other as far as they fit, with their names."""
    fancy = is_fancy(console)
    drawings = []
    for name, image in images.items():
        lines = _lines(image, fancy)
        width = max(len(name), *(line.cell_len for line in lines))
        drawings.append((width, [Text(name, style="bold" if fancy else ""), *lines]))
    while drawings:
        row: list[tuple[int, list[Text]]] = []
        used = 0
        while drawings and (not row or used + drawings[0][0] <= console.width):
            row.append(drawings.pop(0))
            used += row[-1][0] + _GAP
        for number in range(max(len(lines) for _, lines in row)):
            line = Text()
            for width, lines in row:
                cell = lines[number].copy() if number < len(lines) else Text()
                cell.pad_right(width - cell.cell_len + _GAP)
                line.append_text(cell)
            line.rstrip()
            console.print(line)


def _reduce(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image of at most 28 pixels a side, as uint8: the means of blocks of pixels."""
    factor = -(-max(image.shape) // _SIDE)
    padded = np.pad(image, [(0, -side % factor) for side in image.shape], mode="edge")
    rows, columns = (side // factor for side in padded.shape)
    means = padded.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    reduced: NDArray[np.uint8] = np.rint(means * 255).clip(0, 255).astype(np.uint8)
    return reduced


def fitted(console: Console, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (C, H, W) reduced so that its drawing is not wider than half the console.

    On a narrow console it may fill the width. Files and pipes count as 160 columns.
    """
    import PIL.Image

    columns = min(console.width, _MOST_COLUMNS)
    columns = (columns - _GAP) // 2 if columns >= _TWO_DRAWINGS else columns
    pixels = columns if is_fancy(console) else columns // 2  # a pixel is two characters in ASCII
    factor = max(image.shape[2] / pixels, image.shape[1] / (2 * pixels))
    if factor <= 1:
        return image
    size = max(1, int(image.shape[2] / factor)), max(1, int(image.shape[1] / factor))
    planes = [PIL.Image.fromarray(np.ascontiguousarray(plane)) for plane in image]
    box = PIL.Image.Resampling.BOX
    return np.stack([np.asarray(plane.resize(size, box)) for plane in planes])


def _lines(pixels: NDArray[np.uint8], fancy: bool) -> list[Text]:
    """Return the lines of a drawing of an image (C, H, W)."""
    rgb = np.broadcast_to(pixels, (3, *pixels.shape[1:])) if len(pixels) == 1 else pixels
    if not fancy:
        shade = (rgb.mean(0) * (len(SHADES) - 1) / 255).round().astype(int)
        return [Text("".join(2 * SHADES[level] for level in row)) for row in shade]
    if rgb.shape[1] % 2:
        rgb = np.pad(rgb, ((0, 0), (0, 1), (0, 0)))
    lines = []
    for upper, lower in zip(
        rgb[:, 0::2].T.swapaxes(0, 1), rgb[:, 1::2].T.swapaxes(0, 1), strict=True
    ):
        line = Text()
        for top, bottom in zip(upper, lower, strict=True):
            colours = ["#" + "".join(f"{value:02x}" for value in pixel) for pixel in (top, bottom)]
            line.append("▀", style=f"{colours[0]} on {colours[1]}")
        lines.append(line)
    return lines
