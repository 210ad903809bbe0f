"""Types and small functions that the steps of the digit preparation share."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucnn.config import import_extra
from gpucnn.data.types import Bytes
from gpucnn.errors import DataError

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice]

SEARCH_SIDE = 240
"""Longer side of the image that is searched: fine enough for a digit of 20 pixels, and fast."""

MIN_CONTRAST = 8
"""A smaller difference from the background, of 255 levels, is not a stroke."""

FAINT = 0.05
"""Fainter edges of strokes neither extend the bounding box nor connect two components."""

SQUARE = np.ones((3, 3), dtype=np.bool_)
"""A pixel and its eight neighbours."""


@cache
def ndimage() -> ModuleType:
    """Return ``scipy.ndimage``; SettingError if SciPy is not installed."""
    return import_extra("scipy.ndimage", "SciPy", "finding digits", "images")


def label(mask: Mask) -> tuple[npt.NDArray[np.int32], int]:
    """Return the number of each pixel's component (8 neighbours), and the number of components."""
    labels, count = ndimage().label(mask, SQUARE)
    return labels, int(count)


def peak(contrast: Floats) -> float:
    """Return the greatest contrast; DataError if nothing stands out."""
    greatest = float(contrast.max())
    if greatest < MIN_CONTRAST:
        raise DataError("no digit found: the image is uniform")
    return greatest


def otsu(values: Floats) -> float:
    """Return the threshold of greatest variance between the two classes (Otsu, 1979)."""
    low, top = float(values.min()), float(values.max())
    counts = np.histogram(values, bins=256, range=(low, top))[0].astype(np.float64)
    levels = np.arange(256) + 0.5
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * levels)
    above = values.size - below
    # An empty class counts as no variance.
    apart = sums[:-1] * values.size - sums[-1] * below
    variance = np.divide(apart**2, below * above, out=np.zeros(255), where=below * above > 0)
    return low + float(np.argmax(variance) + 1) * (top - low) / 256


def border_pixels(array: npt.NDArray[Any], thick: int) -> npt.NDArray[Any]:
    """Return the pixels within ``thick`` pixels of the image's border."""
    mask = np.ones(array.shape[:2], dtype=np.bool_)
    mask[thick:-thick, thick:-thick] = False
    return array[mask]


def bounding_box(mask: Mask) -> Box:
    """Return the rows and columns that a mask occupies."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def downsampling(grey: Bytes) -> int:
    """Return the factor by which an image is downsampled for the search."""
    return -(-int(max(grey.shape)) // SEARCH_SIDE)


def downsample(grey: Bytes) -> Floats:
    """Return the means of squares of pixels; the longer side is at most SEARCH_SIDE."""
    factor = downsampling(grey)
    padding = [(0, -side % factor) for side in grey.shape]
    rows, columns = (-(-side // factor) for side in grey.shape)
    padded = np.pad(grey, padding, mode="edge").reshape(rows, factor, columns * factor)
    sums = padded.sum(axis=1, dtype=np.uint32).reshape(rows, columns, factor).sum(axis=2)
    means: Floats = (sums / factor**2).astype(np.float32)
    return means
