"""Which connected components of the strokes belong to the digit."""

from __future__ import annotations

import numpy as np

from gpucnn.data.digits.arrays import (
    FAINT,
    SQUARE,
    Floats,
    Mask,
    border_pixels,
    bounding_box,
    label,
    ndimage,
)
from gpucnn.errors import DataError

# A connected component with less than this fraction of the greatest one's mass is a speck.
_SPECK = 0.03
# A component at the border that reaches no further in, as a fraction of the side, is the edge of a
# frame or of a table.
_RIM = 0.1
# Several digits have at least this fraction of the greatest one's mass: a 1 next to an 8.
_SIMILAR = 0.15

MOST = 30
"""More components of a similar size are no digits, but text or a pattern."""


def keep_digit(strokes: Floats, core: Mask, paper: bool) -> Floats:
    """Return the strokes without components that do not belong to the digit.

    A component is kept if it contains a ``core`` pixel and is not a speck. One that lies along the
    border is dropped if others are left; on paper (the edge of a table or a shadow), also one that
    enters from outside.

    Raises:
        DataError: nothing is left.
    """
    solid = strokes if paper else np.where(strokes > FAINT, strokes, np.float32(0))
    labels, _ = label(solid > 0)
    mass = np.bincount(labels.ravel(), weights=solid.ravel())
    keep = np.zeros(len(mass), dtype=np.bool_)
    keep[labels[core]] = True
    keep[0] = False
    for dropped in (_along_border(labels), _at_border(labels) if paper else []):
        inside = keep.copy()
        inside[dropped] = False
        if mass[inside].max(initial=0) > 0.1 * mass[keep].max(initial=0):
            keep = inside
    keep &= mass >= _SPECK * mass[keep].max(initial=0)
    if not keep.any():
        raise DataError("no digit found: there are only specks")
    kept = keep[labels]
    if not paper:
        # The faint edges next to a component belong to it.
        kept = ndimage().binary_dilation(kept, SQUARE)
    return np.where(kept, strokes, np.float32(0))


def large_components(strokes: Floats) -> tuple[int, list[Floats]]:
    """Return the number of components of a similar size, and each of them, cropped.

    There are none if there is only one, or more than digits could be.
    """
    labels, _ = label(strokes > FAINT)
    mass = np.bincount(labels.ravel(), weights=strokes.ravel())
    mass[0] = 0
    large = np.flatnonzero(mass >= _SIMILAR * mass.max(initial=0))
    if not 2 <= len(large) <= MOST:
        return len(large), []
    parts = [np.where(labels == number, strokes, np.float32(0)) for number in large]
    return len(large), [part[bounding_box(part > FAINT)] for part in parts]


def _at_border(labels: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> list[int]:
    return [int(number) for number in np.unique(border_pixels(labels, 1)) if number]


def _along_border(labels: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> list[int]:
    """Return the components that touch the border and lie near it with all their pixels."""
    height, width = labels.shape
    rim = int(_RIM * min(height, width))
    inner = set(np.unique(labels[rim : height - rim, rim : width - rim]).tolist())
    return [number for number in _at_border(labels) if number not in inner]
