"""Cases: activations and softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.testing.case import Case
from gpucnn.testing.values import (
    AROUND_BLOCKS,
    Shape,
    Values,
    below,
    few_levels,
    infinities,
    levels,
    normal,
    off_zero,
    one_is,
    positive,
    times,
    with_nan,
    with_subnormals,
)


def pointwise(
    op: str,
    name: str,
    shape: Shape,
    values: Values = off_zero,
    differentiable: bool = True,
    **options: Any,
) -> Case:
    """Return a case of an operation with one array."""
    terms = shape[options.get("dim", 1)] if op == "softmax" else 1

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"input": values(rng, *shape)}

    return Case(op, name, make, options, terms, differentiable)


OF_ALL_SIZES = ("relu", "leaky_relu", "sigmoid", "tanh")
OF_TWO_BLOCKS = ("elu", "gelu", "silu", "softplus")
ELEMENTWISE = (*OF_ALL_SIZES, *OF_TWO_BLOCKS)
ACTIVATIONS = [
    *(pointwise(op, f"{size} elements", (size,)) for op in OF_ALL_SIZES for size in AROUND_BLOCKS),
    *(pointwise(op, "257 elements", (257,)) for op in OF_TWO_BLOCKS),
    *(pointwise(op, "feature map", (2, 3, 5, 4)) for op in ELEMENTWISE),
    *(pointwise(op, "70,000 elements", (7, 10000)) for op in OF_ALL_SIZES),
    *(pointwise(op, "infinities", (60,), infinities, False) for op in ELEMENTWISE),
    *(pointwise(op, "NaN", (2, 3, 4, 5), with_nan, False) for op in ELEMENTWISE),
    *(pointwise(op, "-1, 0 and 1", (4, 9), few_levels, False) for op in ELEMENTWISE),
    *(pointwise(op, "huge numbers", (4, 9), times(3e37), False) for op in ELEMENTWISE),
    *(pointwise(op, "1 element", (1,), positive) for op in ELEMENTWISE),
    pointwise("leaky_relu", "negative_slope 0.25", (3, 9), negative_slope=0.25),
    pointwise("elu", "alpha 0.25", (3, 9), alpha=0.25),
    pointwise("gelu", "approximate tanh", (7, 9), approximate="tanh"),
    pointwise(
        "gelu", "approximate tanh, huge numbers", (4, 9), times(3e37), False, approximate="tanh"
    ),
    pointwise("gelu", "approximate tanh, infinities", (30,), infinities, False, approximate="tanh"),
    pointwise("softplus", "beta 3, threshold 1.5", (5, 9), beta=3.0, threshold=1.5),
    pointwise("softplus", "beta 0.5", (3, 9), beta=0.5),
    pointwise("softplus", "around the threshold", (9, 9), times(20), False),
    *(
        pointwise(op, "next to zero", (5, 9), times(1e-5), False)
        for op in ("elu", "gelu", "silu", "softplus")
    ),
    *(
        pointwise(op, "far below zero", (5, 9), below(-15, 15), False)
        for op in ("elu", "silu", "softplus")
    ),
    pointwise("gelu", "far from zero", (9, 9), times(9), False),
    pointwise("elu", "subnormal numbers", (4, 9), with_subnormals, False),
    pointwise("sigmoid", "near zero", (3, 9), times(-20, positive)),
    pointwise("sigmoid", "saturated", (3, 9), times(500), differentiable=False),
    pointwise("tanh", "saturated", (3, 9), times(500), differentiable=False),
    pointwise("tanh", "near zero", (3, 9), times(1e-4)),
    *(
        pointwise(op, "subnormal numbers", (4, 9), with_subnormals)
        for op in ("gelu", "sigmoid", "silu", "softplus", "tanh", "softmax")
    ),
    pointwise("softmax", "subnormal probabilities", (3, 5), times(40), differentiable=False),
    pointwise("softmax", "10 classes", (5, 10), normal),
    pointwise("softmax", "batch 1", (1, 7), normal),
    pointwise("softmax", "1 class", (3, 1), normal, differentiable=False),
    pointwise("softmax", "257 rows", (257, 3), normal),
    pointwise("softmax", "513 classes", (1, 513), normal),
    pointwise("softmax", "large scores", (4, 6), times(900), differentiable=False),
    pointwise("softmax", "large scores, 70 classes", (4, 70), times(900), differentiable=False),
    pointwise("softmax", "channels", (2, 3, 4, 5), normal),
    pointwise("softmax", "70 channels", (2, 70, 3), normal),
    pointwise("softmax", "dim 0", (4, 3), normal, dim=0),
    pointwise("softmax", "dim -1", (2, 3, 4, 5), normal, dim=-1),
    pointwise("softmax", "dim -2, 65 elements", (2, 65, 4), normal, dim=-2),
    pointwise("softmax", "rows far apart, 65 elements", (2, 65, 4), levels, dim=-2),
    pointwise("softmax", "one axis", (6,), normal, dim=0),
    pointwise("softmax", "ties", (5, 7), few_levels),
    pointwise("softmax", "huge numbers", (5, 7), times(1e37), differentiable=False),
    pointwise("softmax", "NaN", (5, 7), one_is(3, np.nan), differentiable=False),
    pointwise("softmax", "NaN, 70 classes", (3, 70), one_is(3, np.nan), differentiable=False),
    *(pointwise("softmax", f"{size} classes", (2, size), normal) for size in (63, 64, 256, 257)),
]
