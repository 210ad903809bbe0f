"""An image as an input of a network, and whether it shows a digit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from gpucnn.data.images.inputs import as_input
from gpucnn.data.images.reading import read_digit
from gpucnn.data.types import Bytes

Status = Literal["digit", "none", "several", "image"]
"""What an image shows: a digit, none, several, or anything, if it was only resized."""

_DIGITS = tuple("0123456789")


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as an input of a network.

    Attributes:
        status: "digit", "none" or "several" (digits); "image" if it was only resized.
        reason: why it is not a single digit; empty if it is one, or was only resized.
        pixels: the input, uint8 (C, H, W); None if nothing was found.
        stages: float32 (h, w) from 0 to 1, a digit's image after each step, by the step's name.
    """

    status: Status
    reason: str
    pixels: Bytes | None
    stages: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict, repr=False)


def prepare_image(
    image: Bytes,
    input_shape: tuple[int, ...],
    how: str,
    classes: Sequence[str] | None = None,
) -> Prepared:
    """Return an image as an input of a network.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        input_shape: (C, H, W) of the input; for digits (1, H, H).
        how: "digit" prepares the image as ``read_digit`` does, "plain" only resizes it.
        classes: names of the network's classes. An image is compared with digits if they are the
            digits, or unknown; networks for letters have the same preparation.
    """
    channels, height, width = input_shape
    if how == "plain":
        return Prepared("image", "", as_input(image, channels, (height, width)))
    reading = read_digit(image, height, judge=classes is None or tuple(classes) == _DIGITS)
    pixels = None if reading.pixels is None else reading.pixels[None]
    return Prepared(reading.status, reading.reason, pixels, reading.stages)
