"""Restricted Boltzmann machines."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gpucnn.testing.naive.common import Array
from gpucnn.testing.naive.random import bernoulli


class Units(NamedTuple):
    """The results of ``sample_units``."""

    probabilities: Array
    samples: Array


def sample_units(input: Array, key: int, step: Array, bias: Array | None = None) -> Units:
    """Return the sigmoid of the input plus the bias of its column, and samples of it."""
    probabilities = np.zeros(input.shape)
    for n, f in np.ndindex(*input.shape):
        x = float(input[n, f]) + (0.0 if bias is None else float(bias[f]))
        small = math.exp(-abs(x))
        probabilities[n, f] = (1.0 if x >= 0 else small) / (1.0 + small) if x == x else x
    return Units(probabilities, bernoulli(probabilities, key, step))


def stack_rows(
    first: Array, second: Array, first_factor: float = 1.0, second_factor: float = 1.0
) -> Array:
    """Return the rows of both matrices, each times its factor."""
    rows = [[first_factor * float(x) for x in row] for row in first]
    rows += [[second_factor * float(x) for x in row] for row in second]
    return np.array(rows)
