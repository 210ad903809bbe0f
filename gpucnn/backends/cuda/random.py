"""Random numbers, and dropout by them."""

from __future__ import annotations

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.random import Random
from gpucnn.backends.cuda.arrays import CudaArrays

WORDS = 4
"""Elements of a thread: those of a block of Philox."""

PLANES_A_BLOCK = 8
"""Channels of samples that a block of dropout2d scales, one for each warp."""


class CudaRandom(CudaArrays, Random):
    """Random numbers, and dropout by them."""

    def _dropout(self, input: Array, threshold: int, scale: float, key: int, step: Array) -> Array:
        output = self.empty(input.shape)
        threads = -(-input.size // WORDS)
        self._kernels.launch_each(
            "dropout_forward", threads, input, step, output, input.size, key, threshold, scale
        )
        return output

    def _dropout2d(
        self, input: Array, threshold: int, scale: float, key: int, step: Array
    ) -> Array:
        output = self.empty(input.shape)
        samples, channels, height, width = input.shape
        planes, area = samples * channels, height * width
        self._kernels.launch(
            "dropout2d_forward",
            -(-planes // PLANES_A_BLOCK),
            input, step, output, planes, area, key, threshold, scale,
        )  # fmt: skip
        return output

    def _uniform(self, shape: tuple[int, ...], key: int, step: Array) -> Array:
        output = self.empty(shape)
        threads = -(-output.size // WORDS)
        self._kernels.launch_each("uniform_forward", threads, step, output, output.size, key)
        return output

    def _bernoulli(self, probabilities: Array, key: int, step: Array) -> Array:
        output = self.empty(probabilities.shape)
        self._kernels.launch_each(
            "bernoulli_forward",
            -(-output.size // WORDS), probabilities, step, output, output.size, key,
        )  # fmt: skip
        return output
