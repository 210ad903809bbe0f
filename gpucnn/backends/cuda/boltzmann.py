"""Restricted Boltzmann machines."""

from __future__ import annotations

from gpucnn.backends.contract.boltzmann import Boltzmann
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.cuda.random import WORDS, CudaRandom


class CudaBoltzmann(CudaRandom, Boltzmann):
    """Restricted Boltzmann machines."""

    def _sample_units(
        self, input: Array, key: int, step: Array, bias: Array | None, samples: Array | None
    ) -> tuple[Array, Array]:
        probabilities = self.empty(input.shape)
        samples = self.empty(input.shape) if samples is None else samples
        self._kernels.launch_each(
            "sample_units_forward",
            -(-input.size // WORDS), input, bias, step, probabilities, samples,
            input.size, input.shape[1], key,
        )  # fmt: skip
        return probabilities, samples

    def _stack_rows(
        self, first: Array, second: Array, first_factor: float, second_factor: float
    ) -> Array:
        output = self.empty((first.shape[0] + second.shape[0], first.shape[1]))
        self._kernels.launch_each(
            "stack_rows_forward",
            output.size, first, second, output, first.size, output.size,
            first_factor, second_factor,
        )  # fmt: skip
        return output
