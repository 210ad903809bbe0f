"""The images of a split on the model's device, cut into batches."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_integer
from gpucnn.data import Split
from gpucnn.errors import OutOfMemoryError, SettingError, ShapeError
from gpucnn.nn.losses import Loss
from gpucnn.nn.sequential import Sequential
from gpucnn.rng import epoch_order


class ImageBatches:
    """The images and labels of a split on a device, cut into batches.

    Args:
        be: the backend that receives the images.
        split: uint8 images (M, C, H, W) and labels (M,).
        batch_size: images in a batch, at least 1; the last batch may be shorter.
        scaling: scale and shift of the pixels, each (C,), as for ``gather_images``.
    """

    def __init__(
        self, be: Backend, split: Split, batch_size: int, scaling: tuple[Array, Array]
    ) -> None:
        self.count = len(split)
        self.batch_size = min(check_integer("batch_size", batch_size, 1), self.count)
        try:
            self.images = be.asarray(split.images, np.uint8)
        except OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"{error.found} for {self.count:,} images",
                "use fewer or smaller ones (--limit, --resize)",
            ) from error
        self.labels = be.asarray(split.labels)
        self.scale, self.shift = scaling
        self.order = be.asarray(np.arange(self.count))
        self._backend = be

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self.count // self.batch_size)

    def set_order(self, order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        """Put the images in another order: indices into the split, int64 (M,)."""
        self.order[...] = self._backend.asarray(order)


class Batches(ImageBatches):
    """The images and labels of a split on the model's device, cut into batches.

    Iterating yields every batch in the split's order; ``shuffled`` yields those of an epoch.

    Args:
        model: its backend receives the images, its ``normalization`` is applied to them.
        split: uint8 images (M, C, H, W) of the model's input shape, and labels (M,).
        batch_size: images in a batch, at least 1; the last batch may be shorter.

    Raises:
        ShapeError: the images do not have the model's input shape.
        SettingError: the model has no normalization, or ``batch_size`` is not a positive integer.
    """

    def __init__(self, model: Sequential, split: Split, batch_size: int) -> None:
        be = model.backend
        if not isinstance(split, Split):
            raise SettingError(
                f"expected a gpucnn.Split, such as data.test, got {type(split).__name__}"
            )
        if split.images.shape[1:] != model.input_shape:
            raise ShapeError(
                f"the images are {split.images.shape[1:]}, the model takes {model.input_shape}"
            )
        self.model = model
        super().__init__(be, split, batch_size, model.scaling())

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return (self.batch(index) for index in range(len(self)))

    def batch(self, index: int) -> tuple[Array, Array]:
        """Return the normalised images (N, C, H, W) and the labels (N,) of batch ``index``."""
        be, start = self.model.backend, index * self.batch_size
        indices = self.order[start : start + self.batch_size]
        images = be.gather_images(self.images, indices, self.scale, self.shift)
        return images, be.gather_labels(self.labels, indices)

    def shuffled(self, epoch: int, seed: int = 0) -> Iterator[tuple[Array, Array]]:
        """Put the images in the order that ``fit`` gives them, and yield every batch.

        Args:
            epoch: number of the epoch, from 0; each has an order of its own.
            seed: as in ``Settings``.
        """
        self.set_order(epoch_order(seed, epoch, self.count))
        return iter(self)

    def weigh(self, loss: Loss, images: int) -> float:
        """Return the divisor of the mean loss of the first ``images`` images in their order."""
        if not loss.weighted:
            return float(images)
        be = self.model.backend
        if not images:
            return 0.0
        return loss.weigh(be.to_numpy(be.gather_labels(self.labels, self.order[:images])))

    def check_weight(self, loss: Loss, images: str) -> None:
        """Raise SettingError if none of the images counts, so that they have no mean loss."""
        if not self.weigh(loss, self.count):
            raise SettingError(
                f"{loss} ignores all {self.count} {images}: choose another weight or ignore_index"
            )


def divide(total: float, weight: float) -> float:
    """Return a mean loss, NaN if no image counts."""
    return total / weight if weight else math.nan
