"""What a restricted Boltzmann machine has learned: its filters, reconstructions and samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import DataError
from gpucnn.plots.canvas import HEAD, MARGIN, Canvas, as_colours, limits
from gpucnn.plots.style import WIDTH, Plot, sides, style
from gpucnn.plots.weights import weight_images

_MOST_IMAGES, _MOST_PAIRS = 64, 20


def rbm_filters(weights: NDArray[Any]) -> Plot:
    """Draw the weights of hidden units: blue negative, white 0, red positive, on one scale.

    Those of colour images are drawn as colours, in which grey is 0. Of more than 128 units the
    first are drawn, and of images that have neither one nor three channels their mean.

    Args:
        weights: (hidden, C, H, W), for example
            ``rbm.backend.to_numpy(rbm.weight).reshape(-1, *rbm.input_shape)``.

    Raises:
        DataError: the array has another number of axes.

    >>> machine = gpucnn.rbm.RBM((1, 28, 28), hidden=12)
    >>> figure = gpucnn.plots.rbm_filters(machine.weight.reshape(-1, 1, 28, 28))
    >>> len(figure.axes[0].images) - 1  # the last one is the scale
    12
    """
    weights = _four_axes("weights", weights)
    count, shape = len(weights), weights.shape[1:]
    if shape[0] not in (1, 3):
        weights = weights.mean(1, keepdims=True)
    scale = max(map(abs, limits(weights)))
    with style():
        return weight_images("Hidden units", [f"{count:,} of {sides(shape)}"], weights, scale)


def reconstructions(images: NDArray[Any], reconstructed: NDArray[Any]) -> Plot:
    """Draw images and their reconstructions below them, the first 20 of more.

    Args:
        images: uint8 (N, C, H, W).
        reconstructed: the same shape, from 0 to 1, as ``RBM.reconstruct`` returns them.

    Raises:
        DataError: the arrays have other types or shapes.
    """
    found = _as_bytes(_four_axes("reconstructed", reconstructed))
    if images.shape != found.shape:
        raise DataError(f"images have shape {images.shape}, their reconstructions {found.shape}")
    count, columns = min(len(images), _MOST_PAIRS), 10
    step = (WIDTH - MARGIN) / columns
    side, rows = step - 0.06, -(-count // columns)
    height = side * float(np.clip(images.shape[2] / images.shape[3], 0.3, 3))
    difference = (images.astype(np.float64) / 255 - reconstructed) ** 2
    note = f"mean squared difference {difference.mean():.4f}"
    if count < len(images):
        note += f", the first {count} of {len(images):,} are shown"
    with style():
        total = HEAD + rows * (2 * height + 0.16) + 0.04
        canvas = Canvas(total, "Images and their reconstructions", note)
        for index in range(count):
            x = MARGIN + index % columns * step
            y = HEAD + index // columns * (2 * height + 0.16)
            canvas.fit(as_colours(images[index]), x, y, side, height)
            canvas.fit(as_colours(found[index]), x, y + height + 0.03, side, height)
        return canvas.figure


def samples(images: NDArray[Any], steps: int | None = None) -> Plot:
    """Draw samples of a machine in rows, the first 64 of more.

    Args:
        images: (N, C, H, W) from 0 to 1, as ``RBM.sample`` returns them.
        steps: the number of Gibbs steps, which is written above them.

    Raises:
        DataError: the array has another number of axes.
    """
    found = _as_bytes(_four_axes("images", images))
    count, columns = min(len(found), _MOST_IMAGES), 16
    step = (WIDTH - MARGIN) / columns
    side, rows = step - 0.05, -(-count // columns)
    height = side * float(np.clip(found.shape[2] / found.shape[3], 0.3, 3))
    note = f"{count} chains" + (f" after {steps:,} Gibbs steps" if steps else "")
    with style():
        canvas = Canvas(HEAD + rows * (height + 0.05) + 0.06, "Samples", note)
        for index in range(count):
            x = MARGIN + index % columns * step
            canvas.fit(
                as_colours(found[index]), x, HEAD + index // columns * (height + 0.05), side, height
            )
        return canvas.figure


def _four_axes(name: str, array: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(array)
    if array.ndim != 4 or not array.size:
        raise DataError(f"{name} must have shape (N, C, H, W), got {array.shape}")
    return array


def _as_bytes(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Return images from 0 to 1 as uint8; NaN is 0."""
    scaled = np.nan_to_num(np.asarray(images, np.float64)) * 255
    found: NDArray[np.uint8] = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return found
