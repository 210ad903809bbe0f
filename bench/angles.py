"""Data for regression: MNIST's digits, each rotated by a random angle, which is to be predicted.

    python -m bench.angles angles.npz
    gpucnn train --data angles.npz --targets angle

The angles are degrees, drawn evenly from -45 to 45; a positive one turns a digit anticlockwise. A
digit's own slant, which differs from writer to writer, cannot be told from a rotation, so that no
network can be exact.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import gpucnn

MOST_DEGREES = 45.0


def rotate(images: NDArray[np.uint8], degrees: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return images (N, H, W), each turned about its centre, by bilinear interpolation."""
    count, height, width = images.shape
    y, x = np.mgrid[:height, :width] - np.array([height - 1, width - 1]).reshape(2, 1, 1) / 2
    angle = np.deg2rad(degrees)[:, None, None]
    # Where each pixel comes from: rows count downwards, so this turns anticlockwise.
    source_y = np.cos(angle) * y + np.sin(angle) * x + (height - 1) / 2
    source_x = -np.sin(angle) * y + np.cos(angle) * x + (width - 1) / 2
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    top, left = (np.floor(source).astype(int) for source in (source_y, source_x))
    result = np.zeros(images.shape)
    rows = np.arange(count)[:, None, None]
    for down in (0, 1):
        for right in (0, 1):
            part = 1 - np.abs(source_y - top - down)
            part = part * (1 - np.abs(source_x - left - right))
            row = np.clip(top + down + 1, 0, height + 1)
            column = np.clip(left + right + 1, 0, width + 1)
            result += part * padded[rows, row, column]
    return np.rint(result).astype(np.uint8)


def angles(images: NDArray[np.uint8], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return digits (N, 1, H, W) as rotated images (N, H, W), and their angles (N,)."""
    degrees = np.random.default_rng(seed).uniform(-MOST_DEGREES, MOST_DEGREES, len(images))
    parts = [slice(start, start + 1000) for start in range(0, len(images), 1000)]
    turned = [rotate(images[part, 0], degrees[part]) for part in parts]
    return np.concatenate(turned), degrees


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", help="the .npz file to write")
    parser.add_argument("--images", type=int, default=60_000, help="training images, up to 60000")
    arguments = parser.parse_args()
    folder = Path(arguments.file).parent
    if not folder.is_dir():
        parser.error(f"there is no folder {str(folder)!r}")
    data = gpucnn.data.mnist().limit(arguments.images)
    x_train, y_train = angles(data.train.images, seed=0)
    x_test, y_test = angles(data.test.images, seed=1)
    np.savez_compressed(
        arguments.file, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test
    )


if __name__ == "__main__":
    main()
