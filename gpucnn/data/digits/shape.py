"""Shapes that no digit has, whatever it is compared with."""

from __future__ import annotations

import math

import numpy as np

from gpucnn.data.digits.arrays import FAINT, Floats, Mask, label, ndimage

# Wider strokes, as a fraction of the longer side, are a filled shape: a disc has 0.5, a square 0.6,
# the boldest digits 0.3.
_WIDEST_STROKE = 0.36
# Rings have no more than one component inside: a 0 has a dot there in some fonts.
_INSIDE = 1


def stroke_width(mask: Mask) -> float:
    """Return the mean width of strokes in pixels: twice the area over the perimeter."""
    mask = np.pad(mask, 1)
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    edges = int(across.sum()) + int(down.sum())
    # Slanting edges have more pixel edges, by 4/pi.
    return 2 * int(mask.sum()) / (max(edges, 1) * math.pi / 4)


def is_filled(mask: Mask) -> bool:
    """Return whether a component, cropped, is a filled shape such as a disc."""
    return bool(stroke_width(mask) > _WIDEST_STROKE * max(mask.shape))


def why_no_digit(strokes: Floats) -> str:
    """Return why strokes, (h, w) from 0 to 1 and cropped, are no digit; empty if they may be."""
    mask = strokes > 0.5
    if is_filled(mask):
        return "a filled shape, not strokes"
    labels, count = label(strokes > FAINT)
    if count <= _INSIDE + 1:
        return ""
    filled = ndimage().binary_fill_holes(labels == _longest(labels))
    inside = np.unique(labels[filled])
    if len(inside) - (0 in inside) - 1 > _INSIDE:
        return "an outline with shapes inside"
    return ""


def _longest(labels: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> int:
    """Return the component with the largest bounding box."""
    boxes = ndimage().find_objects(labels)
    sizes = [math.prod(side.stop - side.start for side in box) for box in boxes]
    return 1 + int(np.argmax(sizes))
