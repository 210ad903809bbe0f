"""Which pixels an output depends on: by its gradient, and by covering parts of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_integer
from gpucnn.errors import SettingError
from gpucnn.nn.layers import TrainingPass
from gpucnn.nn.preprocessing import check_images
from gpucnn.nn.sequential import Sequential, check_own_forward

Classes = int | Sequence[int] | NDArray[np.integer[Any]] | None
"""A class for all images, or one for each; None for the predicted ones."""


def gradient_saliency(
    model: Sequential, images: Any, classes: Classes = None, *, batch_size: int = 64
) -> NDArray[Any]:
    """Return how much each pixel changes the score of a class.

    It is the absolute gradient of the class's output, before softmax or sigmoid unless the model
    has it as a layer, by the pixel on a scale of 0 to 1; the greatest of the channels. Dropout is
    off. The backend's own backward passes compute it, and overwrite the gradients of the model's
    parameters.

    Source: Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks: visualising image
    classification models and saliency maps" (arXiv:1312.6034).

    Args:
        model: a network with ``normalization``, and outputs (K,).
        images: uint8 images as for ``model.predict``, N of them.
        classes: whose score: a number, or N of them; None: the class with the highest score.
        batch_size: images at a time.

    Returns:
        (N, H, W), of the backend's dtype, at least 0.

    Raises:
        DataError: the images are not uint8 of the model's input shape.
        SettingError: there is no such class, ``batch_size`` is not a positive integer, or the
            model has no normalization, or a ``forward`` of its own.
    """
    check_own_forward(model)
    be, pixels = model.backend, check_images(images, model.input_shape)
    chosen = _chosen(model, classes, len(pixels))
    scale = np.abs(be.to_numpy(model.scaling()[0])) * 255
    maps = np.empty((len(pixels), *model.input_shape[1:]), be.dtype)
    with be.limit_threads():
        for start, x in model.batches(pixels, batch_size):
            rows = slice(start, start + x.shape[0])
            grad = be.to_numpy(_input_grad(model, x, None if chosen is None else chosen[rows]))
            maps[rows] = (np.abs(grad) * scale[:, None, None]).max(1)
    return maps


def occlusion_saliency(
    model: Sequential,
    images: Any,
    classes: Classes = None,
    *,
    size: int | None = None,
    stride: int | None = None,
    batch_size: int = 64,
) -> NDArray[Any]:
    """Return by how much covering each pixel lowers the probability of a class.

    A square of the mean colour of the training images moves over each image. A pixel's value is
    the mean fall of the probability over the squares that cover it; below 0, the probability rises.

    Source: Zeiler, Fergus, "Visualizing and understanding convolutional networks"
    (arXiv:1311.2901).

    Args:
        model: a network with ``normalization``, and outputs (K,).
        images: uint8 images as for ``model.predict``, N of them.
        classes: whose probability: a number, or N of them; None: the most probable class.
        size: side of the square in pixels; a quarter of the image's shorter side if None.
        stride: pixels that it moves, at most ``size``; half of it if None. The last square in a row
            or column ends with the image.
        batch_size: covered images at a time.

    Returns:
        (N, H, W), of the backend's dtype. Of a model trained by a squared error, which has no
        probabilities, the fall of the score.

    Raises:
        DataError: the images are not uint8 of the model's input shape.
        SettingError: there is no such class, the square does not fit the image, ``stride`` is
            greater than its side, or the model has no normalization.
    """
    pixels = check_images(images, model.input_shape)
    _, height, width = model.input_shape
    size = max(1, min(height, width) // 4) if size is None else check_integer("size", size, 1)
    if size > min(height, width):
        raise SettingError(f"size is {size}, but the images are only {height}x{width} pixels")
    stride = max(1, size // 2) if stride is None else check_integer("stride", stride, 1)
    if stride > size:
        raise SettingError(f"stride is {stride}: pixels between squares of {size} would be left")
    squares = [
        (slice(top, top + size), slice(left, left + size))
        for top in _positions(height, size, stride)
        for left in _positions(width, size, stride)
    ]
    probabilities = model.predict(pixels, batch_size)
    chosen = _chosen(model, classes, len(pixels))
    chosen = probabilities.argmax(1) if chosen is None else chosen
    mean = np.rint(255 * np.array(model.normalization)[0]).clip(0, 255).astype(np.uint8)
    maps = np.zeros((len(pixels), height, width), probabilities.dtype)
    counts = np.zeros((height, width), probabilities.dtype)
    for rows, columns in squares:
        counts[rows, columns] += 1
    for k, image in enumerate(pixels):
        covered = np.repeat(image[None], len(squares), 0)
        for each, (rows, columns) in zip(covered, squares, strict=True):
            each[:, rows, columns] = mean[:, None, None]
        falls = probabilities[k, chosen[k]] - model.predict(covered, batch_size)[:, chosen[k]]
        for fall, (rows, columns) in zip(falls, squares, strict=True):
            maps[k, rows, columns] += fall
    return maps / counts


def _chosen(model: Sequential, classes: Classes, count: int) -> NDArray[np.int64] | None:
    """Return the class of each image, int64 (N,); None for the predicted ones."""
    if len(model.output_shape) != 1:
        raise SettingError(f"saliency needs a model with outputs (K,), got {model.output_shape}")
    if classes is None:
        return None
    chosen = np.asarray(classes)
    if chosen.dtype.kind not in "iu" or chosen.shape not in ((), (count,)):
        raise SettingError(f"classes must be an integer, or one for each of {count} images")
    outputs = model.output_shape[0]
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < outputs:
        raise SettingError(f"classes must be 0 to {outputs - 1}, got {classes!r}")
    return np.broadcast_to(chosen, (count,)).astype(np.int64)


def _input_grad(model: Sequential, x: Array, chosen: NDArray[np.int64] | None) -> Array:
    """Return the gradient of the chosen outputs by the model's input ``x``, of its shape."""
    be = model.backend
    outputs, saved = model.chain.forward(be, x, TrainingPass(seed=0, evaluation=True))
    if chosen is None:
        chosen = be.to_numpy(outputs).argmax(1)
    grad = be.one_hot(be.asarray(chosen), int(outputs.shape[1]))
    return model.chain.backward(be, grad, saved)


def _positions(side: int, size: int, stride: int) -> list[int]:
    """Return the first pixels of the squares along one side; the last ends with the image."""
    last = side - size
    return sorted({*range(0, last + 1, stride), last})
