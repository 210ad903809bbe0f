"""Image files as model inputs: what ``gpucnn predict`` and folders of images read.

``as_input`` only converts and resizes. ``as_digit`` treats an image of a handwritten digit as the
makers of MNIST did: locate the strokes, scale them to 20 pixels, centre their centre of mass.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucnn.data.digits import find_strokes
from gpucnn.data.digits.colour import as_grey, colour_axis
from gpucnn.data.files import format_sides
from gpucnn.data.images.opening import ImageSource, open_image, pillow, upright_size
from gpucnn.data.types import Bytes
from gpucnn.errors import DataError, SettingError

if TYPE_CHECKING:
    from PIL.Image import Image


SHIFTS = ((1, 1), (2, 1), (0, 1), (1, 2), (1, 0))
"""Where each copy of ``shifted`` begins in the image padded by a pixel; the first is not moved."""

# Bits that the pixels of a file of 16 bits may take: of 8-bit images saved as such, and of cameras.
_DEPTHS = (8, 10, 12, 16)

# Images of a digit have at least so many pixels on a side.
_LEAST_SIDE = 8

# What differs by fewer levels from its background is not visible.
_VISIBLE = 32


def read_image(source: ImageSource, at_least: tuple[int, int] | None = None) -> Bytes:
    """Read an image file, upright as its EXIF data asks.

    Transparent parts become white; they become black if all that is visible is nearly white.

    Args:
        source: path, bytes, or open file; the format is recognised by the content, whatever its
            name.
        at_least: (height, width) that suffices. A larger JPEG file is decoded to half, a quarter or
            an eighth of its size, which is several times faster, but to no less than twice this.

    Returns:
        uint8: (H, W) if the file is grey, (H, W, 3) in red, green and blue otherwise. Of 16-bit
        pixels the upper byte, unless all values are below 256, 1,024 or 4,096: then the upper 8 of
        8, 10 or 12 bits. Of an animation the first frame.

    Raises:
        DataError: not an image, a damaged one, one with too many pixels, or not a file.
        SettingError: Pillow is not installed.
    """
    with open_image(source) as image:
        if at_least is not None:
            shrink(image, at_least)
        return decode(image)


def shrink(image: Image, at_least: tuple[int, int]) -> None:
    """Have an open JPEG file decoded to a smaller size, as ``read_image`` does."""
    if image.format not in ("JPEG", "MPO"):  # looking for the EXIF data of others may decode them
        return
    height, width = at_least if upright_size(image) == image.size[::-1] else at_least[::-1]
    image.draft(None, (2 * width, 2 * height))


def decode(image: Image, bits: int = 0) -> Bytes:
    """Return the pixels of an open image as ``read_image`` does.

    ``bits`` are those that the 16-bit pixels of this and other images take; 0: as this one's.
    """
    return np.asarray(_plain(image, bits))


def find_bits(image: Image) -> int:
    """Return how many bits the 16-bit pixels of an image take: 8, 10, 12 or 16; 0 without such."""
    return _bits(np.asarray(image)) if _is_deep(image) else 0


def check_size(name: str, size: tuple[int, int]) -> None:
    """Raise SettingError unless both sides of ``size``, (height, width), are 1 or more."""
    if min(size) < 1:
        raise SettingError(f"{name} is {format_sides(size)}: both sides must be 1 or more")


def as_input(image: Bytes, channels: int, size: tuple[int, int]) -> Bytes:
    """Convert an image to a model's input.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        channels: 1 for grey or 3 for red, green and blue.
        size: (height, width) in pixels; the image is stretched to it, whatever its proportions.

    Returns:
        uint8 (channels, height, width).

    Raises:
        DataError: another dtype or shape.
        SettingError: other channels, a size below 1, or Pillow is not installed.
    """
    if channels not in (1, 3):
        raise SettingError(f"the model takes {channels} channels: an image has 1 or 3")
    check_size("size", size)
    converted = _to_pillow(image).convert("L" if channels == 1 else "RGB")
    if converted.size != size[::-1]:
        import PIL.Image

        converted = converted.resize(size[::-1], PIL.Image.Resampling.LANCZOS)
    pixels = np.asarray(converted).reshape(*size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def as_digit(image: Bytes, size: int = 28) -> Bytes:
    """Prepare an image of one digit as those of MNIST: bright strokes on a background of 0.

    The digit may be dark on light or light on dark, drawn or photographed, and lie on a sheet or in
    a frame. Uneven light, the edge of a shadow, ruled lines and specks are removed. The longer side
    of the digit becomes 20/28 of ``size``, its proportions are kept, and its centre of mass moves
    to pixel (size // 2, size // 2), to within half a pixel. Strokes much thinner than MNIST's are
    thickened.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        size: side of the result in pixels.

    Returns:
        uint8 (size, size).

    Raises:
        DataError: another dtype or shape, or no digit is found.
        SettingError: a size below 4, or Pillow or SciPy is not installed.
    """
    check_digit_size(size)
    return place_strokes(find_strokes(to_grey(image)), size)


def shifted(digits: Bytes) -> list[Bytes]:
    """Return prepared digits (N, 1, H, W), and four copies shifted by a pixel to each side.

    The centre of mass is elsewhere in digits that were drawn otherwise than MNIST's. So the mean of
    a network's probabilities for all five is right more often than those for the first.
    """
    height, width = digits.shape[2:]
    padded = np.pad(digits, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return [padded[:, :, top : top + height, left : left + width] for top, left in SHIFTS]


def check_digit_size(size: int) -> None:
    """Raise SettingError if an image of this side is too small for a digit."""
    if size < 4:
        raise SettingError(f"size is {size}: a digit needs 4 pixels or more")


def to_grey(image: Bytes) -> Bytes:
    """Return an image, uint8 (H, W) or (H, W, 3), in grey, in which coloured strokes stand out."""
    converted = _to_pillow(image)
    axis = colour_axis(image) if image.ndim == 3 else None
    grey = np.asarray(converted.convert("L")) if axis is None else as_grey(image, axis)
    return _without_repeats(grey)


def _without_repeats(grey: Bytes) -> Bytes:
    """Return an image that was enlarged by repeating pixels, (k H, k W), in its own size (H, W).

    The edges of its blocks are not edges of strokes.
    """
    period = math.gcd(*grey.shape)
    for axis in (0, 1):
        changes = np.flatnonzero((np.diff(grey, axis=axis) != 0).any(axis=1 - axis)) + 1
        period = math.gcd(period, *changes.tolist())
    most = min(period, min(grey.shape) // _LEAST_SIDE)
    step = max((k for k in range(1, most + 1) if period % k == 0), default=1)
    return grey[::step, ::step]


def place_strokes(strokes: npt.NDArray[np.float32], size: int) -> Bytes:
    """Return strokes, (h, w) from 0 to 1, in the size and at the position of MNIST's digits."""
    return _centre(_scale(strokes, round(size * 20 / 28)), size)


def _scale(strokes: npt.NDArray[np.float32], longer: int) -> npt.NDArray[np.float32]:
    """Scale the longer side to ``longer`` pixels and the greatest value to 255."""
    import PIL.Image

    image = PIL.Image.fromarray(strokes)
    current = max(strokes.shape)
    # MNIST's own digits pass unchanged: resampling for one pixel would only blur them.
    if not longer - 1 <= current <= longer:
        height, width = (max(1, round(side * longer / current)) for side in strokes.shape)
        # A filter without negative lobes, which would leave ripples on the background.
        image = image.resize((width, height), PIL.Image.Resampling.HAMMING)
    pixels: npt.NDArray[np.float32] = np.asarray(image)
    return pixels * np.float32(255 / pixels.max())


def _centre(digit: npt.NDArray[np.float32], size: int) -> Bytes:
    """Place the digit's centre of mass at the centre of a square, without cutting the digit."""
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


def _to_pillow(image: Bytes) -> Image:
    """Return an array as a Pillow image."""
    image = np.asarray(image)
    shape = image.shape
    grey_or_rgb = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
    if image.dtype != np.uint8 or not grey_or_rgb or 0 in shape:
        raise DataError(f"an image must be uint8 (H, W) or (H, W, 3), got {image.dtype} {shape}")
    converted: Image = pillow().fromarray(np.ascontiguousarray(image))
    return converted


def _is_deep(image: Image) -> bool:
    """Return whether the pixels are 16-bit grey; Pillow reads some such files as 32-bit."""
    return image.mode == "I" or image.mode.startswith("I;16")


def is_grey(image: Image) -> bool:
    """Return whether ``read_image`` returns the image without colours."""
    return image.mode in ("1", "L", "LA", "F") or _is_deep(image)


def _plain(image: Image, bits: int) -> Image:
    """Return an image in mode L or RGB, upright and on white; ``bits`` as for ``decode``."""
    import PIL.Image
    import PIL.ImageOps

    mode = "L" if is_grey(image) else "RGB"
    if image.mode == "F":
        name = getattr(image, "filename", "the image")
        raise DataError(f"{name} has 32-bit float pixels: save it with 8 or 16-bit integers")
    image = PIL.ImageOps.exif_transpose(image)
    if _is_deep(image):
        return PIL.Image.fromarray(_upper_bits(np.asarray(image), bits))
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = _on_background(image.convert("RGBA"))
    return image.convert(mode)


def _bits(pixels: npt.NDArray[Any]) -> int:
    """Return how many bits the values of an image take, one of _DEPTHS."""
    greatest = pixels.max(initial=0)
    return next((bits for bits in _DEPTHS if greatest < 1 << bits), _DEPTHS[-1])


def _upper_bits(pixels: npt.NDArray[Any], bits: int) -> Bytes:
    """Return the upper 8 of so many bits, or if that is 0, of those that the values take."""
    values = pixels.clip(0, (1 << 16) - 1).astype(np.uint16)
    return (values >> ((bits or _bits(values)) - 8)).astype(np.uint8)


def _on_background(image: Image) -> Image:
    """Return an image in mode RGBA on white, or on black if nothing of it shows on white."""
    import PIL.Image

    on = {
        colour: PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, colour), image)
        for colour in ("white", "black")
    }
    # On white, white ink shows nothing; an opaque image is the same on both.
    contrast = {colour: np.ptp(np.asarray(each.convert("L"))) for colour, each in on.items()}
    return on["black" if contrast["white"] < _VISIBLE <= contrast["black"] else "white"]
