"""Locate the strokes of a digit in a grey image: the NumPy part of ``images.as_digit``.

The steps: estimate the background (paper with its shadows, or a screen) and subtract it; scale
what stands out to 0 to 1; drop specks, and edges that enter from outside the image; crop to the
bounding box; thicken thin strokes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucnn.data.dataset import Bytes
from gpucnn.errors import DataError

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice]

# Longer side of the image that is searched: fine enough for a digit of 20 pixels, and fast.
_SEARCH_SIDE = 240
# A smaller difference from the background, of 255 levels, is not a stroke.
_MIN_CONTRAST = 8
# The background is a screen's if a greater fraction of the border has one exact level.
_UNIFORM = 0.9
# From this fraction on, that level alone shows whether the strokes are darker or lighter.
_MOSTLY_UNIFORM = 0.5
# Width of MNIST's thinnest strokes, as a fraction of the digit's longer side.
_MIN_STROKE = 1 / 12
# A connected component with less than this fraction of the greatest one's mass is a speck.
_SPECK = 0.03
# Fainter edges of strokes neither extend the bounding box nor connect two components.
_FAINT = 0.05


def find_strokes(grey: Bytes) -> Floats:
    """Return the strokes in an image, cropped to their bounding box.

    Args:
        grey: uint8 (H, W), dark strokes on light or light strokes on dark.

    Returns:
        float32 (h, w), 0 for the background and 1 for full strokes, with strokes in the first and
        last row and column; downsampled if they are larger than about 240 pixels.

    Raises:
        DataError: no digit is found.
    """
    small = _downsample(grey)
    light = _is_light(small)
    strokes = _subtract_background(small, light)
    if max(grey.shape) > _SEARCH_SIDE:
        # Again at a higher resolution: the digit may be a small part of the image.
        close_up = grey[_enlarge(_bounding_box(strokes), _downsampling(grey))]
        strokes = _subtract_background(_downsample(close_up), light)
    return _thicken(strokes[_bounding_box(strokes)])


def _subtract_background(grey: Floats, light: bool) -> Floats:
    """Return the strokes of an image, from 0 to 1, without specks; ``light`` is its background."""
    bright = 255 - grey if light else grey
    border = _border_pixels(bright, 1)
    level = np.median(border)
    if np.mean(border == level) > _UNIFORM:
        return _on_uniform_background(np.maximum(bright - level, 0))
    background = _open(_blur(bright))
    # Paper reflects a fraction of the light that falls on it, and ink a smaller fraction.
    gain = 255 / np.maximum(255 - background, 32) if light else 1
    return _on_paper(np.maximum(bright - background, 0) * gain)


def _on_uniform_background(contrast: Floats) -> Floats:
    """Return the strokes of a drawing on a screen, or of MNIST: its grey levels are exact."""
    strokes = (contrast / _peak(contrast)).astype(np.float32)
    solid = np.where(strokes > _FAINT, strokes, np.float32(0))
    kept = _select_components(solid, strokes > 0.5, photo=False)
    # The faint edges next to a component belong to it.
    return np.where(_slide(kept, 1, np.maximum), strokes, np.float32(0))


def _on_paper(contrast: Floats) -> Floats:
    """Return the strokes of a photo or a scan: what exceeds the noise of the paper."""
    threshold = _otsu(contrast)
    full = np.median(contrast[contrast > threshold])
    paper = contrast[contrast <= threshold]
    noise = 1.5 * np.median(np.abs(paper - np.median(paper)))
    least = max(0.3 * full, np.median(paper) + 4 * noise)
    if full < _MIN_CONTRAST or least > 0.8 * full:
        raise DataError("no digit found: no strokes stand out from the background")
    strokes = np.clip((contrast - least) / (full - least), 0, 1).astype(np.float32)
    kept = _select_components(strokes, contrast > threshold, photo=True)
    return np.where(kept, strokes, np.float32(0))


def _peak(contrast: Floats) -> float:
    peak = float(contrast.max())
    if peak < _MIN_CONTRAST:
        raise DataError("no digit found: the image is uniform")
    return peak


def _is_light(grey: Floats) -> bool:
    """Return whether the background, as seen at the border, is lighter than the strokes."""
    border = _border_pixels(grey, 1)
    level = np.median(border)
    if np.mean(border == level) > _MOSTLY_UNIFORM:
        return bool(2 * level > grey.min() + grey.max())
    # A photo: the background is a smooth surface fitted to the border, so that it follows uneven
    # light. Residuals as large as the border's own (a shadow's edge) are ignored; larger ones are
    # strokes. The high power lets a few pixels of strokes outweigh a large faint shadow.
    residual = (_blur(grey) - _fit_surface(grey)).astype(np.float64) / 255
    low, high = np.percentile(_border_pixels(residual, _border_width(grey)), (10, 90))
    darker, lighter = np.maximum(low - residual, 0), np.maximum(residual - high, 0)
    return bool(np.sum(darker**8) > np.sum(lighter**8))


def _fit_surface(grey: Floats) -> Floats:
    """Return the quadratic surface that fits the border best, as float32 (H, W)."""
    height, width = grey.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    thick = _border_width(grey)
    border, at = _border_pixels(grey, thick), _border_pixels(terms, thick)
    weight = np.ones(len(border), dtype=np.float32)
    for _ in range(3):
        # Least squares, then again without outliers, which are strokes at the border.
        weighted = at.T * weight
        coefficients = np.linalg.lstsq(weighted @ at, weighted @ border, rcond=None)[0]
        error = np.abs(border - at @ coefficients)
        weight = (error <= 3 * np.median(error) + 2).astype(np.float32)
    surface: Floats = terms @ coefficients
    return surface


def _border_width(grey: Floats) -> int:
    """Return the width in pixels of the border that shows the background."""
    return 1 + int(max(grey.shape)) // 60


def _select_components(strokes: Floats, core: Mask, photo: bool) -> Mask:
    """Return the mask of the connected components that belong to the digit.

    A component is kept if it contains a ``core`` pixel and is not a speck. In a photo, one that
    touches the border (the edge of a table or a shadow) is dropped if others are left.
    """
    labels = _label(strokes > 0)
    mass = np.bincount(labels.ravel(), weights=strokes.ravel())
    keep = np.zeros(len(mass), dtype=np.bool_)
    keep[labels[core]] = True
    keep[0] = False
    if photo:
        inside = keep.copy()
        inside[_border_pixels(labels, 1)] = False
        if mass[inside].max(initial=0) > 0.1 * mass[keep].max(initial=0):
            keep = inside
    keep &= mass >= _SPECK * mass[keep].max(initial=0)
    if not keep.any():
        raise DataError("no digit found: there are only specks")
    return keep[labels]


def _label(mask: Mask) -> npt.NDArray[np.intp]:
    """Return the number of each pixel's connected component (8 neighbours), 0 outside the mask."""
    height, width = mask.shape
    labels = np.zeros((height + 2, width + 2), dtype=np.intp)
    labels[1:-1, 1:-1] = mask
    labels *= np.arange(labels.size).reshape(labels.shape)
    while True:
        # Each pixel takes the greatest label of its neighbours, then the label of that pixel.
        wide = np.maximum(np.maximum(labels[:, :-2], labels[:, 1:-1]), labels[:, 2:])
        best = np.maximum(np.maximum(wide[:-2], wide[1:-1]), wide[2:])
        new = np.zeros_like(labels)
        new[1:-1, 1:-1] = np.where(mask, best, 0)
        new = np.maximum(new, new.ravel()[new])
        if np.array_equal(new, labels):
            break
        labels = new
    # Consecutive numbers. The padding is 0, so 0 stays the outside even if the mask is full.
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)[1:-1, 1:-1]


def _otsu(contrast: Floats) -> float:
    """Return the threshold of greatest variance between the two classes (Otsu, 1979)."""
    top = _peak(contrast)
    counts = np.histogram(contrast, bins=256, range=(0, top))[0].astype(np.float64)
    levels = (np.arange(256) + 0.5) * (top / 256)
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * levels)
    above = contrast.size - below
    # An empty class counts as no variance.
    apart = sums[:-1] * contrast.size - sums[-1] * below
    variance = np.divide(apart**2, below * above, out=np.zeros(255), where=below * above > 0)
    return float((np.argmax(variance) + 1) * top / 256)


def _open(bright: Floats) -> Floats:
    """Return the morphological opening: without what is brighter and narrower than a third."""
    reach = max(bright.shape) // 6 + 1
    # As if the background continued outside: else a slope would lose its upper end.
    padded = np.pad(bright, reach, mode="edge")
    opened: Floats = _slide(_slide(padded, reach, np.minimum), reach, np.maximum)
    return opened[reach:-reach, reach:-reach]


def _slide(array: npt.NDArray[Any], reach: int, extreme: np.ufunc) -> npt.NDArray[Any]:
    """Return the minimum or maximum within ``reach`` rows and columns of each pixel."""
    array = np.pad(array, reach, mode="edge")
    width = 1
    while width < 2 * reach + 1:
        # Two windows of this width, shifted by up to as much, cover up to twice the width.
        step = min(width, 2 * reach + 1 - width)
        array = extreme(array[step:], array[:-step])
        array = extreme(array[:, step:], array[:, :-step])
        width += step
    return array


def _blur(array: Floats) -> Floats:
    """Return the mean of 3 x 3 pixels, so that a minimum is not the darkest noise."""
    padded = np.pad(array, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    sums: Floats = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return sums / np.float32(9)


def _thicken(strokes: Floats) -> Floats:
    """Return strokes at least as wide as MNIST's: 1/12 of their longer side."""
    mask = np.pad(strokes > 0.5, 1)
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    edges = int(across.sum()) + int(down.sum())
    # The width is twice the area / the perimeter; slanting edges have more pixel edges, by 4/pi.
    width = 2 * int(mask.sum()) / (max(edges, 1) * math.pi / 4)
    reach = int((_MIN_STROKE * max(strokes.shape) - width) / 2)
    if reach < 1:
        return strokes
    return _slide(np.pad(strokes, reach), reach, np.maximum)


def _border_pixels(array: npt.NDArray[Any], thick: int) -> npt.NDArray[Any]:
    """Return the pixels within ``thick`` pixels of the image's border."""
    mask = np.ones(array.shape[:2], dtype=np.bool_)
    mask[thick:-thick, thick:-thick] = False
    return array[mask]


def _bounding_box(strokes: Floats) -> Box:
    """Return the rows and columns of the strokes, without their faint edges."""
    rows, columns = (np.flatnonzero((strokes > _FAINT).any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _enlarge(box: Box, factor: int) -> Box:
    """Return a box of the downsampled image as one of the image, with a margin of background."""
    margin = 2 + max(side.stop - side.start for side in box) // 5
    rows, columns = (
        slice(max(0, side.start - margin) * factor, (side.stop + margin) * factor) for side in box
    )
    return rows, columns


def _downsampling(grey: Bytes) -> int:
    """Return the factor by which an image is downsampled for the search."""
    return -(-int(max(grey.shape)) // _SEARCH_SIDE)


def _downsample(grey: Bytes) -> Floats:
    """Return the means of squares of pixels; the longer side is at most _SEARCH_SIDE."""
    factor = _downsampling(grey)
    padding = [(0, -side % factor) for side in grey.shape]
    rows, columns = (-(-side // factor) for side in grey.shape)
    padded = np.pad(grey, padding, mode="edge").reshape(rows, factor, columns * factor)
    sums = padded.sum(axis=1, dtype=np.uint32).reshape(rows, columns, factor).sum(axis=2)
    means: Floats = (sums / factor**2).astype(np.float32)
    return means
