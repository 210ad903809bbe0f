"""Recognising images that were prepared as MNIST's, and transposed ones, by content.

A network classifies well only images that are prepared as its training images were. The makers of
MNIST scaled each digit to 20 pixels and moved its centre of mass to the centre of 28x28 pixels, on
a background of 0. Images of exactly this geometry are recognised, whatever their labels. Digits
that were scaled differently, such as EMNIST's, are recognised by their labels: the digit whose mean
in MNIST is most similar must be the labelled one in at least half of the images.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from gpucnn.data.dataset import Data
from gpucnn.data.formats.idx_file import read_idx
from gpucnn.data.lazy import Images, LazyImages
from gpucnn.data.types import Bytes, Labels

MNIST_FINGERPRINT = "6ec8b2bda93d92536a92256ebf1a467ebbbf3d2091d83fd0148536a007e75caa"
"""``Data.fingerprint()`` of MNIST's 60,000 training images."""

_SIDE, _BOX = 28, 20
# Images looked at, spread evenly over the training images.
_SAMPLE = 500
# The share of images with MNIST's geometry among MNIST's own is 0.98.
_GEOMETRY_SHARE = 0.9
_CENTRE, _CENTRE_TOLERANCE = 14.0, 0.6
# Nearest means agree with 0.7 of MNIST's labels, and with 0.12 of those of transposed digits.
_AGREEMENT = 0.5
_MIN_DIGITS, _MIN_IMAGES = 4, 10
# A pixel above this is part of a stroke; below it may be noise of JPEG.
_INK = 64
_DARK_SHARE = 0.99

Grid = npt.NDArray[np.float32]


def recognise(data: Data) -> str:
    """Return how images have to be prepared for a network trained on ``data``.

    Returns:
        "digit" if the training images are handwritten digits prepared as MNIST's, else "plain":
        also for regression, as moving and scaling the strokes may change what is to be predicted.
    """
    if data.is_regression or data.input_shape != (1, _SIDE, _SIDE):
        return "plain"
    images, digits = _sample(data)
    if not _is_dark_around(images):
        return "plain"
    if _geometry_share(images) >= _GEOMETRY_SHARE or _agreement(images, digits) >= _AGREEMENT:
        return "digit"
    return "plain"


def lies_transposed(data: Data) -> bool | None:
    """Return whether the images are digits with rows and columns exchanged; None if undecided."""
    if data.input_shape != (1, _SIDE, _SIDE):
        return None
    images, digits = _sample(data)
    if not _is_dark_around(images):
        return None
    upright = _agreement(images, digits)
    transposed = _agreement(images.transpose(0, 2, 1), digits)
    if max(upright, transposed) < _AGREEMENT:
        return None
    return transposed > upright


def has_black_borders(data: Data) -> bool:
    """Return whether almost no stroke of the training images touches their borders."""
    return _is_dark_around(_sample(data)[0])


def _sample(data: Data) -> tuple[Bytes, Labels]:
    """Return some training images (n, H, W) and the digit each is labelled with, or -1."""
    count = len(data.train)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.int64))
    images = _chosen(data.train.images, chosen)
    if data.is_regression:
        return images, np.full(len(chosen), -1)
    names = [int(name) if name in tuple("0123456789") else -1 for name in data.classes]
    return images, np.array(names)[data.train.labels[chosen]]


_samples: WeakKeyDictionary[LazyImages, Bytes] = WeakKeyDictionary()


def _chosen(images: Images, chosen: Labels) -> Bytes:
    """Return the first channel of some images, which are read once where they are lazy."""
    if not isinstance(images, LazyImages):
        sample: Bytes = images[chosen, 0]
        return sample
    if images not in _samples:
        _samples[images] = images[chosen, 0]
    return _samples[images]


def _is_dark_around(images: Bytes) -> bool:
    """Return whether almost no stroke touches the images' borders."""
    border = np.concatenate(
        [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1
    )
    return bool((border < _INK).mean() >= _DARK_SHARE)


def _geometry_share(images: Bytes) -> float:
    """Return the share of images whose size and centre of mass are as MNIST's."""
    longer, centres = [], []
    for axis in (1, 2):
        profile = images.sum(axis=axis, dtype=np.int64)  # (n, 28)
        on = profile > 0
        longer.append(_SIDE - on.argmax(1) - on[:, ::-1].argmax(1))
        mass = np.maximum(profile.sum(1), 1)
        centres.append(profile @ np.arange(_SIDE) / mass)
    sized = np.abs(np.maximum(*longer) - (_BOX - 0.5)) <= 0.5  # 19 or 20
    centred = (np.abs(np.array(centres) - _CENTRE) <= _CENTRE_TOLERANCE).all(0)
    return float((sized & centred).mean())


def _agreement(images: Bytes, digits: Labels) -> float:
    """Return the share of images that are most similar to the mean of the labelled digit."""
    labelled = digits >= 0
    if labelled.sum() < _MIN_IMAGES or len(np.unique(digits[labelled])) < _MIN_DIGITS:
        return 0.0
    grids = np.stack([_cropped(image) for image in images[labelled]])
    nearest = (_standardised(grids) @ _mean_digits().T).argmax(1)
    return float((nearest == digits[labelled]).mean())


@cache
def _mean_digits() -> Grid:
    """Return the standardised mean of each digit in a part of MNIST's test images, (10, 400)."""
    folder = Path(__file__).parent / "mnist"
    labels = read_idx(folder / "t10k-labels-idx1-ubyte.gz", 1)[:1000]
    images = read_idx(folder / "t10k-images-idx3-ubyte.gz", 3)[:1000]
    grids = np.stack([_cropped(image) for image in images])
    return _standardised(np.stack([grids[labels == digit].mean(0) for digit in range(10)]))


def _cropped(image: Bytes) -> Grid:
    """Return the strokes scaled to 20x20 pixels, proportions kept, as a vector of 400."""
    on = image >= _INK
    result = np.zeros((_BOX, _BOX), np.float32)
    rows, columns = np.flatnonzero(on.any(1)), np.flatnonzero(on.any(0))
    if not rows.size:
        return result.ravel()
    scale = max(np.ptp(rows), np.ptp(columns)) + 1
    steps = (np.arange(_BOX) + 0.5 - _BOX / 2) * scale / _BOX
    indices = []
    for found, side in zip((rows, columns), image.shape, strict=True):
        index = np.floor(steps + (found[0] + found[-1] + 1) / 2).astype(np.int64)
        indices.append((index, (index >= 0) & (index < side)))
    (y, y_inside), (x, x_inside) = indices
    result[np.ix_(y_inside, x_inside)] = image[np.ix_(y[y_inside], x[x_inside])]
    return result.ravel()


def _standardised(grids: Grid) -> Grid:
    """Return each row with mean 0 and norm 1."""
    centred = grids - grids.mean(1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    scaled: Grid = centred / np.maximum(norm, 1e-6)
    return scaled
