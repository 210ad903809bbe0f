"""The parts of a batch: their gradients and totals add up to those of the whole batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gpucnn.backends import Augmentation, Backend, get_backend
from gpucnn.backends.contract import StepArrays
from gpucnn.nn import CrossEntropyLoss, Flatten, Linear, MSELoss, Sequential
from gpucnn.training.mixup import partners
from gpucnn.training.processes.part import Part, bounds, needed
from gpucnn.training.step import LayerGradients

AUGMENT = Augmentation(shift=1, rotate=20, flip=0.5)


def arrays_of(be: Backend, model: Sequential, count: int, rng: Any, kind: str) -> StepArrays:
    """A batch of ``count`` of 30 images with classes or numbers, mixed or not."""
    numbers, mixed = kind == "numbers", kind == "mixup"
    targets = rng.normal(size=(count, 3)) if numbers else rng.integers(0, 3, count)
    return StepArrays(
        images=be.asarray(rng.integers(0, 256, (30, 1, 3, 3), np.uint8), np.uint8),
        indices=be.asarray(rng.integers(0, 30, count)),
        targets=be.asarray(targets),
        scale=be.asarray(np.array([1 / 128])),
        shift=be.asarray(np.array([-1.0])),
        parameters=model.flat_parameters,
        grads=model.flat_grads,
        totals=be.zeros((7 if numbers else 2,), np.float64),
        failed_step=be.zeros((1,), np.int64),
        step=be.asarray(np.array([5])),
        partners=be.asarray(partners(count)) if mixed else None,
        own_share=be.asarray(np.array([0.7])) if mixed else None,
    )


@pytest.mark.parametrize("mixup", [False, True])
def test_a_rank_needs_its_part_and_what_it_is_mixed_with(mixup: bool) -> None:
    for count, size in [(1, 1), (1, 3), (2, 3), (7, 2), (8, 2), (9, 3), (12, 5), (64, 4)]:
        for rank in range(size):
            own = range(*bounds(count, rank, size))
            mixed = partners(count)[own.start : own.stop] if mixup else []
            found = [row for part in needed(rank, size, mixup, count) for row in range(*part)]
            assert len(found) == len(set(found))
            assert set(found) == {*own, *mixed}


def losses_for(kind: str, rng: Any) -> Any:
    if kind == "numbers":
        return MSELoss()
    if kind == "weights":
        return CrossEntropyLoss(
            weight=tuple(rng.uniform(0, 2, 3)), ignore_index=int(rng.integers(3))
        )
    return CrossEntropyLoss(label_smoothing=0.1)


def check_parts(be: Backend, rng: Any, size: int, count: int, kind: str) -> None:
    model = Sequential([Flatten(), Linear(9, 3)], (1, 3, 3), seed=1, backend=be)
    loss, augment = losses_for(kind, rng), None if rng.integers(5) else AUGMENT
    arrays = arrays_of(be, model, count, rng, kind)
    grads, totals = 0.0, np.zeros(arrays.totals.shape)
    for rank in range(size):
        part_totals = be.zeros(totals.shape, np.float64)
        Part(model, loss, 3, augment, rank, size).set_grads(arrays, part_totals)
        grads = grads + be.to_numpy(model.flat_grads)
        totals += be.to_numpy(part_totals)
    whole = replace(arrays, totals=be.zeros(totals.shape, np.float64))
    LayerGradients(model, loss, 3, augment).set_grads(whole)
    names = f"{kind}, {count} images, {size} ranks"
    wanted = be.to_numpy(model.flat_grads)
    if kind == "weights" and not np.isfinite(wanted).all():  # no image counts
        wanted = np.zeros_like(wanted)
        assert not loss.weigh(be.to_numpy(arrays.targets)), names
    np.testing.assert_allclose(grads, wanted, atol=1e-13, err_msg=names)
    np.testing.assert_allclose(totals, be.to_numpy(whole.totals), atol=1e-11, err_msg=names)


def test_parts_of_500_batches_add_up() -> None:
    """Batches of 1 to 17 images and 2 to 9 ranks, of which some have none."""
    be, rng = get_backend("numpy", "float64"), np.random.default_rng(4)
    for number in range(500):
        kind = ("plain", "weights", "mixup", "numbers")[number % 4]
        with np.errstate(all="ignore"):
            check_parts(be, rng, int(rng.integers(2, 10)), int(rng.integers(1, 18)), kind)


@pytest.mark.parametrize("kind", ["plain", "weights", "mixup", "numbers"])
def test_parts_add_up_on_every_backend(backend64: Backend, kind: str) -> None:
    check_parts(backend64, np.random.default_rng(1), 3, 7, kind)


def test_an_empty_part_changes_no_bit_of_the_sum() -> None:
    """Not even the sign of zeros."""
    be, rng = get_backend("numpy"), np.random.default_rng(0)
    model = Sequential([Flatten(), Linear(9, 3)], (1, 3, 3))
    arrays = arrays_of(be, model, 2, rng, "plain")
    Part(model, CrossEntropyLoss(), 0, None, 3, 4).set_grads(arrays, arrays.totals)
    found = np.array([0.0, -0.0, 1.0], np.float32) + model.flat_grads[:3]
    np.testing.assert_array_equal(np.signbit(found), [False, True, False])
    assert not arrays.totals.any()


def test_parts_cover_the_batch() -> None:
    for size in range(1, 9):
        for count in range(1, 20):
            found = [bounds(count, rank, size) for rank in range(size)]
            assert [start for start, _ in found] == [0, *(end for _, end in found[:-1])]
            assert found[-1][1] == count
            assert found[0][1] > 0
            lengths = {end - start for start, end in found}
            assert max(lengths) - min(lengths) <= 1
