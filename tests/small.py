"""Small data and models for tests of whole runs."""

from __future__ import annotations

import numpy as np

from gpucnn.data import Data, Split
from gpucnn.nn.layers import Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU
from gpucnn.nn.sequential import Sequential


def blobs(count: int, classes: int = 4, channels: int = 1, size: int = 8, seed: int = 0) -> Split:
    """Noisy images with a bright patch in another corner for every class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    images = rng.integers(0, 120, (count, channels, size, size), dtype=np.uint8)
    half = size // 2
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        patch = image[:, row * half : (row + 1) * half, column * half : (column + 1) * half]
        patch[...] = rng.integers(90, 256, patch.shape)
    return Split(images, labels)


def small_data(count: int = 70, channels: int = 1, seed: int = 0) -> Data:
    train, test = blobs(count, channels=channels, seed=seed), blobs(40, channels=channels, seed=99)
    return Data(train, test, classes=("a", "b", "c", "d"), name="blobs")


def number_data(count: int = 70, targets: int = 2, seed: int = 0) -> Data:
    """Images of 8 by 8 pixels with sums of some of them to predict, in units that differ."""

    def split(count: int, seed: int) -> Split:
        rng = np.random.default_rng(seed)
        images = rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
        sums = np.stack([images[:, 0, k].sum(1) for k in range(targets)], 1) / 255
        noise = rng.normal(0, 0.05, sums.shape)
        return Split(images, (sums + noise) * 10.0 ** np.arange(targets) - 3)

    return Data(split(count, seed), split(40, 99), classes=(), name="numbers")


def small_model(seed: int = 0, channels: int = 1, p: float = 0.25, outputs: int = 4) -> Sequential:
    """A model with every kind of state: convolution, pooling, dropout, linear layers."""
    layers: dict[str, Layer] = {
        "conv": Conv2d(channels, 3, 3, padding=1),
        "relu": ReLU(),
        "pool": MaxPool2d(2),
        "flatten": Flatten(),
        "dropout": Dropout(p),
        "fc": Linear(48, outputs),
    }
    return Sequential(layers, (channels, 8, 8), seed=seed)


def save_npz(path: object, data: Data) -> None:
    """Write ``data`` the way ``gpucnn.data.load`` reads it."""
    np.savez(
        str(path),
        x_train=data.train.images,
        y_train=data.train.labels,
        x_test=data.test.images,
        y_test=data.test.labels,
    )
