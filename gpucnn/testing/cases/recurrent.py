"""Cases: recurrent networks, and sequences."""

from __future__ import annotations

import math
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

GATES = {"rnn": 1, "gru": 3}


def recurrent(
    op: str,
    name: str,
    shape: Shape,
    bias: bool = True,
    values: Values = normal,
    weights: Values = normal,
    differentiable: bool = True,
    **options: Any,
) -> Case:
    """Return a case for ``shape``: samples, steps and hidden units."""
    samples, steps, hidden = shape
    gates = GATES[op]
    scaled = times(1 / math.sqrt(hidden), weights)  # so that states neither grow nor vanish

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {
            "input": values(rng, samples, steps, gates * hidden),
            "weight": scaled(rng, gates * hidden, hidden),
        }
        return arrays | ({"bias": normal(rng, gates * hidden)} if bias else {})

    options |= {"return_gates": True} if op == "gru" else {}
    terms = steps * max(samples, gates * hidden)
    return Case(op, name, make, options, terms, differentiable)


RECURRENT = [
    *(
        case
        for op in GATES
        for case in (
            recurrent(op, "3 units, 4 steps", (2, 4, 3)),
            recurrent(op, "5 samples", (5, 3, 4)),
            recurrent(op, "no bias", (3, 4, 2), bias=False),
            recurrent(op, "batch 1", (1, 5, 7)),
            recurrent(op, "1 step", (4, 1, 3)),
            recurrent(op, "1 unit", (3, 2, 1)),
            recurrent(op, "33 units", (2, 3, 33)),
            recurrent(op, "saturated", (3, 4, 5), values=times(30), differentiable=False),
            recurrent(op, "few numbers", (3, 4, 5), values=few_levels, weights=few_levels),
            recurrent(op, "subnormal numbers", (3, 4, 5), True, with_subnormals, with_subnormals),
            recurrent(op, "NaN and infinities", (3, 4, 9), values=with_nan, differentiable=False),
        )
    ),
    # More units than a block has threads; the gates' gradients are more than a chunk, too.
    recurrent("rnn", "257 units", (2, 3, 257)),
    recurrent("gru", "257 units", (1, 2, 257)),
    recurrent("rnn", "relu", (3, 5, 6), nonlinearity="relu"),
    recurrent("rnn", "relu, no bias", (5, 3, 4), bias=False, nonlinearity="relu"),
    recurrent("rnn", "relu of NaN", (2, 4, 3), values=one_is(4, np.nan), nonlinearity="relu",
              differentiable=False),
    pointwise("rows", "feature maps", (2, 3, 4, 5), normal),
    pointwise("rows", "1 channel", (3, 1, 4, 5), normal),
    pointwise("rows", "1 row", (2, 3, 1, 5), normal),
    pointwise("rows", "NaN and infinities", (2, 3, 4, 2), with_nan, False),
    pointwise("rows", "257 elements", (1, 257, 2, 1), normal),
    pointwise("last_step", "3 steps", (2, 3, 4), normal),
    pointwise("last_step", "1 step", (3, 1, 5), normal),
    pointwise("last_step", "batch 1", (1, 4, 3), normal),
    pointwise("last_step", "NaN and infinities", (2, 3, 5), with_nan, False),
    pointwise("last_step", "257 features", (2, 2, 257), normal),
]  # fmt: skip
