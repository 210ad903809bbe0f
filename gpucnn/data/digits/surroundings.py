"""What is drawn around a digit, or next to it, and is not connected with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gpucnn.data.digits.arrays import FAINT, Box, Floats, Mask, label, ndimage
from gpucnn.data.digits.shape import is_filled

# A line is at least so many times longer than thick.
_SLENDER = 8
# An underline is at least so much wider than what is written above it: the bar of a 5 is not.
_WIDER = 1.3
# Brackets are straight: their pixels lie this close to their bounding box, as a fraction of its
# shorter side, except for at most so many of them (a camera is never exactly level).
_STRAIGHT = 0.1
_STRAY = 0.02
# A side of a bracket is drawn if so much of it has ink; a bracket has at least two.
_DRAWN = 0.7
# Filled shapes (holes of a folder) are apart from the digit by this fraction of its longer side.
# A sheet has up to four holes: more shapes are the pieces of a broken stroke.
_APART = 0.15
_HOLES = 4


@dataclass(frozen=True)
class _Part:
    """A component: its number, bounding box, and pixels in there."""

    number: int
    box: Box
    mask: Mask

    @property
    def height(self) -> int:
        return int(self.mask.shape[0])

    @property
    def width(self) -> int:
        return int(self.mask.shape[1])


def drop_surroundings(strokes: Floats, paper: bool) -> Floats:
    """Return the strokes without underlines, open boxes and, on paper, filled shapes."""
    labels, count = label(strokes > FAINT)
    if count < 2:
        return strokes
    parts = [
        _Part(number, box, labels[box] == number)
        for number, box in enumerate(ndimage().find_objects(labels), start=1)
    ]
    dropped = {part.number for part in _dropped(parts, strokes.shape, paper)}
    if not dropped or len(dropped) == len(parts):
        return strokes
    return np.where(np.isin(labels, sorted(dropped)), np.float32(0), strokes)


def _dropped(parts: list[_Part], shape: tuple[int, ...], paper: bool) -> Iterator[_Part]:
    lines = [part for part in parts if part.width >= _SLENDER * part.height]
    others = [part for part in parts if part not in lines]
    if not others:
        return
    left = min(part.box[1].start for part in others)
    right = max(part.box[1].stop for part in others)
    yield from (line for line in lines if line.width >= _WIDER * (right - left))
    largest = max(others, key=lambda part: part.height * part.width)
    within = [part for part in others if part is not largest]
    if _is_around(largest, max(within, key=lambda part: part.height, default=None), shape):
        yield largest
    elif paper:
        filled = [part for part in within if is_filled(part.mask) and _is_apart(part, largest)]
        yield from filled if len(filled) <= _HOLES else ()


def _is_around(bracket: _Part, content: _Part | None, shape: tuple[int, ...]) -> bool:
    """Return whether a part is two or three sides of a box around another."""
    if content is None or 4 * content.height < bracket.height:
        return False
    reach = max(2, round(_STRAIGHT * min(bracket.mask.shape)))
    if bracket.mask[reach:-reach, reach:-reach].sum() > _STRAY * bracket.mask.sum():
        return False
    limits = []
    for axis, side in enumerate(bracket.mask.shape):
        along = np.moveaxis(bracket.mask, axis, 0)
        start, stop = bracket.box[axis].start, bracket.box[axis].stop
        first = along[:reach].any(axis=0).mean() >= _DRAWN
        last = along[side - reach :].any(axis=0).mean() >= _DRAWN
        # A side that is not drawn encloses nothing.
        limits.append((start if first else 0, stop if last else shape[axis], first + last))
    return sum(drawn for *_, drawn in limits) >= 2 and all(
        low <= at.start and at.stop <= high
        for (low, high, _), at in zip(limits, content.box, strict=True)
    )


def _is_apart(part: _Part, digit: _Part) -> bool:
    gap = _APART * max(digit.mask.shape)
    return any(
        own.start >= other.stop + gap or own.stop <= other.start - gap
        for own, other in zip(part.box, digit.box, strict=True)
    )
