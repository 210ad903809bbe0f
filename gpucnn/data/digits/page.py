"""The part of an image that shows the digit: paper on a table, the inside of a frame."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gpucnn.data.digits.arrays import (
    SQUARE,
    Box,
    Floats,
    Mask,
    border_pixels,
    bounding_box,
    label,
    ndimage,
    otsu,
)

# Sheets and frames are rectangles: a greater fraction of their bounding rectangle is inside. A
# circle has 0.79, and the outline of a digit less.
_RECTANGULAR = 0.93
# A circle has nearly equal sides, and takes pi/4 of its bounding square to within this.
_ROUND = 1.15
_CIRCULAR = 0.04
# Rectangles are turned by at most so many degrees.
_ANGLES = range(-6, 7)
# A sheet shows at least this fraction of the image, and is itself at least half of what it
# encloses: the rest is written on it.
_SHEET = 0.3
_SOLID = 0.5
# What is around a sheet or frame takes at least this fraction of the border: most of one side.
_AROUND = 0.2
# A frame encloses at least this fraction of the image.
_FRAMED = 0.08
# Its lines are thinner than this fraction of its shorter side.
_WIDEST_LINE = 0.12
# What lies outside a sheet differs within itself by less than this fraction of its difference from
# the sheet: otherwise it is a part of the sheet in shadow, with strokes on it.
_EVEN = 0.5


def find_sheet(grey: Floats) -> Mask | None:
    """Return the mask of a rectangle of one brightness with another brightness around it.

    Such as paper on a table, a scan with dark borders, or a window on a screen.
    """
    blurred = ndimage().uniform_filter(grey, 3, mode="nearest")
    for threshold in _thresholds(blurred):
        bright = blurred > threshold
        for side in (bright, ~bright):
            sheet = _largest_filled(side)
            if sheet is not None and _is_sheet(grey, side, sheet):
                # Its edge is blurred.
                return _shrink(sheet, 1 + max(grey.shape) // 80)
    return None


def find_frame(ink: Mask) -> Mask | None:
    """Return the mask of the inside of a frame of lines that has strokes inside.

    The frame is a rectangle or a circle. Of frames within each other it is the innermost; that of
    several next to each other includes the insides of all.
    """
    found = np.zeros_like(ink)
    insides = (*_insides_of_outlines(ink), *_cells(ink))
    for inside in sorted(insides, key=np.sum):
        if not (found & inside).any() and _has_content(ink & inside, inside):
            found |= inside
    return found if found.any() else None


def _insides_of_outlines(ink: Mask) -> Iterator[Mask]:
    """Yield what rectangles and circles of ink enclose; strokes may touch their lines."""
    for box, ring in _large_components(ink):
        filled = ndimage().binary_fill_holes(ring)
        if filled.sum() < _FRAMED * ink.size:
            continue
        if not (_is_rectangular(filled) or _is_circle(filled)):
            continue
        thick = _line_width(ring)
        if thick <= _WIDEST_LINE * min(ring.shape):
            inside = np.zeros_like(ink)
            inside[box] = _shrink(np.pad(filled, 1), thick + 2)[1:-1, 1:-1]
            yield inside


def _cells(ink: Mask) -> Iterator[Mask]:
    """Yield the rectangles of background between lines, with the strokes that lie inside."""
    for box, cell in _large_components(~ink):
        filled = ndimage().binary_fill_holes(cell)
        inside = np.zeros_like(ink)
        inside[box] = filled
        around = border_pixels(~inside, 1).mean() >= _AROUND
        if around and filled.sum() >= _FRAMED * ink.size and _is_rectangular(filled):
            yield inside


def _large_components(mask: Mask) -> Iterator[tuple[Box, Mask]]:
    """Yield the bounding box of each component that is large enough, and its mask in there."""
    labels, _ = label(mask)
    for number, box in enumerate(ndimage().find_objects(labels), start=1):
        if np.prod([side.stop - side.start for side in box]) >= _FRAMED * mask.size:
            yield box, labels[box] == number


def fill_outside(grey: Floats, inside: Mask) -> Floats:
    """Return the image with each pixel outside of the mask replaced by the nearest one inside."""
    if inside.all():
        return grey
    nearest = ndimage().distance_transform_edt(~inside, return_distances=False, return_indices=True)
    filled: Floats = grey[tuple(nearest)]
    return filled


def _thresholds(grey: Floats) -> list[float]:
    """Return Otsu's threshold, and those of the darker and the brighter half.

    A table may be brighter than the strokes, or darker than light strokes.
    """
    if np.ptp(grey) == 0:
        return []
    middle = otsu(grey)
    halves = [grey[grey <= middle], grey[grey > middle]]
    return [middle, *(otsu(half) for half in halves if half.size and np.ptp(half) > 0)]


def _largest_filled(mask: Mask) -> Mask | None:
    """Return the largest component with its holes filled; None if it does not enclose enough."""
    labels, count = label(mask)
    if not count:
        return None
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    rows, columns = bounding_box(largest)
    around = (rows.stop - rows.start) * (columns.stop - columns.start)
    if around < _SHEET * mask.size or border_pixels(largest, 1).all():
        return None  # filled, it would be smaller than a sheet, or cover the image
    filled: Mask = ndimage().binary_fill_holes(largest)
    area = filled.sum()
    if area < _SHEET * mask.size or area == mask.size or largest.sum() < _SOLID * area:
        return None
    return filled


def _is_sheet(grey: Floats, side: Mask, sheet: Mask) -> bool:
    # Strokes at the border take less of it than what is next to a sheet.
    if border_pixels(~sheet, 1).mean() < _AROUND or not _is_rectangular(sheet):
        return False
    around = ~ndimage().binary_dilation(sheet, SQUARE, iterations=2)
    inner = _shrink(sheet, 2)
    if not inner.any() or not (inner & ~side).any():
        return False
    if not around.any():
        # Only a rim of two pixels: too narrow for strokes.
        return True
    difference = abs(float(np.median(grey[inner]) - np.median(grey[around])))
    low, high = np.percentile(grey[around], (2, 98))
    return bool(high - low < _EVEN * difference)


def _is_rectangular(filled: Mask) -> bool:
    """Return whether a filled component takes nearly all of a rectangle at some small angle."""
    y, x = (
        axis.astype(np.float32) for axis in np.nonzero(filled & ~ndimage().binary_erosion(filled))
    )
    area = float(filled.sum())
    for angle in np.deg2rad(_ANGLES):
        across = np.ptp(x * np.cos(angle) + y * np.sin(angle)) + 1
        down = np.ptp(y * np.cos(angle) - x * np.sin(angle)) + 1
        if area >= _RECTANGULAR * across * down:
            return True
    return False


def _is_circle(filled: Mask) -> bool:
    """Return whether a filled component is a circle: zeros are narrower."""
    height, width = filled.shape
    fraction = filled.sum() / filled.size
    return bool(max(height, width) <= _ROUND * min(height, width)) and bool(
        abs(fraction - math.pi / 4) <= _CIRCULAR
    )


def _line_width(ring: Mask) -> int:
    """Return the typical width of a frame's lines: of the first run from each side."""
    widths = []
    for view in (ring, ring[::-1], ring.T, ring.T[::-1]):
        first = np.argmax(view, axis=0)
        columns = np.flatnonzero(view.any(axis=0))
        below = np.arange(len(view))[:, None] >= first[columns]
        gap = ~view[:, columns] & below
        end = np.where(gap.any(axis=0), np.argmax(gap, axis=0), len(view))
        widths.append(float(np.median(end - first[columns])))
    return round(max(widths))


def _has_content(ink: Mask, inside: Mask) -> bool:
    """Return whether something in a frame takes at least a quarter of its height."""
    if not ink.any():
        return False
    labels, _ = label(ink)
    height = np.ptp(np.flatnonzero(inside.any(axis=1))) + 1
    tallest = max(box[0].stop - box[0].start for box in ndimage().find_objects(labels))
    return bool(tallest >= height / 4)


def _shrink(mask: Mask, by: int) -> Mask:
    """Return the mask without its outer pixels, except where it reaches the image's border."""
    shrunk: Mask = ndimage().binary_erosion(mask, SQUARE, iterations=by, border_value=1)
    return shrunk
