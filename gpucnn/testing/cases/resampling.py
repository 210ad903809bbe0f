"""Cases: adaptive pooling and upsampling."""

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
    minus_infinity,
    normal,
    spaced,
    times,
    with_nan,
)


def resample(
    op: str,
    name: str,
    shape: Shape,
    output_size: Any,
    values: Values = spaced,
    differentiable: bool = True,
) -> Case:
    """Return a case of one operation."""
    options = {"output_size": output_size}
    if op == "adaptive_max_pool2d":
        options["return_indices"] = True

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"input": values(rng, *shape)}

    terms = math.prod(shape[2:]) if output_size == 1 else 16
    return Case(op, name, make, options, terms, differentiable)


POOLINGS = ("adaptive_avg_pool2d", "adaptive_max_pool2d")
RESAMPLINGS = [
    *(
        resample(op, name, shape, size)
        for op in POOLINGS
        for name, shape, size in (
            ("6x4 to 3x2", (2, 3, 6, 4), (3, 2)),
            ("7x5 to 3x2", (2, 3, 7, 5), (3, 2)),
            ("5x7 to 4x3, windows overlap", (3, 2, 5, 7), (4, 3)),
            ("8x3 to 8x2", (1, 2, 8, 3), (None, 2)),
            ("5x6 to itself", (2, 2, 5, 6), (None, None)),
            ("3x4 to 5x6, larger", (2, 2, 3, 4), (5, 6)),
            ("global", (2, 3, 5, 7), 1),
        )
    ),
    *(
        resample("upsample_nearest2d", name, shape, size, normal)
        for name, shape, size in (
            ("3x4 to 6x8", (2, 3, 3, 4), (6, 8)),
            ("2x3 to 6x3", (2, 3, 2, 3), (6, 3)),
            ("3x5 to 7x8", (2, 2, 3, 5), (7, 8)),
            ("6x7 to 4x3, smaller", (2, 2, 6, 7), (4, 3)),
            ("1x1 to 3x3", (2, 3, 1, 1), 3),
        )
    ),
    *(resample(op, "257 outputs", (1, 1, 2, 257), (1, 257)) for op in POOLINGS),
    resample("upsample_nearest2d", "257 outputs", (1, 1, 1, 43), (1, 257), normal),
    *(
        resample("adaptive_max_pool2d", name, (2, 2, 5, 4), (3, 3), values, False)
        for name, values in (
            ("ties", few_levels), ("NaN and infinities", with_nan), ("only -inf", minus_infinity),
        )
    ),
    *(
        resample(op, name, (2, 2, 5, 4), (3, 6), values, False)
        for op in ("adaptive_avg_pool2d", "upsample_nearest2d")
        for name, values in (("NaN and infinities", with_nan), ("huge numbers", times(1e37)))
    ),
]  # fmt: skip
