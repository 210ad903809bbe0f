"""Batches of a split on the model's device, and how well the model does on them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_integer, is_builtin
from gpucnn.data import Split
from gpucnn.errors import ShapeError
from gpucnn.machine.processor import cores
from gpucnn.nn.losses import CrossEntropyLoss, Loss
from gpucnn.nn.sequential import Sequential

BATCH_SIZE = 320
"""Images at a time: the more, the less often threads wait for each other."""

MOST_THREADS = 4
"""Each has memory for a batch of its own, and the more there are, the more they wait."""


@dataclass(frozen=True)
class Evaluation:
    """How well a model does on a split: mean loss, and the right ones among ``count`` images."""

    loss: float
    correct: int
    count: int

    @property
    def accuracy(self) -> float:
        """Fraction of right ones."""
        return self.correct / self.count


def evaluate(
    model: Sequential, split: Split, *, loss: Loss | None = None, batch_size: int = BATCH_SIZE
) -> Evaluation:
    """Return the loss and accuracy of ``model`` on ``split``; dropout is off."""
    return Batches(model, split, batch_size).evaluate(loss or CrossEntropyLoss())


class Batches:
    """A split on the model's device, cut into batches."""

    def __init__(self, model: Sequential, split: Split, batch_size: int) -> None:
        be = model.backend
        if split.images.shape[1:] != model.input_shape:
            raise ShapeError(
                f"the images are {split.images.shape[1:]}, the model takes {model.input_shape}"
            )
        check_integer("batch_size", batch_size, 1)
        self.model = model
        self.count = len(split)
        self.batch_size = batch_size
        self.images = be.asarray(split.images, np.uint8)
        self.labels = be.asarray(split.labels)
        self.scale, self.shift = model.scaling()
        self.order = be.asarray(np.arange(self.count))

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def batch(self, index: int) -> tuple[Array, Array]:
        """Return the normalised images and the labels of batch ``index``; the last may be short."""
        start = index * self.batch_size
        indices = self.order[start : start + self.batch_size]
        return self.images_at(indices), self.model.backend.gather_labels(self.labels, indices)

    def images_at(self, indices: Array) -> Array:
        """Return the normalised images at ``indices``, int64 (N,), of the split."""
        return self.model.backend.gather_images(self.images, indices, self.scale, self.shift)

    def evaluate(self, loss: Loss) -> Evaluation:
        """Return how well the model does on all batches, on all cores if the backend can.

        The result does not depend on how many there are: batches are added up in their order.
        """
        be, layers = self.model.backend, self.model.layers.values()
        totals = be.zeros((len(self), 2), np.float64)

        def look(index: int) -> None:
            with be.limit_threads(), np.errstate(all="ignore"):  # the loss shows NaN and infinity
                x, target = self.batch(index)
                scores = self.model(x)
                be.add_metrics(totals[index], loss.forward(be, scores, target), scores, target)

        # A custom layer may still store something on itself during a forward pass.
        known = all(is_builtin(each) for each in (*layers, loss))
        if be.thread_parallel and known and len(self) > 1:
            with ThreadPoolExecutor(min(cores(), MOST_THREADS)) as pool:
                list(pool.map(look, range(len(self))))  # a list: so that what is raised is raised
        else:
            for index in range(len(self)):
                look(index)
        total_loss, correct = be.to_numpy(totals).sum(0)
        return Evaluation(float(total_loss) / self.count, int(correct), self.count)
