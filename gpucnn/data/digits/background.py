"""The background of a digit: whether it is light or dark, and what stands out from it."""

from __future__ import annotations

import numpy as np

from gpucnn.data.digits.arrays import (
    MIN_CONTRAST,
    Floats,
    border_pixels,
    ndimage,
    otsu,
    peak,
)
from gpucnn.errors import DataError

# The background is a screen's if a greater fraction of the border has one exact level.
_UNIFORM = 0.9
# From this fraction on, that level alone shows whether the strokes are darker or lighter.
_MOSTLY_UNIFORM = 0.5
# Pixels of the border that stand out by more than this fraction of the greatest contrast are
# strokes; shadows stand out by less.
_STROKE_AT_BORDER = 0.65
# This part of the shorter side is not searched, at the border, for what is darker or lighter.
_RIM = 16


def is_light(grey: Floats) -> bool:
    """Return whether the background, as seen at the border, is lighter than the strokes."""
    inner = _inner(grey)
    border = border_pixels(grey, 1)
    level = np.median(border)
    if np.mean(border == level) > _MOSTLY_UNIFORM:
        return bool(2 * level > grey[inner].min() + grey[inner].max())
    # A photo: the background is a smooth surface fitted to the border, so that it follows uneven
    # light. Residuals as large as the border's own (a shadow's edge) are ignored; larger ones are
    # strokes. The high power lets a few pixels of strokes outweigh a large faint shadow.
    residual = (_blur(grey) - _fit_surface(grey)[0]).astype(np.float64) / 255
    low, high = np.percentile(border_pixels(residual, _border_width(grey)), (10, 90))
    residual = residual[inner]
    darker, lighter = np.maximum(low - residual, 0), np.maximum(residual - high, 0)
    return bool(np.sum(darker**8) > np.sum(lighter**8))


def _inner(grey: Floats) -> tuple[slice, slice]:
    """Return the part within a rim, which may show a frame, if it has strokes at all."""
    rim = -(-min(grey.shape) // _RIM)
    inner = slice(rim, grey.shape[0] - rim), slice(rim, grey.shape[1] - rim)
    if grey[inner].size and np.ptp(grey[inner]) >= MIN_CONTRAST:
        return inner
    return slice(None), slice(None)


def may_be_screen(grey: Floats) -> bool:
    """Return whether the border leaves open if it shows a screen with strokes on it, or paper."""
    border = border_pixels(grey, 1)
    return bool(_MOSTLY_UNIFORM < np.mean(border == np.median(border)) <= _UNIFORM)


def subtract_background(
    grey: Floats, light: bool, screen: bool | None = None
) -> tuple[Floats, bool]:
    """Return how far each pixel stands out, from 0 to 1 for full strokes, and whether on paper.

    The background of a drawing on a screen, and of MNIST, has exact grey levels; paper has light
    that varies, and noise. ``light`` says whether the strokes are darker than the background, and
    ``screen`` whether it is a screen's; None: if the border has one level.

    Raises:
        DataError: nothing stands out.
    """
    bright = 255 - grey if light else grey
    border = border_pixels(bright, 1)
    level = np.median(border)
    if np.mean(border == level) > _UNIFORM if screen is None else screen:
        contrast = np.maximum(bright - level, 0)
        return (contrast / peak(contrast)).astype(np.float32), False
    background = _open(_blur(bright))
    # Paper reflects a fraction of the light that falls on it, and ink a smaller fraction.
    gain = 255 / np.maximum(255 - background, 32) if light else 1
    return _above_noise(np.maximum(bright - background, 0) * gain), True


def _above_noise(contrast: Floats) -> Floats:
    """Return what exceeds the noise of the paper, from 0 to 1."""
    peak(contrast)
    threshold = otsu(contrast)
    full = np.median(contrast[contrast > threshold])
    paper = contrast[contrast <= threshold]
    noise = 1.5 * np.median(np.abs(paper - np.median(paper)))
    least = max(0.3 * full, np.median(paper) + 4 * noise)
    if full < MIN_CONTRAST or least > 0.8 * full:
        raise DataError("no digit found: no strokes stand out from the background")
    strokes: Floats = np.clip((contrast - least) / (full - least), 0, 1).astype(np.float32)
    return strokes


def _fit_surface(grey: Floats) -> tuple[Floats, float]:
    """Return the quadratic surface that fits the border best, (H, W), and the error it ignores."""
    height, width = grey.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    thick = _border_width(grey)
    border, at = border_pixels(grey, thick), border_pixels(terms, thick)
    # Least squares, then again without outliers, which are strokes at the border.
    error = np.abs(border - np.median(border))
    limit = float(3 * np.median(error) + 2)
    weight = (error <= limit).astype(np.float32)
    for _ in range(3):
        weighted = at.T * weight
        coefficients = np.linalg.lstsq(weighted @ at, weighted @ border, rcond=None)[0]
        error = np.abs(border - at @ coefficients)
        limit = float(3 * np.median(error) + 2)
        weight = (error <= limit).astype(np.float32)
    surface: Floats = terms @ coefficients
    return surface, limit


def _border_width(grey: Floats) -> int:
    """Return the width in pixels of the border that shows the background."""
    return 1 + int(max(grey.shape)) // 60


def _open(bright: Floats) -> Floats:
    """Return the morphological opening: without what is brighter and narrower than a third."""
    reach = max(bright.shape) // 6 + 1
    # As if the background continued outside: else a slope would lose its upper end. Strokes that
    # touch the border do not continue.
    surface, limit = _fit_surface(bright)
    inside = np.zeros(bright.shape, dtype=np.bool_)
    inside[1:-1, 1:-1] = True
    excess = bright - surface
    strokes = excess > max(limit, _STROKE_AT_BORDER * float(excess.max()))
    rim = np.where(strokes & ~inside, surface, bright)
    padded = np.pad(rim, reach, mode="edge")
    padded[reach:-reach, reach:-reach] = bright
    size = 2 * reach + 1
    opened: Floats = ndimage().grey_opening(padded, (size, size))
    return opened[reach:-reach, reach:-reach]


def _blur(array: Floats) -> Floats:
    """Return the mean of 3 x 3 pixels, so that a minimum is not the darkest noise."""
    blurred: Floats = ndimage().uniform_filter(array, 3, mode="nearest")
    return blurred
