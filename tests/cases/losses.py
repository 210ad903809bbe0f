"""Cases: losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rows import Case
from values import AROUND_BLOCKS, Shape, Values, certain, normal, probabilities, times


def loss(
    op: str,
    name: str,
    shape: Shape,
    values: Values = normal,
    targets: Values = normal,
    reduction: str = "mean",
    smooth: bool = True,
) -> Case:
    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        if op == "cross_entropy":
            return {"input": values(rng, *shape), "target": rng.integers(0, shape[1], shape[0])}
        return {"input": values(rng, *shape), "target": targets(rng, *shape)}

    return Case(op, name, make, {"reduction": reduction}, math.prod(shape), smooth)


REDUCTIONS = ("mean", "sum", "none")
LOSSES = [
    *(loss("cross_entropy", reduction, (5, 10), reduction=reduction) for reduction in REDUCTIONS),
    loss("cross_entropy", "batch 1", (1, 3)),
    loss("cross_entropy", "257 samples", (257, 3)),
    *(
        loss("cross_entropy", f"{reduction}, 70 classes", (4, 70), reduction=reduction)
        for reduction in REDUCTIONS
    ),
    loss("cross_entropy", "1025 classes", (3, 1025)),
    loss("cross_entropy", "large scores", (6, 5), times(900), smooth=False),
    *(
        loss(op, f"{reduction} of {shape}", shape, reduction=reduction)
        for op in ("mse_loss", "half_squared_error")
        for reduction, shape in zip(REDUCTIONS, ((4, 5), (2, 3, 4, 5), (7,)), strict=True)
    ),
    *(
        loss(op, f"{size} elements", (size,))
        for op in ("mse_loss", "half_squared_error")
        for size in AROUND_BLOCKS
    ),
    loss("mse_loss", "70,000 elements", (7, 10000)),
    *(
        loss("binary_cross_entropy", reduction, (4, 5), probabilities, probabilities, reduction)
        for reduction in REDUCTIONS
    ),
    loss("binary_cross_entropy", "1025 elements", (1025,), probabilities, probabilities),
    loss("binary_cross_entropy", "saturated", (60,), certain, certain, "none", smooth=False),
    *(
        loss("binary_cross_entropy_with_logits", name, (4, 5), normal, probabilities, name)
        for name in REDUCTIONS
    ),
    loss("binary_cross_entropy_with_logits", "1025 elements", (1025,), normal, probabilities),
    loss(
        "binary_cross_entropy_with_logits", "saturated", (60,), times(900), certain, "none", False
    ),
]  # fmt: skip
