"""Cases: random numbers, and dropout by them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.testing.case import Case
from gpucnn.testing.values import AROUND_BLOCKS, Shape, Values, normal, times, with_nan

KEY, STEP = 0x9F0C_3A5B_E1D2_7788, 2**40 + 7
"""A key and a number of a step with bits in all of their words."""


def drawn(
    op: str,
    name: str,
    shape: Shape,
    values: Values = normal,
    differentiable: bool = True,
    step: int = STEP,
    **options: Any,
) -> Case:
    """Return a case of an operation that draws a number for each element of one array."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        array = "probabilities" if op == "bernoulli" else "input"
        return {array: values(rng, *shape), "step": np.array([step])}

    return Case(op, name, make, {"key": KEY, **options}, differentiable=differentiable)


def uniform(name: str, shape: Shape, key: int = KEY, step: int = STEP) -> Case:
    """Return a case of uniform."""
    return Case(
        "uniform", name, lambda rng: {"step": np.array([step])}, {"shape": shape, "key": key}
    )


def fractions(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return numbers from -0.1 to 1.1."""
    return rng.uniform(-0.1, 1.1, shape).astype(np.float32)


RANDOM = [
    drawn("dropout", "matrix", (5, 7), p=0.25),
    drawn("dropout", "feature map", (2, 3, 4, 5), p=0.5),
    drawn("dropout", "p 0", (3, 5), p=0.0),
    drawn("dropout", "p 0.999", (3, 50), p=0.999),
    drawn("dropout", "NaN and infinities", (2, 3, 4, 5), with_nan, False, p=0.25),
    drawn("dropout", "huge numbers", (2, 3, 4, 5), times(1e37), False, p=0.25),
    drawn("dropout", "step 1, key 1", (3, 5), step=1, p=0.5, key=1),
    *(drawn("dropout", f"{size} elements", (size,), p=0.25) for size in AROUND_BLOCKS),
    drawn("dropout", "7,000 elements", (7, 1000), p=0.1),
    drawn("dropout2d", "3 channels", (2, 3, 4, 5), p=0.5),
    drawn("dropout2d", "1 channel", (5, 1, 2, 3), p=0.25),
    drawn("dropout2d", "NaN and infinities", (2, 3, 4, 5), with_nan, False, p=0.5),
    drawn("dropout2d", "planes larger than a warp", (3, 5, 9, 11), p=0.5),
    drawn("dropout2d", "more planes than a block", (4, 9, 2, 1), p=0.5, step=1),
    uniform("1 element", (1,)),
    uniform("feature map", (2, 3, 5)),
    uniform("step 1, key 1", (7,), key=1, step=1),
    *(uniform(f"{size} elements", (size,)) for size in AROUND_BLOCKS),
    drawn("bernoulli", "probabilities", (5, 7), fractions),
    drawn("bernoulli", "NaN", (3, 4, 5), with_nan),
    *(drawn("bernoulli", f"{size} elements", (size,), fractions) for size in AROUND_BLOCKS),
]
