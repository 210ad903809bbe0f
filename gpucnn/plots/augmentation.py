"""What random changes make of training images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Augmentation, get_backend
from gpucnn.errors import DataError
from gpucnn.plots.canvas import HEAD, MARGIN, Canvas, as_colours
from gpucnn.plots.style import WIDTH, Plot, clean, style
from gpucnn.rng import Stream, philox_key

_ROWS, _COLUMNS = 8, 12


def augmented(images: NDArray[Any], augmentation: Augmentation, seed: int = 0) -> Plot:
    """Draw each image, and what 11 training steps would make of it, in a row.

    Args:
        images: uint8 (N, C, H, W), for example ``data.train.images[:8]``; of more than 8 the first
            are drawn.
        augmentation: the changes.
        seed: what they are drawn from.

    Raises:
        DataError: the images are not uint8 (N, C, H, W).

    >>> images = gpucnn.data.mnist().train.images[:3]
    >>> figure = gpucnn.plots.augmented(images, gpucnn.Augmentation(shift=2, rotate=10))
    >>> len(figure.axes[0].images)
    36
    """
    pixels = np.asarray(images)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or not pixels.size:
        raise DataError(f"images must be uint8 (N, C, H, W), got {pixels.dtype} {pixels.shape}")
    pixels, columns = pixels[:_ROWS], [pixels[:_ROWS]]
    be, (count, channels, height, width) = get_backend("numpy"), pixels.shape
    source = pixels, np.arange(count), be.asarray(np.ones(channels)), be.zeros((channels,))
    key = philox_key(seed, Stream.AUGMENTATION, 0)
    for number in range(1, _COLUMNS):
        found = be.augment_images(*source, augmentation, key, np.array([number]))
        columns.append(np.rint(found).astype(np.uint8))
    step = (WIDTH - MARGIN) / _COLUMNS
    side = step - 0.05
    tall = side * float(np.clip(height / width, 0.3, 3))
    with style():
        note = clean(str(augmentation) or "no changes")
        canvas = Canvas(HEAD + count * (tall + 0.05), "Images and random changes of them", note)
        for column, changed in enumerate(columns):
            for row, image in enumerate(changed):
                x, y = MARGIN + column * step, HEAD + row * (tall + 0.05)
                canvas.fit(as_colours(image), x, y, side, tall)
        return canvas.figure
