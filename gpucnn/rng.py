"""Everything random: weights, orders, masks, drawn on the host as functions of a seed alone.

Nothing here depends on the backend or on what was drawn before, so that every backend starts from
the same weights, sees the same batches, and a run can be taken up again at any step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import SettingError, unknown

if TYPE_CHECKING:  # naming numpy.random would import it, which takes its time
    Draw = Callable[[np.random.Generator, tuple[int, ...], int, int], NDArray[Any]]


class Stream(IntEnum):
    """What a sequence of random numbers is for; each purpose has a sequence of its own."""

    WEIGHTS = 0
    ORDER = 1
    DROPOUT = 2
    HOLD_OUT = 3
    SPLIT = 4


def generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """Return the generator of ``stream`` for ``seed`` and further whole numbers."""
    if seed < 0:
        raise SettingError(f"seed must be 0 or more, got {seed}")
    return np.random.default_rng([seed, stream, *key])


def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Return the order of ``count`` images in an epoch: a permutation of int64 (count,)."""
    return generator(seed, Stream.ORDER, epoch).permutation(count)


def dropout_mask(shape: tuple[int, ...], p: float, seed: int, *key: int) -> NDArray[np.float64]:
    """Return a mask of ``shape``: 0 with probability ``p``, else 1 / (1 - p)."""
    kept = generator(seed, Stream.DROPOUT, *key).random(shape) >= p
    return kept / (1 - p)


def uniform(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[Any]:
    """Draw from ± 1 / sqrt(fan_in): what PyTorch's Conv2d and Linear begin with."""
    return rng.uniform(-1, 1, shape) / math.sqrt(fan_in)


def kaiming_normal(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[Any]:
    """Draw from a normal of variance 2 / fan_in, for ReLU (He et al., 2015); biases are zero."""
    return rng.normal(0, math.sqrt(2 / fan_in), shape) if len(shape) > 1 else np.zeros(shape)


def xavier_uniform(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[Any]:
    """Draw from ± sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010); biases are zero."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-bound, bound, shape) if len(shape) > 1 else np.zeros(shape)


def lecun_uniform(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[Any]:
    """Draw from ± 2.4 / fan_in, as LeNet-5's authors did (LeCun et al., 1998, appendix A)."""
    return rng.uniform(-2.4, 2.4, shape) / fan_in


INITIALIZERS: dict[str, Draw] = {
    "uniform": uniform,
    "kaiming_normal": kaiming_normal,
    "xavier_uniform": xavier_uniform,
    "lecun_uniform": lecun_uniform,
}


def initializer(name: str) -> Draw:
    """Return the initialiser called ``name``; an unknown one raises SettingError."""
    if name not in INITIALIZERS:
        raise unknown("initialiser", name, INITIALIZERS)
    return INITIALIZERS[name]
