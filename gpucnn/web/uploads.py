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
"""Formats by content; whatever the file is called. Of an animation the first frame is read."""


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
    except DataError:
        raise
    # Decoders raise many types for broken data: SyntaxError, struct.error, ...
    except Exception:
        raise DataError(f"the file is not a {', '.join(FORMATS)} image, or is damaged") from None


def prepare(
    image: NDArray[np.uint8], how: str, input_shape: tuple[int, ...], judge: bool
) -> Prepared:
    """Return an image as an input of a network, as ``gpucnn predict`` does.

    ``how`` is "digit" or "plain"; ``judge`` is whether it is compared with digits.
    """
    channels, height, width = input_shape
    if how == "plain":
        return Prepared("image", "", as_input(image, channels, (height, width)))
    reading = read_digit(image, height, judge=judge)
    pixels = None if reading.pixels is None else reading.pixels[None]
    return Prepared(reading.status, reading.reason, pixels)
