"""Cases: losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.testing.case import Case
from gpucnn.testing.values import (
    AROUND_BLOCKS,
    Shape,
    Values,
    certain,
    few_levels,
    normal,
    one_is,
    positive,
    probabilities,
    times,
    with_subnormals,
)


def loss(
    op: str,
    name: str,
    shape: Shape,
    values: Values = normal,
    targets: Values = normal,
    reduction: str = "mean",
    differentiable: bool = True,
) -> Case:
    """Return a case of a loss; the targets of cross-entropy are classes."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        if op == "cross_entropy":
            return {"input": values(rng, *shape), "target": rng.integers(0, shape[1], shape[0])}
        return {"input": values(rng, *shape), "target": targets(rng, *shape)}

    return Case(op, name, make, {"reduction": reduction}, math.prod(shape), differentiable)


def labelled(
    name: str,
    shape: Shape,
    values: Values = normal,
    weighted: bool = False,
    ignored: int | None = None,
    differentiable: bool = True,
    **options: Any,
) -> Case:
    """Return a case of cross-entropy; a third of the targets are ``ignored``."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        rows = (shape[0], *shape[2:])
        target = rng.integers(0, shape[1], rows)
        if ignored is not None:
            target[rng.random(rows) < 1 / 3] = ignored
        arrays = {"input": values(rng, *shape), "target": target}
        return {**arrays, "weight": positive(rng, shape[1])} if weighted else arrays

    if ignored is not None and ignored != -100:
        options["ignore_index"] = ignored
    return Case("cross_entropy", name, make, options, math.prod(shape), differentiable)


def with_pos_weight(name: str, shape: Shape, weights: Shape, reduction: str = "mean") -> Case:
    """Return a case of the logits' loss with a pos_weight of shape ``weights``."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"input": normal(rng, *shape), "target": probabilities(rng, *shape)}
        return {**arrays, "pos_weight": positive(rng, *weights)}

    op, options = "binary_cross_entropy_with_logits", {"reduction": reduction}
    return Case(op, name, make, options, math.prod(shape))


REDUCTIONS = ("mean", "sum", "none")
LOSSES = [
    *(loss("cross_entropy", reduction, (5, 10), reduction=reduction) for reduction in REDUCTIONS),
    *(
        loss(op, "subnormal numbers", (4, 7), with_subnormals)
        for op in ("cross_entropy", "mse_loss", "binary_cross_entropy_with_logits")
    ),
    loss("cross_entropy", "batch 1", (1, 3)),
    loss("cross_entropy", "257 samples", (257, 3)),
    *(
        loss("cross_entropy", f"{reduction}, 70 classes", (4, 70), reduction=reduction)
        for reduction in REDUCTIONS
    ),
    loss("cross_entropy", "1025 classes", (3, 1025)),
    loss("cross_entropy", "large scores", (6, 5), times(900), differentiable=False),
    *(
        labelled(f"all options, {reduction} of {shape}", shape, weighted=True, ignored=2,
                 label_smoothing=0.1, reduction=reduction)
        for reduction in REDUCTIONS
        for shape in ((9, 10), (4, 70), (3, 5, 4, 3), (2, 65, 7))
    ),
    labelled("weight", (6, 4), weighted=True),
    labelled("weight, 1 sample", (1, 4), weighted=True),
    labelled("-100 is ignored", (12, 4), ignored=-100),
    labelled("ignore_index -1", (4, 3, 5), ignored=-1),
    labelled("label_smoothing", (6, 4), label_smoothing=0.25),
    labelled("label_smoothing 1", (6, 4), label_smoothing=1.0),
    labelled("sequences", (3, 4, 7), weighted=True),
    labelled("1300 weighted rows", (1300, 3), weighted=True, ignored=1),
    labelled("1100 rows of maps", (11, 3, 10, 10), label_smoothing=0.1),
    labelled("1030 wide rows", (1030, 64), ignored=-100),
    labelled("large scores, all options", (6, 5), times(900), True, 2, False, label_smoothing=0.5),
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
        loss(op, name, (4, 5), values, reduction=reduction, differentiable=False)
        for op in ("mse_loss", "half_squared_error")
        for reduction in REDUCTIONS
        for name, values in (
            (f"a NaN, {reduction}", one_is(7, np.nan)),
            (f"large numbers, {reduction}", times(1e15)),
        )
    ),
    *(
        loss(op, f"a NaN, {reduction}", shape, one_is(2, np.nan), probabilities, reduction, False)
        for op, shape in (("cross_entropy", (5, 4)), ("binary_cross_entropy_with_logits", (4, 5)))
        for reduction in REDUCTIONS
    ),
    loss("cross_entropy", "a NaN, 70 classes", (3, 70), one_is(2, np.nan), differentiable=False),
    loss("cross_entropy", "large scores, 70 classes", (4, 70), times(900), differentiable=False),
    loss("cross_entropy", "ties", (6, 5), few_levels),
    loss("cross_entropy", "huge numbers", (6, 5), times(1e37), differentiable=False),
    *(loss("cross_entropy", f"{size} classes", (3, size)) for size in (63, 64, 256, 257)),
    *(loss("cross_entropy", f"{size} samples", (size, 3)) for size in (255, 256)),
    *(
        loss("binary_cross_entropy", reduction, (4, 5), probabilities, probabilities, reduction)
        for reduction in REDUCTIONS
    ),
    loss("binary_cross_entropy", "1025 elements", (1025,), probabilities, probabilities),
    loss("binary_cross_entropy", "saturated", (60,), certain, certain, "none", False),
    *(
        loss("binary_cross_entropy_with_logits", name, (4, 5), normal, probabilities, name)
        for name in REDUCTIONS
    ),
    loss("binary_cross_entropy_with_logits", "1025 elements", (1025,), normal, probabilities),
    *(
        with_pos_weight(f"pos_weight {weights} of {shape}", shape, weights, reduction)
        for reduction, shape, weights in [
            ("mean", (4, 5), (5,)), ("sum", (4, 5), (1,)), ("none", (2, 3, 4, 5), (3, 1, 1)),
            ("mean", (2, 3, 4, 5), (3, 4, 5)), ("none", (2, 3, 4, 5), (1, 1, 1, 5)),
            ("sum", (3, 2), (3, 1)), ("mean", (300, 5), (300, 5)), ("none", (7,), (1,)),
        ]
    ),
    loss(
        "binary_cross_entropy_with_logits", "saturated", (60,), times(900), certain, "none", False
    ),
]  # fmt: skip
