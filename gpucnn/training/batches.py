"""The images of a split on the model's device, cut into batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_integer
from gpucnn.data import Split
from gpucnn.data.lazy import LazyImages
from gpucnn.errors import DataError, OutOfMemoryError, SettingError, ShapeError
from gpucnn.nn.losses import Loss
from gpucnn.nn.sequential import Sequential
from gpucnn.rng import epoch_order
from gpucnn.training.feed import Feed, Needed, read
from gpucnn.training.results.figures import Metrics
from gpucnn.training.results.regression import RegressionMetrics, r_squared, sum_squares
from gpucnn.training.task import task_of


class ImageBatches:
    """The images and labels of a split on a device, cut into batches.

    Args:
        be: the backend that receives the images.
        split: uint8 images (M, C, H, W) and labels (M,).
        batch_size: images in a batch, at least 1; the last batch may be shorter.
        scaling: scale and shift of the pixels, each (C,), as for ``gather_images``.
        targets: numbers to predict (M, K) in place of the labels.
    """

    def __init__(
        self,
        be: Backend,
        split: Split,
        batch_size: int,
        scaling: tuple[Array, Array],
        targets: NDArray[np.float64] | None = None,
    ) -> None:
        self.count = len(split)
        self.batch_size = min(check_integer("batch_size", batch_size, 1), self.count)
        self.images, self.source = _place(be, split)
        if targets is None and split.is_regression:
            targets = split.targets
        self.labels = be.asarray(split.labels if targets is None else targets.astype(be.dtype))
        self.scale, self.shift = scaling
        self.order = be.asarray(np.arange(self.count))
        self._order: NDArray[np.int64] | None = None  # the same on the host; None is the split's
        self._backend = be

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self.count // self.batch_size)

    def set_order(self, order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        """Put the images in another order: indices into the split, int64 (M,)."""
        self.order[...] = self._backend.asarray(order)
        # Where the host has the order already there is no second copy of it.
        self._order = self.order if isinstance(self.order, np.ndarray) else order

    def shuffle(self, epoch: int, seed: int) -> None:
        """Put the images in the order of an epoch, from 0."""
        if isinstance(self.order, np.ndarray):  # in place: another array may be large
            self._order = epoch_order(seed, epoch, self.count, self.order)
        else:
            self.set_order(epoch_order(seed, epoch, self.count))

    def feed(self, per_launch: int = 1, needed: Needed | None = None) -> Feed | None:
        """Return what reads the images ahead of steps, of which a launch has ``per_launch``.

        None if the images are in memory. ``needed`` is as in ``Feed``.
        """
        if self.source is None:
            return None
        return Feed(self._backend, self.source, self.batch_size, per_launch, needed)

    def begin(self, feed: Feed, index: int) -> None:
        """Let ``feed`` read the images from batch ``index`` on, in their order."""
        feed.begin(self._order, index)

    def gather(self, start: int, stop: int) -> Array:
        """Return the normalised images ``start`` to ``stop`` in their order, (N, C, H, W)."""
        be, images, indices = self._backend, self.images, self.order[start:stop]
        if self.source is not None:
            chosen = np.arange(start, stop) if self._order is None else self._order[start:stop]
            host = np.empty((len(chosen), *self.source.shape[1:]), np.uint8)
            read(self.source, chosen, host)
            images, indices = be.asarray(host, np.uint8), be.asarray(np.arange(len(chosen)))
        return be.gather_images(images, indices, self.scale, self.shift)

    def label_array(self, size: int) -> Array:
        """Return an array for the labels of ``size`` images, zeros."""
        return self._backend.zeros((size, *self.labels.shape[1:]), self.labels.dtype)

    def totals(self, *shape: int) -> Array:
        """Return the totals of steps, float64 (2,), or (1 + 2 K,) of numbers (M, K); zeros."""
        size = 2 if self.labels.ndim == 1 else 1 + 2 * self.labels.shape[1]
        return self._backend.zeros((*shape, size), np.float64)


def _place(be: Backend, split: Split) -> tuple[Array, LazyImages | None]:
    """Return the images of a split on the device, or what they are read from while steps run.

    Images in files go to a device that has room for all, in parts.
    """
    images = split.images
    try:
        if not isinstance(images, LazyImages):
            return be.asarray(images, np.uint8), None
        if be.has_room(math.prod(images.shape)):
            device, done = be.empty(images.shape, np.uint8), 0
            for part in images.chunks():
                device[done : done + len(part)] = be.asarray(part, np.uint8)
                done += len(part)
            return device, None
    except OutOfMemoryError as error:
        if not isinstance(images, LazyImages):
            raise OutOfMemoryError(
                f"{error.found} for {len(split):,} images",
                "use fewer or smaller ones (--limit, --resize), or gpucnn pack: packed images are "
                "read while training",
            ) from error
    return None, images


class Batches(ImageBatches):
    """The images and labels of a split on the model's device, cut into batches.

    Iterating yields every batch in the split's order; ``shuffled`` yields those of an epoch.

    Args:
        model: its backend receives the images, its ``normalization`` is applied to them.
        split: uint8 images (M, C, H, W) of the model's input shape, and labels (M,). Numbers to
            predict become the targets (N, K) of a batch, standardised if the model has ``targets``.
        batch_size: images in a batch, at least 1; the last batch may be shorter.

    Raises:
        ShapeError: the images do not have the model's input shape, or the numbers to predict not
            its output shape.
        DataError: the labels are classes and the model predicts numbers, or the reverse.
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
        check_labels(model, split)
        self.model, self.task = model, task_of(split.is_regression)
        targets = split.targets if split.is_regression else None
        if targets is not None and model.targets is not None:
            targets = model.targets.standardise(targets)
        self.spread = None if targets is None else sum_squares(targets)
        super().__init__(be, split, batch_size, model.scaling(), targets)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return (self.batch(index) for index in range(len(self)))

    def batch(self, index: int) -> tuple[Array, Array]:
        """Return the normalised images (N, C, H, W) and the labels of batch ``index``.

        Labels are (N,), or numbers (N, K).
        """
        start, stop = self._bounds(index)
        return self.gather(start, stop), self.targets_of(start, stop)

    def _bounds(self, index: int) -> tuple[int, int]:
        start = index * self.batch_size
        return start, min(start + self.batch_size, self.count)

    def targets_of(self, start: int, stop: int) -> Array:
        """Return the labels of images ``start`` to ``stop`` in their order: (N,), or (N, K)."""
        return self.model.backend.gather_labels(self.labels, self.order[start:stop])

    @contextmanager
    def reading(self) -> Iterator[Callable[[int], tuple[Array, Array]]]:
        """Return ``batch`` for a pass over all batches in their order.

        A device gets images in files from a thread that reads ahead, and the batches must be asked
        for one by one. Where several threads may ask for batches, each reads those that it asks
        for.
        """
        be = self.model.backend
        feed = None if be.thread_parallel else self.feed()
        if feed is None:
            yield self.batch
            return

        def batch(index: int) -> tuple[Array, Array]:
            feed.acquire(index)
            start, stop = self._bounds(index)
            positions = be.asarray(np.arange(start, stop) % feed.size)
            images = be.gather_images(feed.images, positions, self.scale, self.shift)
            feed.release(index + 1)
            return images, self.targets_of(start, stop)

        try:
            self.begin(feed, 0)
            yield batch
        finally:
            feed.end()

    def shuffled(self, epoch: int, seed: int = 0) -> Iterator[tuple[Array, Array]]:
        """Put the images in the order that ``fit`` gives them, and yield every batch.

        Args:
            epoch: number of the epoch, from 0; each has an order of its own.
            seed: as in ``Settings``.
        """
        self.shuffle(epoch, seed)
        return iter(self)

    def metrics(self, totals: NDArray[np.float64], loss: Loss) -> Metrics | RegressionMetrics:
        """Return the figures of all images, by their ``totals``."""
        mean = divide(float(totals[0]), self.weigh(loss, self.count))
        if self.spread is None:
            return Metrics(mean, int(totals[1]), self.count)
        squares, sizes = np.split(totals[1:], 2)
        unit = self._unit()
        return RegressionMetrics(
            mean,
            float((squares * unit**2).mean() / self.count),
            float((sizes * unit).mean() / self.count),
            float(r_squared(squares, self.spread).mean()),
            self.count,
        )

    def metrics_so_far(
        self, totals: NDArray[np.float64], loss: Loss, images: int
    ) -> tuple[float, float]:
        """Return mean loss and main figure (``task.main``) of the first images in their order."""
        mean = divide(float(totals[0]), self.weigh(loss, images))
        if self.spread is None:
            return mean, float(totals[1]) / images
        return mean, float((np.split(totals[1:], 2)[1] * self._unit()).mean() / images)

    def _unit(self) -> NDArray[np.float64]:
        """Return the size of 1 of each output in the units of its target, (K,)."""
        assert self.spread is not None
        targets = self.model.targets
        return np.ones(len(self.spread)) if targets is None else np.array(targets.std)

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


def check_labels(model: Sequential, split: Split) -> None:
    """Raise DataError or ShapeError unless labels are of the kind that the model predicts."""
    if not split.is_regression:
        if model.targets is not None:
            raise DataError(
                "the labels are classes, but the model predicts numbers: "
                f"{', '.join(model.targets.names)}; give data with numbers to predict"
            )
        return
    if model.classes is not None:
        raise DataError(
            f"the labels are numbers to predict, but the model has {len(model.classes)} classes: "
            "give data with classes"
        )
    if model.output_shape != (count := split.targets.shape[1],):
        raise ShapeError(
            f"the labels are {count} numbers for each image, the model's output is "
            f"{model.output_shape}: end it in Linear(..., {count})"
        )


def divide(total: float, weight: float) -> float:
    """Return a mean loss, NaN if no image counts."""
    return total / weight if weight else math.nan
