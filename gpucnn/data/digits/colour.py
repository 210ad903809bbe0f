"""Colour images of digits as grey images in which the strokes stand out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpucnn.data.types import Bytes

# Red, green and blue in the lightness of a pixel (ITU-R BT.601), as Pillow weighs them.
_LIGHTNESS = np.array([0.299, 0.587, 0.114])
# Colours count if they differ so many times more than the lightness does: red on green.
_MORE = 2.0
# Pixels from which the colours are estimated.
_SAMPLES = 20_000


def colour_axis(image: Bytes) -> npt.NDArray[np.float64] | None:
    """Return the weights of red, green and blue that show the strokes best; None for lightness.

    They are the first principal component of the colours, where strokes and background differ in
    hue more than in lightness.

    Args:
        image: uint8 (H, W, 3).
    """
    pixels = image.reshape(-1, 3)
    sample = pixels[:: 1 + len(pixels) // _SAMPLES].astype(np.float64)
    spread, axes = np.linalg.eigh(np.cov(sample.T, bias=True)) if len(sample) > 1 else (None, None)
    if spread is None or axes is None or spread[-1] == 0:
        return None
    axis = axes[:, -1] / np.abs(axes[:, -1]).sum()
    if (sample @ axis).std() < _MORE * (sample @ _LIGHTNESS).std():
        return None
    weights: npt.NDArray[np.float64] = axis if axis @ _LIGHTNESS >= 0 else -axis
    return weights


def as_grey(image: Bytes, axis: npt.NDArray[np.float64]) -> Bytes:
    """Return the image (H, W, 3) projected on a colour axis, as uint8 (H, W)."""
    # Negative weights would give negative values.
    offset = -255 * axis[axis < 0].sum()
    values = image.astype(np.float32) @ axis.astype(np.float32) + np.float32(offset)
    grey: Bytes = np.rint(values).clip(0, 255).astype(np.uint8)
    return grey
