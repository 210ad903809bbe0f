"""Activations, softmax and dropout."""

from __future__ import annotations

import math

from gpucnn.backends.contract.activations import Activations
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.grids import (
    WIDE,
)


class CudaActivations(CudaArrays, Activations):
    """Activations, softmax and dropout."""

    def _activation(self, op: str, input: Array) -> Array:
        return self._map(f"{op}_forward", input)

    def _activation_backward(self, op: str, grad: Array, output: Array) -> Array:
        return self._map(f"{op}_backward", grad, output)

    def _softmax(self, input: Array, dim: int) -> Array:
        return self._lines("softmax_forward", dim, input)

    def _softmax_backward(self, grad: Array, output: Array, dim: int) -> Array:
        return self._lines("softmax_backward", dim, grad, output)

    def _lines(self, kernel: str, dim: int, *inputs: Array) -> Array:
        """Return what a kernel makes of arrays line by line along axis ``dim``."""
        shape = inputs[0].shape
        size, inner = shape[dim], math.prod(shape[dim + 1 :])
        output = self.empty(shape)
        lines = output.size // size
        if size < WIDE:
            self._kernels.launch_each(kernel, lines, *inputs, output, lines, size, inner)
        else:
            self._kernels.launch(f"{kernel}_wide", lines, *inputs, output, size, inner)
        return output

    def _dropout(self, input: Array, mask: Array) -> Array:
        return self._map("dropout_forward", input, mask)
