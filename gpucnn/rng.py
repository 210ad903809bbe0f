"""Random numbers: initial weights, orders of images, dropout masks.

They are drawn on the host, each as a function of the seed and of what it is for. They depend
neither on the backend nor on earlier draws, so every backend starts from the same weights and
trains on the same batches, and a run can be resumed at any step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import SettingError, unknown

if TYPE_CHECKING:  # at run time this would import numpy.random, which is slow
    Draw = Callable[[np.random.Generator, tuple[int, ...], int, int], NDArray[Any]]


class Stream(IntEnum):
    """The purposes of random numbers. Each has an independent sequence."""

    WEIGHTS = 0
    ORDER = 1
    DROPOUT = 2
    HOLD_OUT = 3
    SPLIT = 4


def generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """Return the generator for ``seed`` and ``stream``; ``key`` selects an independent sequence."""
    if seed < 0:
        raise SettingError(f"seed must be an integer >= 0, got {seed}")
    return np.random.default_rng([seed, stream, *key])


def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Return the order of ``count`` images in an epoch, a permutation, int64 (count,)."""
    return generator(seed, Stream.ORDER, epoch).permutation(count)


def dropout_mask(shape: tuple[int, ...], p: float, seed: int, *key: int) -> NDArray[np.float64]:
    """Return a mask of ``shape``: 0 with probability ``p``, otherwise 1 / (1 - p)."""
    kept = generator(seed, Stream.DROPOUT, *key).random(shape) >= p
    return kept / (1 - p)


# --- initialisers: functions of a generator, a parameter's shape and its numbers of inputs and
# --- outputs. Shapes of one dimension are biases.


def uniform(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[Any]:
    """Draw from [-b, b] with b = 1 / sqrt(fan_in), PyTorch's default for Conv2d and Linear."""
    return rng.uniform(-1, 1, shape) / math.sqrt(fan_in)


def kaiming_normal(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[Any]:
    """Draw from a normal of variance 2 / fan_in, for ReLU (He et al., 2015); biases are zero."""
    return rng.normal(0, math.sqrt(2 / fan_in), shape) if len(shape) > 1 else np.zeros(shape)


def xavier_uniform(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[Any]:
    """Draw from [-b, b] with b = sqrt(6 / (fan_in + fan_out)); biases are zero.

    Glorot and Bengio, 2010.
    """
    bound = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-bound, bound, shape) if len(shape) > 1 else np.zeros(shape)


def lecun_uniform(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[Any]:
    """Draw from [-b, b] with b = 2.4 / fan_in (LeCun et al., 1998, appendix A)."""
    return rng.uniform(-2.4, 2.4, shape) / fan_in


INITIALIZERS: dict[str, Draw] = {
    "uniform": uniform,
    "kaiming_normal": kaiming_normal,
    "xavier_uniform": xavier_uniform,
    "lecun_uniform": lecun_uniform,
}
"""Initialisers by name."""


def constant(
    value: float, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[Any]:
    """Return ``value`` for every element; draw nothing."""
    return np.full(shape, value)


def initializer(name: str | float) -> Draw:
    """Return the initialiser called ``name``, or of a number; SettingError if there is none."""
    if isinstance(name, int | float):
        return partial(constant, float(name))
    if name not in INITIALIZERS:
        raise unknown("initialiser", name, INITIALIZERS)
    return INITIALIZERS[name]
