"""Digits of MNIST, and the same digits as other data sets hold them."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from gpucnn.data import Data, Split, mnist

TEN = tuple("0123456789")


@cache
def digits(count: int = 300, first: int = 0) -> Split:
    """Some training digits of MNIST; the recognition compares with test digits."""
    train = mnist().train
    return Split(train.images[first : first + count], train.labels[first : first + count])


@cache
def emnist_digits(count: int = 300, first: int = 0) -> Split:
    """Digits as EMNIST's authors prepare them: 24 pixels long, the box centred; upright."""
    images = np.zeros((count, 1, 28, 28), np.uint8)
    for result, image in zip(images[:, 0], digits(count, first).images[:, 0], strict=True):
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        crop = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        height, width = (max(1, round(side * 24 / max(crop.shape))) for side in crop.shape)
        scaled = Image.fromarray(crop).resize((width, height), Image.Resampling.BICUBIC)
        top, left = (28 - height) // 2, (28 - width) // 2
        result[top : top + height, left : left + width] = np.asarray(scaled)
    return Split(images, digits(count, first).labels)


def transposed(split: Split) -> Split:
    return Split(split.images.transpose(0, 1, 3, 2), split.labels)


def as_data(split: Split, classes: tuple[str, ...] = TEN, name: str = "set") -> Data:
    return Data(split, split, classes, name)


def write_idx(folder: Path, train: Split, test: Split | None = None, prefix: str = "") -> Path:
    """Write the four IDX files of a data set of grey images."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, split in (("train", train), ("test" if prefix else "t10k", test or train)):
        for kind, array in (("images", split.images[:, 0]), ("labels", split.labels)):
            header = struct.pack(f">{1 + array.ndim}I", 0x800 | array.ndim, *array.shape)
            name = f"{prefix}{part}-{kind}-idx{array.ndim}-ubyte"
            (folder / name).write_bytes(header + array.astype(np.uint8).tobytes())
    return folder
