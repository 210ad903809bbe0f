"""Cases: batch, group and layer normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.testing.case import Case
from gpucnn.testing.values import (
    Shape,
    Values,
    few_levels,
    normal,
    one_is,
    positive,
    rectified,
    with_subnormals,
    zeros,
)


def far_from_zero(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return numbers whose mean is 20 deviations: a difference of mean squares would be wrong."""
    return normal(rng, *shape) + np.float32(20)


def affine(rng: np.random.Generator, shape: Shape, weight: bool) -> dict[str, NDArray[Any]]:
    """Return weight and bias of ``shape``, or none."""
    return {"weight": normal(rng, *shape), "bias": normal(rng, *shape)} if weight else {}


def batch(
    name: str,
    shape: Shape,
    values: Values = normal,
    weight: bool = True,
    running: bool = True,
    batches: int | None = 3,
    differentiable: bool = True,
    **options: Any,
) -> Case:
    """Return a case of batch_norm; ``batches`` is the number of those before, None for no number.

    With ``relu`` its output is passed to the backward as well.
    """

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"input": values(rng, *shape)} | affine(rng, shape[1:2], weight)
        if running:
            arrays["running_mean"] = normal(rng, shape[1])
            arrays["running_var"] = positive(rng, shape[1])
        return arrays if batches is None else arrays | {"num_batches_tracked": np.array(batches)}

    passed = {"relu_output": "output"} if options.get("relu") else {}
    terms = math.prod(shape) // shape[1]
    smooth = differentiable and not passed
    return Case("batch_norm", name, make, options, terms, smooth, passed)


def inference(name: str, shape: Shape, values: Values = normal, **options: Any) -> Case:
    """Return a case of batch_norm_inference."""
    weight = options.pop("weight", True)

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"input": values(rng, *shape)} | affine(rng, shape[1:2], weight)
        return arrays | {
            "running_mean": normal(rng, shape[1]),
            "running_var": positive(rng, shape[1]),
        }

    return Case("batch_norm_inference", name, make, options)


def folded(name: str, shape: Shape, own_bias: bool = True, **options: Any) -> Case:
    """Return a case of fold_batch_norm; without ``weight``, the normalisation has no parameters."""
    channels, weight = shape[:1], options.pop("weight", True)

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"input_weight": normal(rng, *shape)} | affine(rng, channels, weight)
        arrays |= {"running_mean": normal(rng, *channels), "running_var": positive(rng, *channels)}
        return arrays | ({"input_bias": normal(rng, *channels)} if own_bias else {})

    return Case("fold_batch_norm", name, make, options)


def group(
    name: str, shape: Shape, num_groups: int, values: Values = normal, weight: bool = True,
    differentiable: bool = True, **options: Any,
) -> Case:  # fmt: skip
    """Return a case of group_norm."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"input": values(rng, *shape)} | affine(rng, shape[1:2], weight)

    terms = max(math.prod(shape[1:]) // num_groups, math.prod(shape) // shape[1])
    return Case(
        "group_norm", name, make, {"num_groups": num_groups} | options, terms, differentiable
    )


def layer(
    name: str, shape: Shape, axes: int, values: Values = normal, weight: bool = True,
    differentiable: bool = True, **options: Any,
) -> Case:  # fmt: skip
    """Return a case of layer_norm over the last ``axes`` axes."""
    last = shape[-axes:]

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"input": values(rng, *shape)} | affine(rng, last, weight)

    terms = max(math.prod(last), math.prod(shape[:-axes]))
    return Case(
        "layer_norm", name, make, {"normalized_shape": last} | options, terms, differentiable
    )


NORMALIZATIONS = [
    batch("feature maps", (3, 2, 4, 5)),
    batch("rows of 5", (3, 4, 5, 7)),
    batch("4 of each channel", (4, 5)),
    batch("features", (9, 35), batches=None),
    batch("1 sample", (1, 3, 4, 4), weight=False),
    batch("no running statistics", (2, 3, 5), running=False, batches=None, eps=0.1),
    batch("mean of all batches", (2, 3, 3, 2), momentum=None),
    batch("first batch", (2, 3, 3, 2), momentum=None, batches=0),
    batch("momentum 1", (2, 3, 3, 2), momentum=1.0, batches=0),
    batch("far from zero", (2, 3, 8, 8), far_from_zero),
    batch("several parts", (2, 1, 64, 64)),
    batch("several parts, features", (260, 3)),
    batch("several parts, planes of 3", (90, 2, 3)),
    batch("fused ReLU", (3, 2, 4, 5), relu=True),
    batch("fused ReLU, features", (5, 3), relu=True),
    batch("ties", (5, 3, 2, 2), few_levels),
    batch("after ReLU", (4, 3, 4, 4), rectified),
    batch("subnormal numbers", (4, 3, 4, 4), with_subnormals, differentiable=False),
    batch("a constant channel", (4, 2, 4), lambda rng, *shape: np.ones(shape, np.float32),
          differentiable=False),
    batch("a NaN", (3, 4, 4, 5), one_is(3, np.nan), differentiable=False),
    batch("a NaN, fused ReLU", (3, 2, 4, 4), one_is(-1, np.nan), relu=True),
    inference("feature maps", (3, 2, 4, 5)),
    inference("features", (3, 35)),
    inference("1 value of each channel", (1, 3), weight=False),
    inference("fused ReLU", (3, 4, 4, 4), relu=True, eps=0.1),
    inference("a NaN, fused ReLU", (1, 3, 3, 3), one_is(0, np.nan), relu=True),
    folded("convolution", (5, 2, 3, 3)),
    folded("linear layer", (3, 100), eps=0.1),
    folded("no bias", (2, 3, 1, 1), own_bias=False, weight=False),
    group("2 groups", (3, 4, 2, 5), 2),
    group("1 group", (2, 3, 4, 4), 1, eps=0.1),
    group("a group for each channel", (2, 3, 3, 3), 3, weight=False),
    group("features", (5, 6), 2),
    group("several parts", (260, 2), 1, eps=0.5),
    group("far from zero", (2, 4, 6, 6), 2, far_from_zero),
    group("a NaN", (2, 4, 2, 2), 2, one_is(3, np.nan), differentiable=False),
    layer("features", (5, 7), 1),
    layer("1 row", (1, 35), 1, weight=False),
    layer("3 axes", (3, 2, 4, 4), 3),
    layer("last axis of 3", (2, 3, 6), 1, eps=0.1),
    layer("long rows", (2, 1025), 1),
    layer("many rows", (260, 3), 1, eps=0.5),
    layer("after ReLU", (3, 2, 3, 5), 3, rectified),
    layer("mostly zeros", (3, 2, 3, 5), 3, zeros),
    layer("all axes", (2, 3, 2), 3),
    layer("a NaN", (3, 8), 1, one_is(3, np.nan), differentiable=False),
]  # fmt: skip
