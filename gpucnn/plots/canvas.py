"""Images and text placed in inches: what grids of images are drawn on."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray

from gpucnn.errors import DataError
from gpucnn.plots.style import INK, MUTED, WIDTH, Plot

MARGIN = 0.12
"""Inches of space around everything."""

NOTE = 0.34
"""Inches above the note."""

HEAD = 0.62
"""Inches that the title and the note of a canvas take."""

_DENSE = 150
"""Pixels per inch above which an image is drawn with fewer pixels than it has."""


class Canvas:
    """A figure with one pair of axes that cover it: x to the right and y down, in inches."""

    def __init__(self, height: float, title: str, note: str = "", width: float = WIDTH) -> None:
        self.figure = Plot(figsize=(width, height), facecolor="white")
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1), frame_on=False)
        self.axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
        self._drawn = 0
        title_text = self.text(MARGIN, 0.12, title, size=11, weight="bold", va="top")
        self.figure.heading = title_text, NOTE - 0.06
        if note:
            self.text(MARGIN, NOTE, note, size=9, colour=MUTED, va="top")
        self.width, self.height = width, height

    def image(
        self, array: NDArray[Any], x: float, y: float, width: float, height: float
    ) -> AxesImage:
        """Draw an array of colours (H, W, 3 or 4) with its upper left corner at (x, y)."""
        dense = max(array.shape[0] / height, array.shape[1] / width) > _DENSE
        image = show(self.axes, array, (x, x + width, y + height, y), dense)
        image.set_zorder(self._above())
        return image

    def fit(
        self, array: NDArray[Any], x: float, y: float, width: float, height: float
    ) -> AxesImage:
        """Draw an array of colours as large as it fits into a rectangle, in its middle."""
        rows, columns = array.shape[:2]
        scale = min(width / columns, height / rows)
        w, h = columns * scale, rows * scale
        return self.image(array, x + (width - w) / 2, y + (height - h) / 2, w, h)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 8.5,
        colour: str = INK,
        weight: str = "normal",
        ha: Any = "left",
        va: Any = "center",
    ) -> Text:
        """Write text at (x, y)."""
        return self.axes.text(
            x, y, text, fontsize=size, color=colour, fontweight=weight, ha=ha, va=va
        )

    def box(
        self, x: float, y: float, width: float, height: float, colour: str, **options: Any
    ) -> Rectangle:
        """Draw a filled rectangle with its upper left corner at (x, y)."""
        options = {"linewidth": 0, "zorder": self._above()} | options
        patch = Rectangle((x, y), width, height, facecolor=colour, **options)
        self.axes.add_patch(patch)
        return patch

    def _above(self) -> float:
        """Return the place of what is drawn next in Matplotlib's order: above all before it."""
        self._drawn += 1
        return 1 + self._drawn / 10_000  # texts have 3


def show(
    axes: Axes,
    array: NDArray[Any],
    extent: tuple[float, float, float, float] | None = None,
    dense: bool = False,
) -> AxesImage:
    """Draw an array of colours (H, W, 3 or 4), each element a rectangle with sharp edges.

    A ``dense`` one has more pixels than can be seen, and is drawn with fewer.
    """
    limits = axes.get_xlim(), axes.get_ylim()
    interpolation = "antialiased" if dense else "none"
    image = axes.imshow(
        array, extent=extent, interpolation=interpolation, aspect="auto", origin="upper"
    )
    if extent is not None:
        axes.set(xlim=limits[0], ylim=limits[1])
    return image


def as_colours(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image uint8 (C, H, W) or (H, W) as colours (H, W, 3).

    Three channels are red, green and blue; of other numbers the mean is shown as grey. Raises
    DataError for other arrays.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise DataError(
            f"an image must be uint8 of shape (C, H, W) or (H, W), got {image.dtype} of shape "
            f"{image.shape}"
        )
    planes = image.reshape(-1, *image.shape[-2:])
    if len(planes) != 3:
        planes = np.repeat(np.rint(planes.mean(0, keepdims=True)).astype(np.uint8), 3, 0)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def signed_colours(values: NDArray[Any], scale: float) -> NDArray[np.uint8]:
    """Return (..., 4) colours: blue for negative values, white for 0, red for positive ones.

    ``scale`` is the value of full red. NaN is transparent.
    """
    return colour_map("RdBu_r", values / (2 * (scale or 1)) + 0.5)


def positive_colours(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return (..., 4) colours from dark violet for ``low`` to yellow for ``high``."""
    return colour_map("viridis", (values - low) / ((high - low) or 1))


def value_colours(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the colours of a layer's outputs: signed ones if there are negative values."""
    low, high = limits(values)
    if low < 0:
        return signed_colours(values, max(-low, high))
    return positive_colours(values, 0, high)


def limits(values: NDArray[Any]) -> tuple[float, float]:
    """Return the least and the greatest finite value, 0 and 0 if there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def mosaic(planes: NDArray[np.uint8], columns: int, gap: int = 1) -> NDArray[np.uint8]:
    """Return planes (N, H, W, 4) as one image, ``columns`` a row, with narrow transparent gaps.

    Small planes are enlarged, each pixel to a square, so that ``gap`` pixels are narrow.
    """
    enlarge = max(1, -(-_LEAST_SIDE // max(planes.shape[1:3])))
    planes = planes.repeat(enlarge, 1).repeat(enlarge, 2)
    count, height, width = planes.shape[:3]
    columns = min(columns, count)
    rows, gap = -(-count // columns), gap * max(1, width // _LEAST_SIDE)
    result = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    for index, plane in enumerate(planes):
        y, x = (index // columns) * (height + gap), (index % columns) * (width + gap)
        result[y : y + height, x : x + width] = plane
    return result


_LEAST_SIDE = 20
"""Pixels of the longer side of a plane of a mosaic, at least."""


def colour_map(name: str, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the colours (..., 4) of a colour map of Matplotlib for values from 0 to 1."""
    from matplotlib import colormaps

    colours = colormaps[name](np.ma.masked_invalid(np.clip(values, 0, 1)), bytes=True)
    return np.asarray(colours, np.uint8)
