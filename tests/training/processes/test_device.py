"""Gradients that are added on GPUs: the slices, and when their sums begin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpucnn import nn
from gpucnn.training.processes.device import BucketSums


class Recorder:
    """A group that keeps what it is to add."""

    def __init__(self) -> None:
        self.added: list[list[Any]] = []
        self.ended = 0

    def sum(self, *arrays: Any) -> None:
        self.begin_sum(*arrays)
        self.end_sums()

    def begin_sum(self, *arrays: Any) -> None:
        self.added.append([array.copy() for array in arrays])

    def end_sums(self) -> None:
        self.ended += 1


def network() -> nn.Sequential:
    return nn.Sequential(
        [
            nn.Conv2d(1, 3, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Residual([nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()]),
            nn.Flatten(),
            nn.Linear(27, 20),
            nn.ReLU(),
            nn.Linear(20, 4),
        ],
        (1, 8, 8),
        seed=0,
    )


@pytest.mark.parametrize(("bucket_bytes", "sums"), [(1 << 20, 1), (1000, 2), (1, 4)])
def test_slices_are_added_once_when_backward_has_set_them(bucket_bytes: int, sums: int) -> None:
    model, group, totals = network(), Recorder(), np.ones(2)
    buckets = BucketSums(model, group, bucket_bytes)  # type: ignore[arg-type]
    x = np.random.default_rng(0).standard_normal((5, 1, 8, 8), np.float32)
    scores, saved = model.forward(x, training=True)
    model.backward(np.ones_like(scores), saved)
    expected = model.flat_grads.copy()
    for _ in range(2):  # each step adds all of them
        group.added.clear()
        _, saved = model.forward(x, training=True)
        for parameter in model.parameters():
            parameter.grad[...] = np.nan
        buckets.begin()
        buckets.backward(np.ones_like(scores), saved)
        assert len(group.added) == sums - 1
        buckets.end(totals)
        *early, (last, added) = group.added
        found = np.concatenate([last, *(grads for (grads,) in reversed(early))])
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(added, totals)
        assert len(group.added) == sums
    assert group.ended == 2


def test_a_rank_without_images_adds_the_same_slices() -> None:
    model, group = network(), Recorder()
    buckets = BucketSums(model, group, 1000)  # type: ignore[arg-type]
    buckets.begin()
    buckets.end(np.ones(2))
    assert [grads.size for grads, *_ in group.added] == [656, 136]
