"""How alike an image is to handwritten digits: the distance to the nearest ones of MNIST.

Images are compared by the directions of their edges: histograms of gradients in 7 x 7 cells (Dalal
and Triggs, 2005), and the angle between two such vectors. A network assigns any image to one of
its classes, often with a high probability; the distance shows that it is no digit at all.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from gpucnn.data.digits.arrays import Floats, ndimage
from gpucnn.data.formats.idx_file import read_idx
from gpucnn.data.types import Bytes

LIMIT = 0.19
"""Greater distances are no digit's. Measured: 1.6 % of MNIST's test digits exceed it."""

# The first so many training digits of MNIST: more improve little, and take longer to prepare.
_REFERENCES = 10_000
# The mean over so many of the nearest: a single one may be badly written.
_NEAREST = 3
_DIRECTIONS = 8
_CELLS = 7
# Side of the images in pixels.
_SIDE = 28


def distances(digits: Bytes) -> Floats:
    """Return the distance of each image to the nearest digits of MNIST.

    Args:
        digits: uint8 (N, 28, 28), prepared as those of MNIST.

    Returns:
        float32 (N,), from 0 (equal) to 1: one minus the mean cosine of the nearest digits.
    """
    similar = edge_directions(digits) @ _references().T
    nearest = np.partition(similar, -_NEAREST, axis=1)[:, -_NEAREST:]
    found: Floats = 1 - nearest.mean(axis=1)
    return found


def edge_directions(digits: Bytes) -> Floats:
    """Return for each image (28, 28) the histograms of its gradients, float32 (N, 392), norm 1."""
    count = len(digits)
    smooth = ndimage().gaussian_filter(digits.astype(np.float32) / 255, (0, 1, 1))
    down, across = np.gradient(smooth, axis=(1, 2))
    strength = np.hypot(down, across)
    # Where there is an edge; most of an image is background.
    image, row, column = np.nonzero(strength)
    strength = strength[image, row, column]
    angle = np.arctan2(down[image, row, column], across[image, row, column]) + np.pi
    direction = angle * (_DIRECTIONS / (2 * np.pi))
    lower = np.floor(direction).astype(np.intp)
    share = direction - lower
    cell = (image * _CELLS + row * _CELLS // _SIDE) * _CELLS + column * _CELLS // _SIDE
    # Each gradient counts for the two directions that are next to its own.
    size = count * _CELLS * _CELLS * _DIRECTIONS
    histograms = np.zeros(size)
    for number, weight in ((lower, 1 - share), (lower + 1, share)):
        at = cell * _DIRECTIONS + number % _DIRECTIONS
        histograms += np.bincount(at, weights=strength * weight, minlength=size)
    # Square roots, so that a few strong edges do not outweigh the others.
    found: Floats = np.sqrt(histograms).astype(np.float32).reshape(count, -1)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.float32(1e-6))
    return found


@cache
def _references() -> Floats:
    folder = Path(__file__).parents[1] / "mnist"
    digits = read_idx(folder / "train-images-idx3-ubyte.gz", 3)[:_REFERENCES]
    return np.concatenate([edge_directions(part) for part in np.array_split(digits, 10)])
