"""Images that a browser sends: bytes of any origin, decoded and prepared."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpucnn.data.images.inputs import as_input, decode
from gpucnn.data.images.opening import pillow, quiet
from gpucnn.data.images.reading import read_digit
from gpucnn.errors import DataError

MAX_BODY = 2 << 20
"""Bytes of an image file."""

MAX_PIXELS = 1 << 24
"""Pixels of an image, by its header."""

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
"""Formats by content, whatever the file is called. Of an animation the first frame is read."""


@dataclass(frozen=True)
class Way:
    """How an image becomes the input of a network.

    Attributes:
        how: "digit" or "plain".
        shape: (C, H, W) of the input.
        judge: whether a digit is compared with others, to find out whether it is one.
    """

    how: str
    shape: tuple[int, ...]
    judge: bool


@dataclass(frozen=True)
class Prepared:
    """An image as an input of a network.

    Attributes:
        status: "digit", "none", "several", or "image" if it was only resized.
        reason: why it is no single digit; empty if it is one.
        pixels: uint8 (C, H, W); None if nothing was found.
    """

    status: str
    reason: str
    pixels: NDArray[np.uint8] | None


def read_upload(body: bytes) -> NDArray[np.uint8]:
    """Return the pixels of an image file, uint8 (H, W) or (H, W, 3); DataError if it is refused."""
    module = pillow()
    try:
        with quiet, module.open(io.BytesIO(body), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"the image has {image.width} x {image.height} pixels, expected at most "
                    f"{MAX_PIXELS:,}: reduce it"
                )
            return decode(image)
    except (DataError, MemoryError):
        raise
    # Decoders raise many types for broken data: SyntaxError, struct.error, ...
    except Exception:
        raise DataError(
            f"expected a {', '.join(FORMATS)} image, got none or a damaged one"
        ) from None


def prepare(image: NDArray[np.uint8], way: Way) -> Prepared:
    """Return an image, uint8 (H, W) or (H, W, 3), as an input; as ``gpucnn predict`` does."""
    channels, height, width = way.shape
    if way.how == "plain":
        return Prepared("image", "", as_input(image, channels, (height, width)))
    reading = read_digit(image, height, judge=way.judge)
    pixels = None if reading.pixels is None else reading.pixels[None]
    return Prepared(reading.status, reading.reason, pixels)
