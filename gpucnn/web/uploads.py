"""Images that a browser sends: bytes of any origin, and their limits."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpucnn.data.images.inputs import decode
from gpucnn.data.images.opening import pillow, quiet
from gpucnn.errors import DataError

MAX_BODY = 2 << 20
"""Bytes of an image file."""

MAX_PIXELS = 1 << 24
"""Pixels of an image, by its header."""

_TOO_MANY = f"the image has more than {MAX_PIXELS:,} pixels: reduce it"

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
"""Formats by content, whatever the file is called. Of an animation the first frame is read."""


class Way(NamedTuple):
    """How an image becomes the input of a network: the arguments of ``prepare_image`` after it."""

    shape: tuple[int, ...]
    """(C, H, W) of the input."""
    how: str
    """"digit" or "plain"."""
    classes: tuple[str, ...] | None
    """Names of the classes, if they are compared with digits."""


def read_upload(body: bytes) -> NDArray[np.uint8]:
    """Return the pixels of an image file, uint8 (H, W) or (H, W, 3); DataError if it is refused."""
    module = pillow()
    try:
        with quiet, module.open(io.BytesIO(body), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(_TOO_MANY)
            return decode(image)
    except (DataError, MemoryError):
        raise
    except module.DecompressionBombError:
        raise DataError(_TOO_MANY) from None
    # Decoders raise many types for broken data: SyntaxError, struct.error, ...
    except Exception:
        raise DataError(
            f"expected a {', '.join(FORMATS)} image, got none or a damaged one"
        ) from None
