"""Cases: linear layers and flattening."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.testing.case import Case
from gpucnn.testing.cases.activations import pointwise
from gpucnn.testing.values import (
    Shape,
    Values,
    few_levels,
    normal,
    one_is,
    times,
    with_nan,
    with_subnormals,
)


def linear(
    name: str,
    shape: Shape,
    outs: int,
    bias: bool = True,
    values: Values = normal,
    weights: Values = normal,
    differentiable: bool = True,
    **options: Any,
) -> Case:
    """Return a case of linear with ``outs`` output features."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"input": values(rng, *shape), "weight": weights(rng, outs, shape[-1])}
        return arrays | ({"bias": normal(rng, outs)} if bias else {})

    return Case("linear", name, make, options, max(*shape, outs), differentiable)


def transpose(name: str, rows: int, outs: int, features: int, values: Values = normal) -> Case:
    """Return a case of linear_transpose of (rows, outs) and (outs, features)."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"input": values(rng, rows, outs), "weight": normal(rng, outs, features)}

    return Case("linear_transpose", name, make, {}, outs, differentiable=False)


LINEAR = [
    linear("5 to 3 features", (4, 5), 3),
    linear("no bias", (3, 4), 2, bias=False),
    linear("batch 1", (1, 7), 5),
    linear("subnormal numbers", (4, 19), 6, values=with_subnormals, weights=with_subnormals),
    linear("1 feature", (3, 1), 1),
    linear("more features than a tile", (33, 17), 31),
    linear("1025 features", (3, 1025), 2),
    linear("257 rows", (257, 3), 2),
    linear("one axis", (5,), 3),
    linear("3 axes", (2, 3, 4), 5),
    linear("4 axes, fused ReLU", (3, 2, 1, 4), 5, relu=True),
    linear("fused ReLU", (5, 4), 6, relu=True),
    linear("fused ReLU, no bias", (5, 4), 6, bias=False, relu=True),
    # Next to the sizes of tiles and slabs.
    *(
        linear(f"{rows} rows, {features} to {outs} features", (rows, features), outs)
        for rows, features, outs in (
            (31, 7, 33), (32, 8, 32), (33, 9, 31), (63, 15, 127), (64, 16, 128), (65, 33, 129),
        )
    ),
    linear("few numbers", (6, 9), 5, values=few_levels, weights=few_levels),
    linear("huge numbers", (6, 9), 5, values=times(1e30), differentiable=False),
    linear("NaN and infinities", (6, 19), 5, values=with_nan, differentiable=False),
    linear("a NaN, fused ReLU", (6, 9), 5, values=one_is(9, np.nan), relu=True),
    transpose("5 to 7 features", 4, 5, 7),
    transpose("1 of everything", 1, 1, 1),
    transpose("more than a tile", 33, 65, 129),
    transpose("NaN and infinities", 5, 6, 19, with_nan),
    pointwise("flatten", "feature map", (2, 3, 4, 5), normal),
    pointwise("flatten", "batch 1", (1, 2, 7), normal),
    pointwise("flatten", "matrix", (3, 4), normal),
    pointwise("flatten", "one axis", (5,), normal),
]  # fmt: skip
