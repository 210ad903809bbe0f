"""Locate the strokes of a digit in a grey image: the NumPy part of ``images.as_digit``.

The steps: find the sheet of paper, or the inside of a frame; estimate the background (paper with
its shadows, or a screen) and subtract it; remove ruled lines; drop specks, and edges that enter
from outside the image; crop to the bounding box; thicken thin strokes.
"""

from __future__ import annotations

import math

import numpy as np

from gpucnn.data.dataset import Bytes
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
from gpucnn.data.digits.background import is_light, subtract_background
from gpucnn.data.digits.components import keep_digit
from gpucnn.data.digits.lines import remove_lines
from gpucnn.data.digits.page import fill_outside, find_frame, find_sheet

# Width of MNIST's thinnest strokes, as a fraction of the digit's longer side.
_MIN_STROKE = 1 / 12
# Sheets and frames within each other: paper on a table with a form's box on it.
_NESTED = 3


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
    small = downsample(grey)
    inside = _find_inside(small)
    strokes, light, crop = _strokes_inside(small, inside)
    factor = downsampling(grey)
    found = strokes > FAINT
    part = _enlarge(bounding_box(found), crop)
    close_up = grey[_scale(part, factor)]
    if factor > 1 and downsampling(close_up) < factor:
        # Again at a higher resolution: the digit is a small part of the image.
        near = ndimage().binary_dilation(found, SQUARE)[part]
        strokes = _look_closer(close_up, light, near)
    return _thicken(strokes[bounding_box(strokes > FAINT)])


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
            except ValueError:
                break
            found = find_frame(strokes > FAINT)
        if found is None or not (found & inside[box]).any():
            break
        inside[box] &= found
    return inside


def _strokes_inside(grey: Floats, inside: Mask) -> tuple[Floats, bool, Box]:
    crop = bounding_box(inside)
    view = fill_outside(grey[crop], inside[crop])
    light = is_light(view)
    strokes = _clean(view, light)
    full = np.zeros(grey.shape, dtype=np.float32)
    full[crop] = strokes
    return full, light, crop


def _clean(view: Floats, light: bool) -> Floats:
    strokes, paper = subtract_background(view, light)
    strokes = remove_lines(strokes)
    return keep_digit(strokes, strokes > 0.5, paper)


def _look_closer(grey: Bytes, light: bool, near: Mask) -> Floats:
    """Return the strokes of a part of the image, without what is not ``near`` those found in it.

    Args:
        grey: uint8 (H, W).
        light: whether the background is.
        near: bool, the same part of the image, downsampled by some factor.
    """
    small = downsample(grey)
    rows, columns = (
        np.arange(side) * other // side for side, other in zip(small.shape, near.shape, strict=True)
    )
    strokes, paper = subtract_background(small, light)
    strokes = remove_lines(strokes) * near[np.ix_(rows, columns)]
    return keep_digit(strokes, strokes > 0.5, paper)


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


def _scale(box: Box, factor: int) -> Box:
    """Return a box of the downsampled image as one of the image."""
    rows, columns = (slice(side.start * factor, side.stop * factor) for side in box)
    return rows, columns
