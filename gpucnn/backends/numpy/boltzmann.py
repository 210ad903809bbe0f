"""Restricted Boltzmann machines."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.boltzmann import Boltzmann
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.numpy.elementwise import sigmoid_of
from gpucnn.backends.numpy.random import NumpyRandom


class NumpyBoltzmann(NumpyRandom, Boltzmann):
    """Restricted Boltzmann machines."""

    def _sample_units(
        self, input: Array, key: int, step: Array, bias: Array | None, samples: Array | None
    ) -> tuple[Array, Array]:
        probabilities = sigmoid_of(input if bias is None else input + bias)
        drawn = self._bernoulli(probabilities, key, step)
        if samples is None:
            return probabilities, drawn
        samples[...] = drawn
        return probabilities, samples

    def _stack_rows(
        self, first: Array, second: Array, first_factor: float, second_factor: float
    ) -> Array:
        rows, features = first.shape
        by_feature = np.empty((features, rows + len(second)), self.dtype)
        np.multiply(first.T, self.dtype.type(first_factor), out=by_feature[:, :rows])
        np.multiply(second.T, self.dtype.type(second_factor), out=by_feature[:, rows:])
        return by_feature.T
