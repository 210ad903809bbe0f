"""Restricted Boltzmann machines."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.boltzmann import Boltzmann
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.numpy.elementwise import sigmoid_of
from gpucnn.backends.numpy.random import NumpyRandom
from gpucnn.rng import philox

_WORDS = 4  # elements that have the words of a block of Philox


class NumpyBoltzmann(NumpyRandom, Boltzmann):
    """Restricted Boltzmann machines."""

    def _sample_units(
        self, input: Array, key: int, step: Array, bias: Array | None, samples: Array | None
    ) -> tuple[Array, Array]:
        probabilities = sigmoid_of(input if bias is None else input + bias)
        by_unit = probabilities.T
        if len(by_unit) % _WORDS or not by_unit.flags.c_contiguous:
            drawn = self._bernoulli(probabilities, key, step)
        else:
            drawn = self._draw(by_unit, key, int(step[0])).T
        if samples is None:
            return probabilities, drawn
        samples[...] = drawn
        return probabilities, samples

    def _draw(self, probabilities: Array, key: int, step: int) -> Array:
        """Return ``bernoulli`` of the transposed probabilities (units, rows), transposed.

        The blocks of Philox are made in the memory order of the probabilities, which saves copies.
        """
        units, rows = probabilities.shape
        count = units // _WORDS
        blocks = np.arange(count, dtype=np.uint64)[:, None] + np.uint64(count) * np.arange(
            rows, dtype=np.uint64
        )
        words = philox(key, step, blocks)
        words >>= np.uint32(8)
        # Integers of 24 bits are exact in float32; so is the product with 2**24.
        drawn = words.view(np.int32).astype(self.dtype)
        limits = probabilities * self.dtype.type(2**24)
        ones = np.empty_like(probabilities)
        for word in range(_WORDS):
            np.less(drawn[word], limits[word::_WORDS], out=ones[word::_WORDS], casting="unsafe")
        if np.isnan(np.add.reduce(limits, None)):
            np.copyto(ones, probabilities, where=np.isnan(probabilities))
        return ones

    def _stack_rows(
        self, first: Array, second: Array, first_factor: float, second_factor: float
    ) -> Array:
        rows, features = first.shape
        by_feature = np.empty((features, rows + len(second)), self.dtype)
        np.multiply(first.T, self.dtype.type(first_factor), out=by_feature[:, :rows])
        np.multiply(second.T, self.dtype.type(second_factor), out=by_feature[:, rows:])
        return by_feature.T
