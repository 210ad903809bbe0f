"""Cases: batches of images with random changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends.contract.augmentation import Augmentation
from gpucnn.testing.case import Case
from gpucnn.testing.cases.random import KEY, STEP
from gpucnn.testing.values import AROUND_BLOCKS, Shape, Values, normal, positive, with_nan


def augment(name: str, shape: Shape, count: int, first: int = 0, **changes: Any) -> Case:
    """Return a case of augment_images: ``count`` of the images."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {
            "images": rng.integers(0, 256, shape, np.uint8),
            "indices": rng.integers(0, shape[0], count),
            "scale": positive(rng, shape[1]),
            "shift": normal(rng, shape[1]),
            "step": np.array([STEP]),
        }

    # A rounded coordinate of up to n pixels errs by n units; so does the value there.
    terms = 4 * max(shape[2:]) ** 2
    options = {"augmentation": Augmentation(**changes), "key": KEY, "first": first}
    return Case("augment_images", name, make, options, terms)


def lerp(name: str, shape: Shape, weight: float, values: Values = normal) -> Case:
    """Return a case of lerp."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"input": values(rng, *shape), "end": normal(rng, *shape)}
        return {**arrays, "weight": np.array([weight], np.float32)}

    return Case("lerp", name, make)


AUGMENTATIONS = [
    lerp("0.75", (5, 7), 0.75),
    lerp("weight 0", (5, 7), 0.0),
    lerp("weight 1", (5, 7), 1.0),
    lerp("a number", (), 0.6),
    lerp("NaN and infinities", (2, 3, 4, 5), 0.5, with_nan),
    *(lerp(f"{size} elements", (size,), 0.9) for size in AROUND_BLOCKS),
    augment("no change", (4, 2, 5, 3), 3),
    augment("shift", (3, 1, 5, 6), 4, shift=2),
    augment("rotate", (3, 2, 7, 6), 4, rotate=180),
    augment("scale", (3, 1, 6, 6), 4, scale=0.5),
    augment("shear", (3, 1, 6, 5), 4, shear=45),
    augment("elastic", (3, 1, 9, 8), 3, elastic=1.5),
    augment("erase", (3, 2, 9, 8), 6, erase=0.7),
    augment("erase small images", (3, 1, 2, 3), 4, erase=1),
    augment("flips", (3, 1, 3, 4), 8, flip=0.5, flip_vertical=0.5),
    augment("1 pixel", (3, 1, 1, 1), 3, rotate=30, elastic=0.4, scale=0.1),
    augment("far outside", (2, 1, 4, 4), 3, elastic=1000),
    augment(
        "everything, of a later part", (4, 2, 17, 16), 3, first=5,
        shift=2, rotate=15, scale=0.2, shear=10, elastic=1, erase=0.5, flip=0.5, flip_vertical=0.5,
    ),
]  # fmt: skip
