"""From uint8 images to what a model computes with: checks, and the scale of each channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import DataError, SettingError
from gpucnn.nn.layers.base import Shape

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, of pixels scaled to [0, 1]."""


def batch_shape(input_shape: Shape) -> str:
    """Return the shape of a batch as text: "(N, 1, 28, 28)"."""
    return f"(N, {', '.join(map(str, input_shape))})"


def check_images(images: Any, input_shape: Shape) -> NDArray[np.uint8]:
    """Return ``images`` as uint8 (N, C, H, W); raise DataError if they do not fit.

    (N, H, W) is accepted for one channel.
    """
    pixels = np.asarray(images)
    if pixels.dtype != np.uint8:
        raise DataError(f"images must be uint8, from 0 to 255, got {pixels.dtype}")
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.shape[1:] != input_shape or not len(pixels):
        shape = batch_shape(input_shape)
        raise DataError(f"images must have shape {shape}, got {np.shape(images)}")
    return pixels


def scale_and_shift(
    normalization: Normalization | None, channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (scale, shift), each (C,): a pixel of 0 to 255 becomes pixel * scale + shift.

    Raises SettingError if there is no normalization, or not one value for each channel.
    """
    if normalization is None:
        raise SettingError(
            "the model has no normalization: fit sets it, or set "
            "model.normalization = data.statistics()"
        )
    mean, std = (np.asarray(values, np.float64) for values in normalization)
    if mean.shape != (channels,) or std.shape != mean.shape:
        raise SettingError(
            f"normalization must have {channels} means and standard deviations, got {normalization}"
        )
    return 1 / (255 * std), -mean / std
