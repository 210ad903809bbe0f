"""Random numbers, and dropout by them."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.random import Random
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.windows import batch_first
from gpucnn.rng import philox


class NumpyRandom(NumpyArrays, Random):
    """Random numbers, and dropout by them."""

    def _dropout(self, input: Array, threshold: int, scale: float, key: int, step: Array) -> Array:
        features = input.size // len(input) if input.ndim else 1
        if input.ndim < 2 or input.flags.c_contiguous or features % 4:
            kept = _kept(key, int(step[0]), threshold, 1, input.size).reshape(input.shape)
        else:  # the batch is innermost
            samples = len(input)
            kept = _kept(key, int(step[0]), threshold, samples, features)
            kept = batch_first(kept.reshape(*input.shape[1:], samples))
        return self._masked(input, kept, scale)

    def _dropout2d(
        self, input: Array, threshold: int, scale: float, key: int, step: Array
    ) -> Array:
        samples, channels = input.shape[:2]
        kept = _in_order(_words(key, step, samples * channels), samples * channels) >= threshold
        factors = kept.reshape(samples, channels, 1, 1).astype(self.dtype)
        factors *= self.dtype.type(scale)
        return input * factors

    def _uniform(self, shape: tuple[int, ...], key: int, step: Array) -> Array:
        size = math.prod(shape)
        upper = _in_order(_words(key, step, size), size) >> np.uint32(8)
        return np.multiply(upper, 2.0**-24, dtype=self.dtype).reshape(shape)

    def _bernoulli(self, probabilities: Array, key: int, step: Array) -> Array:
        drawn = self._uniform(probabilities.shape, key, step)
        ones = np.less(drawn, probabilities).astype(self.dtype)
        np.copyto(ones, probabilities, where=np.isnan(probabilities))
        return ones

    def _masked(self, input: Array, kept: NDArray[np.bool_], scale: float) -> Array:
        """Return ``input`` times ``scale`` where ``kept``, and times 0 elsewhere."""
        factors = kept.astype(self.dtype)  # in the memory order of the mask
        factors *= self.dtype.type(scale)
        factors *= input
        return factors


@lru_cache(4)  # so that backward finds the mask of forward
def _kept(key: int, step: int, threshold: int, samples: int, features: int) -> NDArray[np.bool_]:
    """Return which elements are kept, (features * samples,) with the samples innermost."""
    rows = -(-features // 4)
    blocks = np.arange(rows)[:, None] + rows * np.arange(samples)
    kept = philox(key, step, blocks.astype(np.uint64)) >= threshold
    in_order = kept.transpose(1, 0, 2).reshape(-1)[: features * samples]
    in_order.flags.writeable = False
    return in_order


def _words(key: int, step: Array, count: int) -> NDArray[np.uint32]:
    """Return the words of at least ``count`` elements, (4, blocks)."""
    return philox(key, int(step[0]), np.arange(-(-count // 4), dtype=np.uint64))


def _in_order(words: NDArray[np.uint32], count: int) -> NDArray[np.uint32]:
    """Return words (4, blocks) in the order of the elements, (count,)."""
    return words.T.reshape(-1)[:count]
