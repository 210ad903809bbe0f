"""Long straight lines that are not strokes: ruled and squared paper, the boxes of a form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucnn.data.digits.arrays import FAINT, SQUARE, Floats, Mask, label, ndimage

# Lines are turned by at most so many degrees, and tried in steps of half a degree.
_ANGLES = np.arange(-5, 5.1, 0.5)
# A line covers at least this fraction of the width of the image, and half of both ends of it.
_COVERAGE = 0.7
_END, _HALF = 0.08, 0.5
# Smaller images, such as MNIST's, are cropped to a digit: they show no ruled paper.
_SMALLEST = 40
# Greatest width of the grey edge of a stroke, in pixels.
_EDGE = 3
# Remains of lines lie in this outer part of the image, or are no longer than this fraction of its
# side: the crossings on squared paper.
_RIM = 0.1
_CROSSING = 1 / 40
# A wider line, as a fraction of the image's side, is not one of paper.
_WIDEST = 0.05


@dataclass(frozen=True)
class _Direction:
    """The lines of one direction in a sheared mask, where they are horizontal."""

    shift: npt.NDArray[np.intp]
    rows: list[slice]


def remove_lines(strokes: Floats) -> Floats:
    """Return the strokes without lines that cross the whole image; strokes across them remain.

    Args:
        strokes: (H, W), 0 for the background and 1 for full strokes.
    """
    rest = strokes
    for _ in range(2):
        without = _remove_vertical(_remove_horizontal(rest))
        if np.array_equal(without, rest):
            break
        rest = without
    return strokes if rest is strokes else _drop_remains(rest)


def _drop_remains(strokes: Floats) -> Floats:
    """Drop what remains of the lines: faint pixels far from strokes, crossings, bits at the border.

    Nothing is left if nothing else was there.
    """
    core = strokes > 0.5
    near = ndimage().binary_dilation(core, SQUARE, iterations=_EDGE)
    rim = int(_RIM * min(core.shape))
    least = max(core.shape) * _CROSSING
    boxes = ndimage().find_objects(label(core)[0])
    digit = core[rim:-rim, rim:-rim].any() and any(
        max(side.stop - side.start for side in box) > least for box in boxes
    )
    return np.where(near, strokes, np.float32(0)) if digit else np.zeros_like(strokes)


def _remove_vertical(strokes: Floats) -> Floats:
    return _remove_horizontal(strokes.T).T


def _remove_horizontal(strokes: Floats) -> Floats:
    """Remove nearly horizontal lines."""
    mask = strokes > FAINT
    if min(mask.shape) < _SMALLEST or not _may_have_lines(mask):
        return strokes
    found = _find(mask)
    if not found.rows:
        return strokes
    level = _shear(strokes, found.shift)
    removed = np.zeros(mask.shape, dtype=np.bool_)
    for rows in found.rows:
        removed |= _line_pixels(level, rows)
    without = np.where(_shear(removed, -found.shift), np.float32(0), strokes)
    if len(found.rows) == 1 and not _lies_inside(without > 0.5, strokes > 0.5):
        return strokes
    return without


def _may_have_lines(mask: Mask) -> bool:
    """Return whether enough columns have ink for a line of ``_line_rows``, at any angle."""
    inked: Mask = np.logical_or.reduce(mask, axis=0)
    end = _end(len(inked))
    ends = min(inked[:end].mean(), inked[-end:].mean())
    return bool(inked.mean() >= _COVERAGE and ends >= _HALF)


def _find(mask: Mask) -> _Direction:
    """Return the lines at the angle at which they cover the most of their rows."""
    width = mask.shape[1]
    best = _Direction(np.zeros(width, dtype=np.intp), [])
    most = 0.0
    for angle in sorted(_ANGLES, key=abs):
        shift = np.rint(np.tan(np.deg2rad(angle)) * (np.arange(width) - width / 2)).astype(np.intp)
        sheared = _shear(mask, shift)
        rows = _line_rows(sheared)
        total = float(sum((sheared[at].mean(axis=1) ** 2).sum() for at in rows))
        if total > 1.02 * most:
            best, most = _Direction(shift, rows), total
    return best


def _shear(array: npt.NDArray[Any], shift: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    """Move each column down by its shift; what leaves the image comes back at the other end."""
    height = len(array)
    rows = (np.arange(height)[:, None] - shift) % height
    return np.take_along_axis(array, rows, axis=0)


def _line_rows(mask: Mask) -> list[slice]:
    """Return the rows of each line: inked from end to end, and few of them."""
    height, width = mask.shape
    # A row of a line may be thinner than a pixel here and there.
    tolerant = mask.copy()
    tolerant[1:] |= mask[:-1]
    end = _end(width)
    covered = tolerant.mean(axis=1) >= _COVERAGE
    covered &= tolerant[:, :end].mean(axis=1) >= _HALF
    covered &= tolerant[:, -end:].mean(axis=1) >= _HALF
    edges = np.flatnonzero(np.diff(covered.astype(np.int8), prepend=0, append=0))
    return [
        slice(first, stop)
        for first, stop in zip(edges[::2], edges[1::2], strict=True)
        if stop - first <= max(3, _WIDEST * height + 1)
    ]


def _end(width: int) -> int:
    """Return how many columns an end of a line has."""
    return max(2, round(_END * width))


def _line_pixels(level: Floats, rows: slice) -> Mask:
    """Return the pixels of a line that belong to no stroke across it.

    Those of a column are kept where the ink continues above or below, or is darker than the line.
    """
    height = len(level)
    ink = level > FAINT
    # The rows next to a line may be its faint edge, or the wobble of a line that is not straight.
    first, stop = max(rows.start - 2, 0), min(rows.stop + 1, height)
    span = level[first:stop]
    thick = rows.stop - rows.start
    run = _run_lengths(ink)[first:stop].max(axis=0)
    line = np.median(span.max(axis=0))
    darker = (span.max(axis=0) > line + 0.35) if line < 0.6 else np.zeros(level.shape[1], np.bool_)
    stroke = (run > thick + 2) | darker
    removed = np.zeros(level.shape, dtype=np.bool_)
    removed[first:stop] = ~stroke
    return removed


def _run_lengths(mask: Mask) -> npt.NDArray[np.intp]:
    """Return for each pixel of the mask the length of its vertical run, 0 outside."""
    vertical = np.array([[0, 1, 0]] * 3, dtype=np.bool_)
    labels, _ = ndimage().label(mask, vertical)
    lengths = np.bincount(labels.ravel())
    lengths[0] = 0
    runs: npt.NDArray[np.intp] = lengths[labels]
    return runs


def _lies_inside(rest: Mask, before: Mask) -> bool:
    """Return whether what remains lies inside the image: a lone line may be the bar of a 7."""
    if not rest.any():
        return True
    touching = [rest[0], rest[-1], rest[:, 0], rest[:, -1]]
    return not any(side.any() for side in touching)
