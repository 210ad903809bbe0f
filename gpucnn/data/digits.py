"""Find what is drawn in a grey picture: the part of ``gpucnn.data.images.as_digit`` that is NumPy.

The way of the pixels: the ground (the paper with its shadows, or the screen) is estimated and
taken away; what stands out is ink, from 0 to 1; specks, and edges that come in from outside the
picture, are dropped; the rest is cropped to its box and thickened if its strokes are thin.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucnn.errors import DataError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# longer side at which ink is looked for: fine enough for a digit of 20 pixels, and quick
_WORK = 240
# what differs from the ground by less, of the 255 levels, is paper
_FAINTEST = 8
# MNIST's thinnest strokes, as a fraction of a digit's longer side
_THINNEST = 1 / 12
# a part with less of the ink than this fraction of the greatest part is a speck
_SPECK = 0.03
# ink of less than this fraction of full ink does not widen the box, nor join two parts
_RIM = 0.05


def find_ink(grey: Bytes) -> Floats:
    """Return the ink of a picture, cropped to it.

    Args:
        grey: uint8 (H, W), dark ink on light or light on dark.

    Returns:
        float32 (h, w), ground exactly 0 and full ink 1, with ink in the first and last row and
        column; reduced in size if the ink is larger than about 240 pixels.

    Raises:
        DataError: nothing is drawn.
    """
    work = _shrink(grey)
    light = _is_light(work)
    ink = _ink(work, light)
    if _longer(grey) > _WORK:
        # once more from close by: the digit may be a small part of the picture
        near = grey[_around(_box(ink), _factor(grey))]
        ink = _ink(_shrink(near), light)
    return _thicken(ink[_box(ink)])


def _ink(grey: Floats, light: bool) -> Floats:
    """Return the ink of a picture, from 0 to 1, with specks dropped."""
    bright = 255 - grey if light else grey
    ring = _ring(bright, 1)
    level = np.median(ring)
    if np.mean(ring == level) > 0.9:
        # drawn on a screen, or MNIST's own form: the ground is one exact level, the greys are true
        depth = np.maximum(bright - level, 0)
        peak = _peak(depth)
        ink = (depth / peak).astype(np.float32)
        parts = _parts(np.where(ink > _RIM, ink, np.float32(0)), ink > 0.5, False)
        # the faint rim of the strokes belongs to them
        return np.where(_slide(parts, 1, np.maximum), ink, np.float32(0))
    ground = _opened(_smooth(bright))
    # paper reflects a fraction of the light that falls on it, and ink a smaller fraction
    depth = np.maximum(bright - ground, 0) * (255 / np.maximum(255 - ground, 32) if light else 1)
    threshold = _otsu(depth)
    full = np.median(depth[depth > threshold])
    paper = depth[depth <= threshold]
    noise = 1.5 * np.median(np.abs(paper - np.median(paper)))
    least = max(0.3 * full, np.median(paper) + 4 * noise)
    if full < _FAINTEST or least > 0.8 * full:
        raise DataError("nothing is drawn: no ink stands out from the ground")
    ink = np.clip((depth - least) / (full - least), 0, 1).astype(np.float32)
    return np.where(_parts(ink, depth > threshold, True), ink, np.float32(0))


def _peak(depth: Floats) -> float:
    peak = float(depth.max())
    if peak < _FAINTEST:
        raise DataError("nothing is drawn: the picture is one even ground")
    return peak


def _is_light(grey: Floats) -> bool:
    """Tell, from the picture's border, whether the ground is lighter than the ink."""
    ring = _ring(grey, 1)
    level = np.median(ring)
    if np.mean(ring == level) > 0.5:
        return bool(2 * level > grey.min() + grey.max())
    # A photo: the ground is a smooth surface through the border, so that it follows uneven light.
    # How far the border itself departs from it, as at a shadow's edge, says nothing of ink; what
    # departs further does. The high power lets a few pixels of ink outvote a large faint shadow.
    rest = (_smooth(grey) - _surface(grey)).astype(np.float64) / 255
    low, high = np.percentile(_ring(rest, _border(grey)), (10, 90))
    darker, lighter = np.maximum(low - rest, 0), np.maximum(rest - high, 0)
    return bool(np.sum(darker**8) > np.sum(lighter**8))


def _surface(grey: Floats) -> Floats:
    """Return the surface of second degree that fits the border best."""
    height, width = grey.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    ring, at = _ring(grey, _border(grey)), _ring(terms, _border(grey))
    weight = np.ones(len(ring), dtype=np.float32)
    for _ in range(3):
        # least squares; then again without what lies far off, which is ink at the border
        weighted = at.T * weight
        factors = np.linalg.lstsq(weighted @ at, weighted @ ring, rcond=None)[0]
        off = np.abs(ring - at @ factors)
        weight = (off <= 3 * np.median(off) + 2).astype(np.float32)
    surface: Floats = terms @ factors
    return surface


def _border(grey: Floats) -> int:
    """Return how many pixels of a picture's rim to take for its border."""
    return 1 + _longer(grey) // 60


def _parts(ink: Floats, core: Mask, photo: bool) -> Mask:
    """Return the mask of the parts to keep: those with core ink, large, and not from outside."""
    names = _label(ink > 0)
    mass = np.bincount(names.ravel(), weights=ink.ravel())
    keep = np.zeros(len(mass), dtype=np.bool_)
    keep[names[core]] = True
    keep[0] = False
    if photo:
        # a table's edge or a shadow's comes in over the border; a digit that does is all there is
        inside = keep.copy()
        inside[_ring(names, 1)] = False
        if mass[inside].max(initial=0) > 0.1 * mass[keep].max(initial=0):
            keep = inside
    keep &= mass >= _SPECK * mass[keep].max(initial=0)
    if not keep.any():
        raise DataError("nothing is drawn: there are only specks")
    return keep[names]


def _label(mask: Mask) -> npt.NDArray[np.intp]:
    """Return the connected parts (8 neighbours) of a mask: each a number, 0 outside."""
    height, width = mask.shape
    names = np.zeros((height + 2, width + 2), dtype=np.intp)
    names[1:-1, 1:-1] = mask
    names *= np.arange(names.size).reshape(names.shape)
    while True:
        # every pixel takes the greatest name of its neighbours, then that name's own name
        wide = np.maximum(np.maximum(names[:, :-2], names[:, 1:-1]), names[:, 2:])
        best = np.maximum(np.maximum(wide[:-2], wide[1:-1]), wide[2:])
        new = np.zeros_like(names)
        new[1:-1, 1:-1] = np.where(mask, best, 0)
        new = np.maximum(new, new.ravel()[new])
        if np.array_equal(new, names):
            break
        names = new
    # from 0 up without gaps; the rim is 0, so that 0 keeps its meaning where all is ink
    return np.unique(names, return_inverse=True)[1].reshape(names.shape)[1:-1, 1:-1]


def _otsu(depth: Floats) -> float:
    """Return the level that parts the values into the two most distinct groups (Otsu, 1979)."""
    top = _peak(depth)
    counts = np.histogram(depth, bins=256, range=(0, top))[0].astype(np.float64)
    levels = (np.arange(256) + 0.5) * (top / 256)
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * levels)
    above = depth.size - below
    # the largest variance between the groups; a group of none counts as 0
    apart = sums[:-1] * depth.size - sums[-1] * below
    spread = np.divide(apart**2, below * above, out=np.zeros(255), where=below * above > 0)
    return float((np.argmax(spread) + 1) * top / 256)


def _opened(bright: Floats) -> Floats:
    """Return the picture without what is bright and narrower than a third of it (an opening)."""
    reach = _longer(bright) // 6 + 1
    # as if the ground went on beyond the border: else a slope would lose its upper end
    wide = np.pad(bright, reach, mode="edge")
    opened: Floats = _slide(_slide(wide, reach, np.minimum), reach, np.maximum)
    return opened[reach:-reach, reach:-reach]


def _slide(array: npt.NDArray[Any], reach: int, extreme: np.ufunc) -> npt.NDArray[Any]:
    """Return the least or greatest within ``reach`` rows and columns of each pixel."""
    array = np.pad(array, reach, mode="edge")
    width = 1
    while width < 2 * reach + 1:
        # windows of this width, side by side or overlapping, make those of up to twice the width
        step = min(width, 2 * reach + 1 - width)
        array = extreme(array[step:], array[:-step])
        array = extreme(array[:, step:], array[:, :-step])
        width += step
    return array


def _smooth(array: Floats) -> Floats:
    """Return the mean of 3 x 3 pixels, so that the least of many is not the darkest noise."""
    padded = np.pad(array, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    sums: Floats = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return sums / np.float32(9)


def _thicken(ink: Floats) -> Floats:
    """Return the ink with strokes of 1/12 of its longer side at least, as MNIST's have."""
    mask = np.pad(ink > 0.5, 1)
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    edges = int(across.sum()) + int(down.sum())
    # a stroke is twice its area / its outline; a slanting outline has more pixel edges, by 4/pi
    width = 2 * int(mask.sum()) / (max(edges, 1) * math.pi / 4)
    reach = int((_THINNEST * _longer(ink) - width) / 2)
    if reach < 1:
        return ink
    return _slide(np.pad(ink, reach), reach, np.maximum)


def _ring(array: npt.NDArray[Any], thick: int) -> npt.NDArray[Any]:
    """Return the pixels of a picture that are within ``thick`` pixels of its border."""
    mask = np.ones(array.shape[:2], dtype=np.bool_)
    mask[thick:-thick, thick:-thick] = False
    return array[mask]


def _box(ink: Floats) -> tuple[slice, slice]:
    """Return the rows and the columns that ink lies in, but for its faint rim."""
    rows, columns = (np.flatnonzero((ink > _RIM).any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _around(box: tuple[slice, slice], factor: int) -> tuple[slice, slice]:
    """Return a box of the shrunk picture as one of the picture, with some ground around it."""
    margin = 2 + max(side.stop - side.start for side in box) // 5
    rows, columns = (
        slice(max(0, side.start - margin) * factor, (side.stop + margin) * factor) for side in box
    )
    return rows, columns


def _factor(grey: Bytes) -> int:
    return -(-_longer(grey) // _WORK)


def _longer(picture: Bytes | Floats) -> int:
    height, width = picture.shape
    return int(height) if height > width else int(width)


def _shrink(grey: Bytes) -> Floats:
    """Return the means of squares of pixels, so many that the longer side is _WORK at most."""
    factor = _factor(grey)
    padding = [(0, -side % factor) for side in grey.shape]
    rows, columns = (-(-side // factor) for side in grey.shape)
    padded = np.pad(grey, padding, mode="edge").reshape(rows, factor, columns * factor)
    sums = padded.sum(axis=1, dtype=np.uint32).reshape(rows, columns, factor).sum(axis=2)
    means: Floats = (sums / factor**2).astype(np.float32)
    return means
