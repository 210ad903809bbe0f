"""Locate the strokes of a digit in a grey image: the NumPy part of ``images.as_digit``.

The steps: find the sheet of paper, or the inside of a frame; estimate the background (paper with
its shadows, or a screen) and subtract it; remove ruled lines; drop specks, edges that enter
from outside the image, underlines and open boxes; crop to the bounding box; thicken thin strokes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpucnn.data.digits.arrays import (
    FAINT,
    SQUARE,
    Box,
    Floats,
    Mask,
    bounding_box,
    downsample,
    downsampling,
    ndimage,
)
from gpucnn.data.digits.background import is_light, may_be_screen, subtract_background
from gpucnn.data.digits.components import keep_digit, large_components
from gpucnn.data.digits.lines import remove_lines
from gpucnn.data.digits.page import fill_outside, find_frame, find_sheet
from gpucnn.data.digits.shape import stroke_width
from gpucnn.data.digits.surroundings import drop_surroundings
from gpucnn.data.types import Bytes
from gpucnn.errors import DataError

# Width of MNIST's thinnest strokes, as a fraction of the digit's longer side.
_MIN_STROKE = 1 / 12
# Sheets and frames within each other: paper on a table with a form's box on it.
_NESTED = 3


@dataclass(frozen=True)
class Found:
    """The strokes found in an image.

    ``digit`` are all strokes and ``parts`` the connected components of similar size, at least two,
    or none; ``shapes`` is their number, even if it is too great for digits. Each is float32 (h, w),
    0 for the background and 1 for full strokes, cropped to its bounding box. ``stages`` are the
    images (h, w), from 0 to 1, after each step, by its name. ``may_be_screen``: strokes at the
    border leave open whether the background is a screen's.
    """

    digit: Floats
    parts: tuple[Floats, ...]
    shapes: int
    stages: dict[str, Floats]
    may_be_screen: bool


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
    return find(grey).digit


def find(
    grey: Bytes, stages: dict[str, Floats] | None = None, *, screen: bool | None = None
) -> Found:
    """Return the strokes in an image, their large components, and the stages of the search.

    Args:
        grey: uint8 (H, W), dark strokes on light or light strokes on dark.
        stages: receives the stages as they are reached, also if an error ends the search.
        screen: whether the background is a screen's; None: if the border has one level.

    Raises:
        DataError: no digit is found.
    """
    stages = {} if stages is None else stages
    small = downsample(grey)
    stages["image"] = small / np.float32(255)
    inside = _find_inside(small)
    crop = bounding_box(inside)
    if not inside.all():
        stages["sheet or frame"] = fill_outside(small[crop], inside[crop]) / np.float32(255)
    view = fill_outside(small[crop], inside[crop])
    light = is_light(view)
    kept = np.zeros(small.shape, dtype=np.float32)
    kept[crop] = _clean(view, light, screen, stages)
    found = kept > FAINT
    part = _enlarge(bounding_box(found), crop)
    factor = downsampling(grey)
    close_up = grey[_times(part, factor)]
    if factor > 1 and downsampling(close_up) < factor:
        # Again at a higher resolution: the digit is a small part of the image.
        near = ndimage().binary_dilation(found, SQUARE)[part]
        kept = _look_closer(close_up, light, screen, near)
        stages["strokes, closer"] = kept
    shapes, large = large_components(kept)
    parts = tuple(_thicken(each) for each in large)
    digit = _thicken(kept[bounding_box(kept > FAINT)])
    return Found(digit, parts, shapes, stages, may_be_screen(view))


def _find_inside(grey: Floats) -> Mask:
    """Return the mask of the sheet, and of the frame on it, that contains the digit."""
    inside = np.ones(grey.shape, dtype=np.bool_)
    if min(grey.shape) < 20:
        return inside
    for _ in range(_NESTED):
        box = bounding_box(inside)
        view = fill_outside(grey[box], inside[box])
        if min(view.shape) < 20 or np.ptp(view) == 0:
            break
        found = find_sheet(view)
        if found is None:
            try:
                strokes, _ = subtract_background(view, is_light(view))
            except DataError:
                break
            found = find_frame(strokes > FAINT)
        if found is None or not (found & inside[box]).any():
            break
        inside[box] &= found
    return inside


def _clean(view: Floats, light: bool, screen: bool | None, stages: dict[str, Floats]) -> Floats:
    """Return the strokes of a sheet without lines, specks and edges."""
    strokes, paper = subtract_background(view, light, screen)
    stages["background subtracted"] = strokes
    without = remove_lines(strokes)
    if not np.array_equal(without, strokes):
        stages["lines removed"] = without
    if not without.any():
        raise DataError("no digit found: there are only lines")
    kept = drop_surroundings(keep_digit(without, without > 0.5, paper), paper)
    if not np.array_equal(kept, without):
        stages["strokes kept"] = kept
    return kept


def _look_closer(grey: Bytes, light: bool, screen: bool | None, near: Mask) -> Floats:
    """Return the strokes of a part of the image, without what is not ``near`` those found in it.

    Args:
        grey: uint8 (H, W).
        light: whether the background is.
        screen: whether it is a screen's; None: if the border has one level.
        near: bool, the same part of the image, downsampled by some factor.
    """
    small = downsample(grey)
    rows, columns = (
        np.arange(side) * other // side for side, other in zip(small.shape, near.shape, strict=True)
    )
    strokes, paper = subtract_background(small, light, screen)
    strokes = remove_lines(strokes) * near[np.ix_(rows, columns)]
    return keep_digit(strokes, strokes > 0.5, paper)


def _thicken(strokes: Floats) -> Floats:
    """Return strokes at least as wide as MNIST's: 1/12 of their longer side."""
    width = stroke_width(strokes > 0.5)
    reach = int((_MIN_STROKE * max(strokes.shape) - width) / 2)
    if reach < 1:
        return strokes
    size = 2 * reach + 1
    thick: Floats = ndimage().grey_dilation(np.pad(strokes, reach), (size, size))
    return thick


def _enlarge(box: Box, crop: Box) -> Box:
    """Return a box with a margin of background, as far as the crop has it."""
    margin = 2 + max(side.stop - side.start for side in box) // 5
    rows, columns = (
        slice(max(limit.start, side.start - margin), min(limit.stop, side.stop + margin))
        for side, limit in zip(box, crop, strict=True)
    )
    return rows, columns


def _times(box: Box, factor: int) -> Box:
    """Return a box of the downsampled image as one of the image."""
    rows, columns = (slice(side.start * factor, side.stop * factor) for side in box)
    return rows, columns
