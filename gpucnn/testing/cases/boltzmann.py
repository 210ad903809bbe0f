"""Cases: restricted Boltzmann machines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.testing.case import Case
from gpucnn.testing.cases.random import KEY, STEP
from gpucnn.testing.values import Shape, Values, infinities, normal, times, with_nan


def sample(name: str, shape: Shape, values: Values = normal, bias: bool = True) -> Case:
    """Return a case of sample_units."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"input": values(rng, *shape), "step": np.array([STEP])}
        return arrays | ({"bias": normal(rng, shape[1])} if bias else {})

    return Case("sample_units", name, make, {"key": KEY}, differentiable=False)


def stack(name: str, rows: tuple[int, int], features: int, values: Values = normal) -> Case:
    """Return a case of stack_rows with two numbers of rows."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        first, second = rows
        return {"first": values(rng, first, features), "second": values(rng, second, features)}

    options = {"first_factor": -1 / rows[0], "second_factor": 1 / rows[1]}
    return Case("stack_rows", name, make, options, differentiable=False)


BOLTZMANN = [
    sample("5 rows of 7 units", (5, 7)),
    sample("no bias", (3, 6), bias=False),
    sample("1 unit", (9, 1)),
    sample("1 row", (1, 9)),
    sample("fewer units than a thread has", (7, 3)),
    sample("certain units", (6, 8), times(60)),
    sample("infinities", (4, 9), infinities),
    sample("NaN", (4, 9), with_nan),
    *(sample(f"{units} units", (1, units)) for units in (1023, 1024, 1025)),
    sample("more elements than two blocks", (9, 300)),
    stack("5 and 3 rows", (5, 3), 4),
    stack("1 and 1 row", (1, 1), 1),
    stack("255 and 2 rows", (255, 2), 1),
    stack("256 and 1 rows", (256, 1), 1),
    stack("NaN and infinities", (3, 4), 6, with_nan),
]
