"""Pictures of any kind as the images that a model takes: what ``gpucnn predict`` reads.

``as_input`` only converts and resizes. ``as_digit`` does to a picture of a handwritten digit what
the makers of MNIST did: find the ink, scale it to 20 pixels, put its centre of mass in the centre.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gpucnn.data.digits import find_ink
from gpucnn.errors import DataError, SettingError

if TYPE_CHECKING:
    from PIL.Image import Image

Bytes = npt.NDArray[np.uint8]

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff"}
    | {".webp"}
)

_ORIENTATION = 0x0112  # the EXIF tag; values from 5 lay the picture on its side


def read_picture(path: Path | str) -> Bytes:
    """Read a picture, upright as its EXIF data asks, on white where it is transparent.

    Returns:
        uint8: (H, W) if the file is grey, (H, W, 3) in red, green and blue otherwise. Of 16-bit
        pixels the upper byte; of an animation the first picture.

    Raises:
        DataError: not a picture, a damaged one, or one of absurdly many pixels.
        SettingError: Pillow is not installed.
    """
    with _opened(path) as image:
        return np.asarray(_plain(image))


def picture_shape(path: Path | str) -> tuple[int, int, int]:
    """Return the shape (C, H, W) that ``read_picture`` will find; C is 1 (grey) or 3."""
    with _opened(path) as image:
        width, height = image.size
        if image.getexif().get(_ORIENTATION, 1) >= 5:
            width, height = height, width
        return (1 if _is_grey(image) else 3), height, width


def as_input(picture: Bytes, channels: int, size: tuple[int, int]) -> Bytes:
    """Convert a picture to a model's input.

    Args:
        picture: uint8 (H, W) or (H, W, 3).
        channels: 1 for grey or 3 for red, green and blue.
        size: (height, width) in pixels; the picture is stretched to it, whatever its proportions.

    Returns:
        uint8 (channels, height, width).

    Raises:
        DataError: not such a picture.
        SettingError: other channels, a size below 1, or Pillow is not installed.
    """
    if channels not in (1, 3):
        raise SettingError(f"the model takes {channels} channels: a picture has 1 or 3")
    if min(size) < 1:
        raise SettingError(f"size is {size[0]}x{size[1]}: both sides must be 1 or more")
    image = _image(picture).convert("L" if channels == 1 else "RGB")
    if image.size != size[::-1]:
        import PIL.Image

        image = image.resize(size[::-1], PIL.Image.Resampling.LANCZOS)
    pixels = np.asarray(image).reshape(*size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def as_digit(picture: Bytes, size: int = 28) -> Bytes:
    """Prepare a picture of one digit as MNIST's were: ink bright on a ground of 0.

    The digit may be dark on light or light on dark, drawn or photographed: uneven light, the
    edge of a shadow and specks are taken out. The ink's longer side becomes 20/28 of ``size``,
    its proportions are kept, and its centre of mass comes to pixel (size // 2, size // 2), to
    within half a pixel. Strokes much thinner than MNIST's are thickened.

    Args:
        picture: uint8 (H, W) or (H, W, 3).
        size: side of the result in pixels.

    Returns:
        uint8 (size, size).

    Raises:
        DataError: not such a picture, or nothing is drawn on it.
        SettingError: a size below 4, or Pillow is not installed.
    """
    if size < 4:
        raise SettingError(f"size is {size}: a digit needs 4 pixels or more")
    ink = find_ink(np.asarray(_image(picture).convert("L")))
    return _centred(_scaled(ink, round(size * 20 / 28)), size)


def _scaled(ink: npt.NDArray[np.float32], longer: int) -> npt.NDArray[np.float32]:
    """Return the ink, 0 to 255, with its longer side ``longer`` pixels and its greatest 255."""
    import PIL.Image

    image = PIL.Image.fromarray(ink)
    most = max(ink.shape)
    # MNIST's own digits come through as they are: a pixel's difference is not worth a blur
    if not longer - 1 <= most <= longer:
        height, width = (max(1, round(side * longer / most)) for side in ink.shape)
        # a filter without negative lobes: they would leave ripples on the ground
        image = image.resize((width, height), PIL.Image.Resampling.HAMMING)
    pixels: npt.NDArray[np.float32] = np.asarray(image)
    return pixels * np.float32(255 / pixels.max())


def _centred(digit: npt.NDArray[np.float32], size: int) -> Bytes:
    """Put the digit's centre of mass in the centre of a square, or as near as it can be whole."""
    result = np.zeros((size, size), dtype=np.uint8)
    corner = []
    for axis, side in enumerate(digit.shape):
        mass = digit.sum(axis=1 - axis, dtype=np.float64)
        centre = np.dot(mass, np.arange(side)) / mass.sum()
        corner.append(min(max(math.floor(size // 2 - centre + 0.5), 0), size - side))
    top, left = corner
    height, width = digit.shape
    result[top : top + height, left : left + width] = np.rint(digit)
    return result


@contextmanager
def _opened(path: Path | str) -> Iterator[Image]:
    """Open a picture; whatever goes wrong until the end of the block is a DataError."""
    module = _pillow()
    with warnings.catch_warnings():
        # Pillow warns of odd metadata, which do no harm here, and of too many pixels
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", module.DecompressionBombWarning)
        try:
            with module.open(path) as image:
                yield image
        except DataError:
            raise
        except (module.DecompressionBombWarning, module.DecompressionBombError):
            raise DataError(f"{path} has more pixels than {module.MAX_IMAGE_PIXELS}") from None
        except module.UnidentifiedImageError:
            raise DataError(f"{path} is not a picture, or a damaged one") from None
        # decoders raise what they like at broken data: SyntaxError, struct.error, ...
        except Exception as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{path} cannot be read: {reason}") from None


def _pillow() -> ModuleType:
    try:
        import PIL.Image
    except ImportError:
        raise SettingError("reading pictures needs Pillow: pip install 'gpucnn[images]'") from None
    return PIL.Image


def _image(picture: Bytes) -> Image:
    """Return an array as a Pillow image."""
    picture = np.asarray(picture)
    shape = picture.shape
    grey_or_rgb = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
    if picture.dtype != np.uint8 or not grey_or_rgb or 0 in shape:
        raise DataError(f"a picture must be uint8 (H, W) or (H, W, 3), not {picture.dtype} {shape}")
    image: Image = _pillow().fromarray(np.ascontiguousarray(picture))
    return image


def _is_deep(image: Image) -> bool:
    """Tell whether the pixels are grey of 16 bits; as such Pillow reads them into 32 too."""
    return image.mode == "I" or image.mode.startswith("I;16")


def _is_grey(image: Image) -> bool:
    return image.mode in ("1", "L", "LA", "F") or _is_deep(image)


def _plain(image: Image) -> Image:
    """Return a picture in mode L or RGB, upright and on white."""
    import PIL.Image
    import PIL.ImageOps

    mode = "L" if _is_grey(image) else "RGB"
    if image.mode == "F":
        raise DataError(f"{getattr(image, 'filename', 'the picture')} has pixels of 32-bit floats")
    image = PIL.ImageOps.exif_transpose(image)
    if _is_deep(image):
        upper = np.asarray(image).astype(np.int64) >> 8
        return PIL.Image.fromarray(upper.clip(0, 255).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        ground = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(ground, image.convert("RGBA"))
    return image.convert(mode)
