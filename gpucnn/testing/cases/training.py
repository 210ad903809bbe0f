"""Cases: batches, metrics and optimiser steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.testing.case import Case
from gpucnn.testing.values import (
    AROUND_BLOCKS,
    Shape,
    Values,
    few_levels,
    infinities,
    normal,
    one_is,
    positive,
    times,
    with_nan,
    with_subnormals,
)


def one_hot(name: str, size: int, classes: int) -> Case:
    """Return a case of one_hot with ``size`` labels."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"target": rng.integers(0, classes, size)}

    return Case("one_hot", name, make, {"num_classes": classes})


def begin(
    name: str,
    images: int,
    done: int,
    count: int,
    batch_size: int,
    width: int = 1,
    columns: int = 0,
    ring: int = 0,
) -> Case:
    """Return a case of begin_step after ``done`` steps of the third epoch.

    Labels are classes or, with ``columns``, so many numbers for each image.
    """
    steps = -(-images // batch_size)

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {
            "counter": np.array([done, 2 * steps + done]),
            "order": rng.permutation(images + 3)[:images],
            "labels": normal(rng, images + 3, columns)
            if columns
            else rng.integers(0, 10, images + 3),
            "table": normal(rng, steps, width),
            "indices": np.full(count, 7),
            "target": normal(rng, count, columns) if columns else np.full(count, 7),
            "rates": normal(rng, width),
        }

    options = {"batch_size": batch_size} | ({"ring": ring} if ring else {})
    return Case("begin_step", name, make, options)


def images(name: str, shape: Shape, count: int) -> Case:
    """Return a case of gather_images: ``count`` of the images."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {
            "images": rng.integers(0, 256, shape, np.uint8),
            "indices": rng.integers(0, shape[0], count),
            "scale": positive(rng, shape[1]),
            "shift": normal(rng, shape[1]),
        }

    return Case("gather_images", name, make)


def labels(name: str, size: int, count: int) -> Case:
    """Return a case of gather_labels: ``count`` of ``size`` labels."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"labels": rng.integers(0, 10, size), "indices": rng.integers(0, size, count)}

    return Case("gather_labels", name, make)


def numbers(name: str, size: int, columns: int, count: int) -> Case:
    """Return a case of gather_labels: ``count`` of ``size`` rows of numbers to predict."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"labels": normal(rng, size, columns), "indices": rng.integers(0, size, count)}

    return Case("gather_labels", name, make)


def errors(name: str, shape: Shape, outputs: Values = normal) -> Case:
    """Return a case of add_errors."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {
            "totals": np.arange(1 + 2 * shape[1]) / 4,  # float64 on every backend
            "loss": np.array(1.25, np.float32),
            "outputs": outputs(rng, *shape),
            "target": normal(rng, *shape),
        }

    return Case("add_errors", name, make)


def metrics(
    name: str, shape: Shape, scores: Values = normal, target: int | None = None, **options: Any
) -> Case:
    """Return a case of add_metrics; ``target`` is the class of all samples, or random."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {
            "totals": np.array([12.5, 3.0]),  # float64 on every backend
            "loss": np.array(1.25, np.float32),
            "scores": scores(rng, *shape),
            "target": rng.integers(0, shape[1], shape[0])
            if target is None
            else np.full(shape[0], target),
        }

    return Case("add_metrics", name, make, options)


def finite(name: str, shape: Shape, values: Values = normal) -> Case:
    """Return a case of all_finite."""
    return Case("all_finite", name, lambda rng: {"array": values(rng, *shape)})


def guard(
    name: str, size: int, values: Values = normal, loss: float = 1.5, already: int = 0
) -> Case:
    """Return a case of check_finite; ``already`` is the initial ``failed_step``."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        failed_step, value = np.array([already]), np.array(loss, np.float32)
        return {
            "failed_step": failed_step,
            "loss": value,
            "grads": values(rng, size),
            "step": np.array([7]),
        }

    return Case("check_finite", name, make)


def clip(name: str, size: int, max_norm: float, values: Values = normal) -> Case:
    """Return a case of clip_grad_norm."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"grads": values(rng, size), "norm": np.array([-7.0])}  # float64 on every backend

    return Case("clip_grad_norm", name, make, {"max_norm": max_norm}, terms=size)


def sgd(
    name: str,
    shape: Shape,
    lr: float,
    failed_step: int | None = None,
    param: Values = normal,
    **options: Any,
) -> Case:
    """Return a case of sgd_step."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"param": param(rng, *shape)}
        arrays |= {key: normal(rng, *shape) for key in ("grad", "velocity")}
        arrays["rates"] = np.array([lr], np.float32)
        return arrays if failed_step is None else {**arrays, "failed_step": np.array([failed_step])}

    return Case("sgd_step", name, make, options)


def adam(
    name: str,
    shape: Shape,
    grad: Values = normal,
    rates: tuple[float, float, float] = (0.01, 0.5, 1.0),
    failed_step: int | None = None,
    param: Values = normal,
    **options: Any,
) -> Case:
    """Return a case of adam_step."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {
            "param": param(rng, *shape),
            "grad": grad(rng, *shape),
            "exp_avg": grad(rng, *shape),
            "exp_avg_sq": grad(rng, *shape) ** 2,
            "rates": np.array(rates, np.float32),
        }
        return arrays if failed_step is None else {**arrays, "failed_step": np.array([failed_step])}

    return Case("adam_step", name, make, options)


def ema(
    name: str,
    shape: Shape,
    rate: float = 0.25,
    failed_step: int | None = None,
    param: Values = normal,
) -> Case:
    """Return a case of ema_step."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"average": normal(rng, *shape), "param": param(rng, *shape)}
        arrays["rates"] = np.array([rate], np.float32)
        return arrays if failed_step is None else {**arrays, "failed_step": np.array([failed_step])}

    return Case("ema_step", name, make)


TRAINING = [
    one_hot("ten classes", 12, 10),
    *(one_hot(f"{size} rows", size, 3) for size in (85, 86, 257)),
    begin("first step", 20, 0, 8, 8),
    begin("second step", 20, 1, 8, 8, width=3),
    begin("incomplete last batch", 20, 2, 4, 8),
    begin("1 image", 1, 0, 1, 5),
    begin("more elements than a block", 700, 1, 300, 300, width=300),
    *(begin(f"{size} of a batch", 600, 0, size, size) for size in (255, 256, 257)),
    begin("a ring that ends within the batch", 40, 2, 8, 8, ring=20),
    begin("numbers, a ring", 20, 2, 4, 8, columns=2, ring=16),
    begin("numbers, incomplete last batch", 20, 2, 4, 8, columns=3),
    begin("numbers, more rows than a block", 600, 0, 257, 257, columns=1),
    images("4 of 9", (9, 2, 4, 3), 4),
    images("5 of 5", (5, 1, 3, 3), 5),
    images("1 of 3", (3, 3, 2, 2), 1),
    images("more elements than a block", (4, 1, 20, 21), 3),
    labels("4 of 9", 9, 4),
    labels("more elements than a block", 300, 300),
    *(labels(f"{size} of 300", 300, size) for size in (255, 256, 257)),
    labels("1 of 5", 5, 1),
    numbers("4 of 9 rows of numbers", 9, 3, 4),
    numbers("257 of 300 numbers", 300, 1, 257),
    errors("7 rows of 3 numbers", (7, 3)),
    errors("1 number", (1, 1)),
    errors("257 numbers", (257, 1)),
    errors("NaN", (20, 2), with_nan),
    errors("infinities", (20, 2), infinities),
    metrics("10 classes", (7, 10)),
    metrics("ties", (40, 3), few_levels),
    metrics("NaN", (20, 4), with_nan),
    metrics("NaN as first score", (6, 3), one_is(0, np.nan), target=0),
    *(metrics(f"{size} rows", (size, 2)) for size in (1, 255, 256, 257)),
    metrics("infinities", (20, 4), infinities),
    metrics("sum", (7, 3), reduction="sum"),
    metrics("a class is ignored", (40, 3), reduction="sum", ignore_index=1),
    finite("finite", (3, 257)),
    finite("finite, but their sum is infinite", (60,), times(3e37, positive)),
    finite("first element -inf", (300,), one_is(0, -np.inf)),
    finite("last element inf", (2, 3, 5, 7), one_is(-1, np.inf)),
    finite("last element NaN", (1025,), one_is(-1, np.nan)),
    guard("all finite", 300),
    guard("first gradient NaN", 300, one_is(0, np.nan)),
    guard("last gradient -inf", 70000, one_is(-1, -np.inf)),
    guard("infinite loss", 5, loss=np.inf),
    guard("loss NaN, gradient inf", 257, one_is(100, np.inf), loss=np.nan),
    guard("subnormal numbers", 257, with_subnormals),
    guard("an earlier step failed", 257, one_is(100, np.inf), already=3),
    clip("below the limit", 70, 100.0),
    clip("above the limit", 70, 0.5),
    clip("limit 0", 5, 0.0),
    clip("a norm as small as 1e-6", 7, 0.5e-6, times(1e-6)),
    clip("all zero", 5, 1.0, times(0.0)),
    clip("squares above the largest float32", 257, 1.0, times(1e35)),
    clip("squares below the least float32", 257, 1.0, times(1e-30)),
    clip("infinity", 257, 1.0, one_is(100, np.inf)),
    clip("a NaN", 257, 1.0, one_is(-1, np.nan)),
    *(clip(f"{size} elements", size, 1.0) for size in (1, 1024, 1025)),
    clip("70,000 elements", 70000, 1.0),
    sgd("lr", (5, 7), lr=0.1),
    sgd("failed_step 0", (5, 7), failed_step=0, lr=0.1, momentum=0.9),
    sgd("failed_step 4", (5, 7), failed_step=4, lr=0.1, momentum=0.9),
    sgd("momentum", (5, 7), lr=0.1, momentum=0.9),
    sgd("weight decay", (5, 7), lr=0.1, weight_decay=0.05),
    sgd("infinite weight", (5, 7), lr=0.1, momentum=0.9, param=one_is(3, np.inf)),
    sgd("subnormal weights", (5, 7), lr=0.1, momentum=0.9, param=with_subnormals),
    sgd("a NaN", (5, 7), lr=0.1, momentum=0.9, param=one_is(3, np.nan)),
    sgd("huge weights", (5, 7), lr=0.1, momentum=0.9, param=times(1e37)),
    sgd("Nesterov", (3, 2, 3, 3), lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=True),
    *(sgd(f"{size} elements", (size,), lr=0.5, momentum=0.5) for size in AROUND_BLOCKS),
    sgd("70,000 elements", (70000,), lr=0.5, momentum=0.5),
    adam("defaults", (5, 7)),
    adam("failed_step 0", (5, 7), failed_step=0),
    adam("failed_step 9", (5, 7), failed_step=9),
    adam("other rates", (5, 7), rates=(0.3, 0.1, 1.0)),
    adam("betas", (3, 2, 3, 3), betas=(0.6, 0.8)),
    adam("large eps", (5, 7), eps=0.1),
    adam("gradients as small as eps", (5, 7), times(1e-8)),
    adam("eps 0, one gradient always zero", (5, 7), one_is(3, 0.0), eps=0.0),
    adam("subnormal gradients", (5, 7), with_subnormals, param=with_subnormals),
    adam("weight decay", (5, 7), weight_decay=0.1),
    adam("weight decay, shrink 0.75", (5, 7), rates=(0.01, 0.5, 0.75), weight_decay=0.1),
    adam("infinite weight", (5, 7), param=one_is(3, np.inf)),
    adam("large gradients", (5, 7), times(1e15)),
    adam("a NaN in a weight", (5, 7), param=one_is(3, np.nan)),
    adam("AdamW, shrink 0.75", (5, 7), rates=(0.01, 0.5, 0.75)),
    *(adam(f"{size} elements", (size,)) for size in AROUND_BLOCKS),
    adam("70,000 elements", (70000,)),
    ema("rate 0.25", (5, 7)),
    ema("rate 1", (5, 7), rate=1.0),
    ema("failed_step 0", (5, 7), failed_step=0),
    ema("failed_step 4", (5, 7), failed_step=4),
    ema("a NaN", (5, 7), param=one_is(3, np.nan)),
    *(ema(f"{size} elements", (size,)) for size in AROUND_BLOCKS),
]  # fmt: skip
