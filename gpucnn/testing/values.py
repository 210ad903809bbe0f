"""Random arrays for the cases. Each function takes a generator and a shape, and returns float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = Callable[..., NDArray[Any]]
Shape = tuple[int, ...]
AROUND_BLOCKS = (255, 256, 257, 1023, 1025)
"""Sizes next to those of one and of four blocks of threads."""


def normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return numbers from the standard normal distribution."""
    return rng.standard_normal(shape).astype(np.float32)


def positive(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return numbers of at least 0.1."""
    return (0.1 + np.abs(normal(rng, *shape))).astype(np.float32)


def probabilities(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return numbers from 0.05 to 0.95."""
    return rng.uniform(0.05, 0.95, shape).astype(np.float32)


def off_zero(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return numbers at least 0.1 from zero, where ReLU has no derivative."""
    signs: NDArray[np.float32] = rng.choice(np.array([-1, 1], np.float32), shape)
    return positive(rng, *shape) * signs


def spaced(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return distinct numbers, 1/8 apart and shuffled, so that no window is near a tie.

    None of them is zero, where Lp pooling with p = 2 has no derivative.
    """
    count = math.prod(shape)
    return ((rng.permutation(count) - count // 2 + 0.5) / 8).reshape(shape).astype(np.float32)


def below_zero(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return numbers below -1, which are less than zero padding."""
    return -1 - positive(rng, *shape)


def below(highest: float, depth: float) -> Values:
    """Return numbers from ``highest - depth`` to ``highest``."""

    def values(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
        return rng.uniform(highest - depth, highest, shape).astype(np.float32)

    return values


def few_levels(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return -1, 0 and 1 only, so that windows have ties."""
    return rng.integers(-1, 2, shape).astype(np.float32)


def with_nan(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return numbers with some NaN and infinities, of which two are adjacent."""
    values = normal(rng, *shape)
    flat = values.reshape(-1)
    flat[rng.choice(flat.size, max(1, flat.size // 9), replace=False)] = np.nan
    flat[rng.choice(flat.size, max(1, flat.size // 9), replace=False)] = -np.inf
    flat[:4] = np.nan, np.nan, np.inf, np.inf
    return values


def with_subnormals(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return numbers of which a half are subnormal in float32, or their squares are."""
    scales: NDArray[np.float32] = rng.choice(
        np.array([1, 1, 2.0**-70, 2.0**-132], np.float32), shape
    )
    return normal(rng, *shape) * scales


def levels(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return numbers that increase by 300 along the last axis: exp overflows from 89 on."""
    return normal(rng, *shape) + 300 * np.arange(shape[-1], dtype=np.float32)


def infinities(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return infinities, zeros of both signs, and ones."""
    return rng.choice(np.array([-np.inf, np.inf, 0, -0.0, 1, -1], np.float32), shape)


def minus_infinity(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return only -inf."""
    del rng
    return np.full(shape, -np.inf, np.float32)


def increasing(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return increasing numbers, so that the last element of each window is the maximum."""
    del rng
    return (np.arange(math.prod(shape)) / 8 - 20.0625).reshape(shape).astype(np.float32)


def zeros(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return zeros except for one element in five, so that some windows contain only zeros."""
    return normal(rng, *shape) * (rng.uniform(size=shape) < 0.2).astype(np.float32)


def rectified(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return numbers after ReLU: about a half are zero."""
    return np.maximum(normal(rng, *shape), np.float32(0))


def one_is(position: int, value: float) -> Values:
    """Return normal numbers, of which the one at ``position`` is replaced."""

    def values(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
        array = normal(rng, *shape)
        array.reshape(-1)[position] = value
        return array

    return values


def times(factor: float, values: Values = normal) -> Values:
    """Return other numbers times a factor."""

    def scaled(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
        return np.float32(factor) * values(rng, *shape)

    return scaled


def certain(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return probabilities of 0, 1, 0.5, and numbers next to 0 and 1."""
    return rng.choice(np.array([0, 1, 1e-30, 1 - 2**-24, 0.5], np.float32), shape)
