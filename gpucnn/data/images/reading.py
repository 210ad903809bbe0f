"""Reading a digit in an image: its preparation, and whether the image shows one digit at all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from gpucnn.data.digits import Found, find
from gpucnn.data.digits.arrays import FAINT, bounding_box
from gpucnn.data.digits.components import MOST
from gpucnn.data.digits.likeness import LIMIT, distances
from gpucnn.data.digits.shape import why_no_digit
from gpucnn.data.images.inputs import check_digit_size, place_strokes, to_grey
from gpucnn.data.types import Bytes
from gpucnn.errors import DataError

# The side of MNIST's images.
_SIDE = 28
# The levels of strokes that become 0 and 1 where their edges are made crisp, and the side in pixels
# to which they are enlarged before. Chosen on scikit-learn's digits of 8 x 8 pixels.
_EDGES = (0.3, 0.9)
_FINE = 40

Status = Literal["digit", "none", "several"]


@dataclass(frozen=True)
class Reading:
    """What an image shows.

    Attributes:
        status: "digit", "none" or "several" (digits).
        reason: why it is no single digit; empty if it is one.
        pixels: the digit prepared as those of MNIST, uint8 (size, size); None if nothing is found.
        stages: float32 (h, w) from 0 to 1, the image after each step, by the name of the step.
    """

    status: Status
    reason: str
    pixels: Bytes | None
    stages: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)


def read_digit(image: Bytes, size: int = _SIDE, *, judge: bool = True) -> Reading:
    """Prepare an image as ``as_digit`` does, and find out whether it shows one digit.

    The strokes are compared with MNIST's training digits (``digits.likeness``). An image that is
    like none of them shows no digit, or several: then its connected components are compared too.
    Letters that look like digits (O, l, S, Z) are taken for digits.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        size: side of the result in pixels.
        judge: compare with MNIST's digits. Without, only an image without strokes is none.

    Raises:
        DataError: another dtype or shape.
        SettingError: a size below 4, or Pillow or SciPy is not installed.
    """
    check_digit_size(size)
    grey = to_grey(image)
    stages: dict[str, npt.NDArray[np.float32]] = {}
    try:
        found = find(grey, stages)
    except DataError as error:
        return Reading("none", str(error).removeprefix("no digit found: "), None, stages)
    if judge and found.may_be_screen:
        found = _better(found, grey)
    status, reason = _judge(found) if judge else ("digit", "")
    return Reading(status, reason, place_strokes(found.digit, size), found.stages)


def _better(found: Found, grey: Bytes) -> Found:
    """Return the strokes on a screen, or a scan cropped to them, or else those found on paper."""
    try:
        other = find(grey, screen=True)
    except DataError:
        return found
    other = replace(other, digit=_crisp(other.digit))
    pair = np.stack([place_strokes(each.digit, _SIDE) for each in (found, other)])
    on_paper, on_screen = distances(pair).tolist()
    return other if on_screen <= max(LIMIT, on_paper) else found


def _crisp(strokes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return strokes without the wide grey edges of a digit of few pixels, cropped.

    They would close its loops when it is enlarged to 28 pixels.
    """
    import PIL.Image

    factor = -(-_FINE // max(strokes.shape))
    size = (strokes.shape[1] * factor, strokes.shape[0] * factor)
    fine = np.asarray(PIL.Image.fromarray(strokes).resize(size, PIL.Image.Resampling.BICUBIC))
    low, high = _EDGES
    crisp: npt.NDArray[np.float32] = ((fine - low) / (high - low)).clip(0, 1).astype(np.float32)
    return crisp[bounding_box(crisp > FAINT)]


def _judge(found: Found) -> tuple[Status, str]:
    """Return the status and its reason by the shape, and the distances to MNIST's digits."""
    if found.shapes > MOST:
        return "none", f"{found.shapes} shapes, as of text or a pattern"
    if reason := why_no_digit(found.digit):
        return "none", reason
    strokes = (found.digit, *found.parts)
    whole, *parts = distances(np.stack([place_strokes(each, _SIDE) for each in strokes])).tolist()
    alike = sum(distance <= LIMIT for distance in parts)
    # Two digits above each other may be like an 8, but less than each is like a digit.
    if len(parts) > 1 and alike == len(parts) and np.mean(parts) < whole:
        return "several", f"{len(parts)} shapes like digits"
    if whole <= LIMIT:
        return "digit", ""
    if alike > 1 and 2 * alike >= len(parts):
        return "several", f"{alike} shapes like digits among {len(parts)}"
    return "none", "unlike MNIST's digits"
