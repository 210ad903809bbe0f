"""Random numbers: initial weights, orders of images, and what training steps draw.

Each is a function of the seed and of what it is for. They depend neither on the backend nor on
earlier draws, so every backend starts from the same weights and trains on the same batches, and a
run can be resumed at any step.

Weights and orders are drawn on the host by NumPy's generators. What a training step draws, such as
a mask of dropout, is made where it is used by Philox, a function of a key, the number of the step
and the index of the element: ``philox`` here and kernels/philox.cuh return the same bits.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache, partial
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
    AUGMENTATION = 5
    MIXUP = 6
    GIBBS = 8
    FLIP = 9


def generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """Return the generator for ``seed`` and ``stream``; ``key`` selects an independent sequence."""
    if seed < 0:
        raise SettingError(f"seed must be an integer >= 0, got {seed}")
    return np.random.default_rng([seed, stream, *key])


_PART = 1 << 20


def epoch_order(
    seed: int, epoch: int, count: int, out: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return the order of ``count`` images in an epoch, a permutation, int64 (count,).

    It is drawn in ``out`` if that is given.
    """
    order = np.empty(count, np.int64) if out is None else out
    for start in range(0, count, _PART):  # a second array of many millions would be in the way
        order[start : start + _PART] = np.arange(start, min(start + _PART, count))
    generator(seed, Stream.ORDER, epoch).shuffle(order)
    return order


# --- Philox 4x32-10


_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_HIGH_HALF = 1 if sys.byteorder == "little" else 0  # of the two uint32 in a uint64
# Blocks whose states fit into the processor's second cache. With a power of two, the arrays lie at
# addresses whose last 12 bits are equal, which takes twice the time.
_AT_ONCE = 5000


@lru_cache(1024)
def philox_key(seed: int, stream: Stream, *path: int) -> int:
    """Return the key, 64 bits, of the numbers for ``seed``, ``stream`` and ``path``.

    Keys of different arguments are independent, as NumPy's SeedSequence makes them. SettingError if
    ``seed`` is negative.
    """
    if seed < 0:
        raise SettingError(f"seed must be an integer >= 0, got {seed}")
    sequence = np.random.SeedSequence(seed, spawn_key=(stream, *path))
    return int(sequence.generate_state(1, np.uint64)[0])


def philox(key: int, step: int, blocks: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return the words of Philox 4x32-10, uint32 (4, ...), for ``blocks`` (...).

    The counter is a number of ``blocks`` in its low 64 bits, and ``step`` in the high ones. Element
    i of an array uses word i % 4 of block i // 4. Salmon et al., "Parallel random numbers: as easy
    as 1, 2, 3", SC 2011.
    """
    words = np.empty((4, blocks.size), np.uint32)
    flat, keys = blocks.ravel(), _round_keys(key)
    for start in range(0, blocks.size, _AT_ONCE):
        part = flat[start : start + _AT_ONCE]
        # The state is words 0 and 2, which are multiplied, and 1 and 3, each pair in an array.
        even, odd = (np.empty((2, part.size), np.uint32) for _ in range(2))
        even[0], odd[0] = part & _LOW, part >> _HALF
        even[1], odd[1] = step & int(_LOW), step >> 32
        products = np.empty((2, 2, part.size), np.uint64)
        for number, round_key in enumerate(keys):
            product = products[number % 2]  # the other one holds ``odd``
            product[...] = even
            product *= _MULTIPLIERS
            halves = product[::-1].view(np.uint32)
            np.bitwise_xor(halves[:, _HIGH_HALF::2], odd, out=even)
            even ^= round_key
            odd = halves[:, 1 - _HIGH_HALF :: 2]
        words[0::2, start : start + part.size] = even
        words[1::2, start : start + part.size] = odd
    return words.reshape(4, *blocks.shape)


@lru_cache(1024)
def _round_keys(key: int) -> NDArray[np.uint32]:
    """Return the two words of the key in each round, uint32 (10, 2, 1)."""
    halves = key & int(_LOW), key >> 32
    keys = [
        [(half + index * increment) & int(_LOW)]
        for index in range(_ROUNDS)
        for half, increment in zip(halves, _KEY_INCREMENTS, strict=True)
    ]
    return np.array(keys, np.uint32).reshape(_ROUNDS, 2, 1)


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
