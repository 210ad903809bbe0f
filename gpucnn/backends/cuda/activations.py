"""Activations and softmax."""

from __future__ import annotations

import math
from typing import Any

from gpucnn.backends.contract.activations import Activations
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.grids import WIDE


class CudaActivations(CudaArrays, Activations):
    """Activations and softmax."""

    def _activation(self, op: str, input: Array, *options: Any) -> Array:
        return self._map(f"{op}_forward", input, scalars=_scalars(options))

    def _activation_backward(self, op: str, grad: Array, saved: Array, *options: Any) -> Array:
        return self._map(f"{op}_backward", grad, saved, scalars=_scalars(options))

    def _softmax(self, input: Array, dim: int) -> Array:
        return self._map_rows("softmax_forward", dim, input)

    def _softmax_backward(self, grad: Array, output: Array, dim: int) -> Array:
        return self._map_rows("softmax_backward", dim, grad, output)

    def _map_rows(self, kernel: str, dim: int, *inputs: Array) -> Array:
        """Return the output of a kernel that processes each row along axis ``dim`` separately.

        One thread processes a row of fewer than WIDE elements, and one block a longer row.
        """
        shape = inputs[0].shape
        size, inner = shape[dim], math.prod(shape[dim + 1 :])
        output = self.empty(shape)
        rows = output.size // size
        if size < WIDE:
            self._kernels.launch_each(kernel, rows, *inputs, output, rows, size, inner)
        else:
            self._kernels.launch(f"{kernel}_wide", rows, *inputs, output, size, inner)
        return output


def _scalars(options: tuple[Any, ...]) -> tuple[float, ...]:
    """Return the options of an activation as kernels take them: ``approximate`` as 0 or 1."""
    return tuple(int(value == "tanh") if isinstance(value, str) else value for value in options)
