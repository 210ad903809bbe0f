"""The part of every batch that one of several processes computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gpucnn.backends.contract import Augmentation, StepArrays
from gpucnn.backends.contract.checks import Array
from gpucnn.nn.layers import TrainingPass
from gpucnn.nn.losses import Loss
from gpucnn.nn.sequential import Sequential
from gpucnn.training.mixup import Mixture
from gpucnn.training.processes.group import Group
from gpucnn.training.step import loss_and_grads, training_images


def bounds(count: int, rank: int, size: int) -> tuple[int, int]:
    """Return which images of a batch of ``count`` are the part of ``rank``: the first and the end.

    A part is empty if there are fewer images than processes; that of rank 0 never is.
    """
    return math.ceil(rank * count / size), math.ceil((rank + 1) * count / size)


def needed(rank: int, size: int, mixup: bool, count: int) -> list[tuple[int, int]]:
    """Return which images of a batch of ``count`` rank ``rank`` needs: first ones and ends.

    With ``mixup`` they are also those that its part is mixed with (``mixup.partners``).
    """
    start, end = bounds(count, rank, size)
    if not mixup:
        return [(start, end)]
    other = count - end, count - start
    if max(start, other[0]) <= min(end, other[1]):
        return [(min(start, other[0]), max(end, other[1]))]
    return [(start, end), other]


class Part:
    """The part of every batch that process ``rank`` of ``size`` computes.

    ``seed`` decides what random layers draw, with the number of the step and the rank, and how
    ``augment`` changes the images, with their positions in the batch.
    """

    def __init__(
        self,
        model: Sequential,
        loss: Loss,
        seed: int,
        augment: Augmentation | None,
        rank: int,
        size: int,
    ) -> None:
        self.model, self.loss, self.seed, self.augment = model, loss, seed, augment
        self.rank, self.size = rank, size

    def set_grads(
        self,
        arrays: StepArrays,
        totals: Array,
        backward: Callable[[Array, Any], object] | None = None,
    ) -> None:
        """Set the model's gradients to this part of those of the batch that ``arrays`` describe.

        The sum over all parts is the gradient of the batch's mean loss. The part's sum of losses
        and its correct classes, or its errors, are added to ``totals``. ``backward`` is as in
        ``loss_and_grads``; it is not called for an empty part.
        """
        be, count = self.model.backend, arrays.indices.size
        start, end = bounds(count, self.rank, self.size)
        share = self._share(arrays.targets, start, end)
        if start == end:
            self.model.flat_grads[...] = -0.0  # x + -0.0 has the bits of x, also if x is -0.0
            return
        source = arrays.images, arrays.indices[start:end], arrays.scale, arrays.shift
        changes = self.augment, self.seed, arrays.step, start
        x, mixture = training_images(be, *source, *changes), None
        if arrays.own_share is not None:
            assert arrays.partners is not None
            partners = arrays.partners[start:end]
            others = be.gather_labels(arrays.indices, partners)
            source = arrays.images, others, arrays.scale, arrays.shift
            mixture = Mixture(be.gather_labels(arrays.targets, partners), arrays.own_share)
            x = mixture.mix(be, x, training_images(be, *source, *changes, mixed_in=True))
        loss_and_grads(
            self.model, x, arrays.targets[start:end], self.loss,
            totals=totals, share=share, mixture=mixture,
            training=TrainingPass(self.seed, arrays.step, self.rank), backward=backward,
        )  # fmt: skip

    def _share(self, targets: Array, start: int, end: int) -> float:
        """Return by what the mean loss of the part counts in that of the batch."""
        if not self.loss.weighted:
            return (end - start) / len(targets)
        labels = self.model.backend.to_numpy(targets)  # a part counts by the weights of its images
        weight = self.loss.weigh(labels)
        return self.loss.weigh(labels[start:end]) / weight if weight else 0.0


class GroupGradients:
    """The gradients of a step of which each rank of ``group`` computes a part."""

    def __init__(self, part: Part, group: Group, totals: Array) -> None:
        """``totals`` is memory for those of a step."""
        self.part, self.group, self.totals = part, group, totals

    def set_grads(self, arrays: StepArrays) -> None:
        """As ``FusedGradients.set_grads``.

        If another rank fails, WorkerError is raised, and ``arrays.totals`` and the model's buffers
        are as they were.
        """
        model, be = self.part.model, self.part.model.backend
        buffers = [(buffer.data, buffer.data.copy()) for _, buffer in model.named_buffers()]
        self.totals[...] = 0
        try:
            self.part.set_grads(arrays, self.totals)
            self._sum(arrays.grads, self.totals)
        except BaseException:
            for data, before in buffers:
                data[...] = before
            raise
        totals = be.to_numpy(self.totals)
        arrays.totals[...] = be.asarray(be.to_numpy(arrays.totals) + totals, totals.dtype)
        loss = be.asarray(totals[0] / arrays.indices.size, be.dtype)
        be.check_finite(arrays.failed_step, loss, arrays.grads, arrays.step)

    def _sum(self, *arrays: Array) -> None:
        if isinstance(arrays[0], np.ndarray):
            self.group.sum(*arrays)
            return
        be = self.part.model.backend
        copies = [be.to_numpy(array) for array in arrays]
        self.group.sum(*copies)
        for array, copy in zip(arrays, copies, strict=True):
            array[...] = be.asarray(copy, copy.dtype)
