"""The common start of training: the same weights, order of images and learning rate."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

LR, MOMENTUM = 0.01, 0.9
MEAN, STD = 0.1306604762738429, 0.30810780717887876
"""Mean and standard deviation of MNIST's training pixels / 255."""


@contextmanager
def start_file(images: int) -> Iterator[str]:
    """Write LeNet-5's initial weights, named as in PyTorch, and the order of the first epoch."""
    import gpucnn

    weights = gpucnn.models.lenet5(seed=0).state_dict()
    order = gpucnn.rng.epoch_order(0, 0, images)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "start.npz"
        np.savez(path, order=order, **weights)
        yield str(path)


def read_start(path: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the weights and the order of a start file."""
    with np.load(path) as arrays:
        weights = dict(arrays)
    return weights, weights.pop("order")
