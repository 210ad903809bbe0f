"""Linear layers and flattening."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.linear import Linear
from gpucnn.backends.numpy.activations import relu_of
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.im2col import sum_channels
from gpucnn.backends.numpy.windows import batch_first, batch_last


class NumpyLinear(NumpyArrays, Linear):
    """Linear layers and flattening."""

    def _linear(self, input: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
        output = weight @ batch_last(input)
        if bias is not None:
            output += bias[:, None]
        return relu_of(output, output).T if relu else output.T

    def _linear_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        input_grad: bool,
        out: ParameterGrads,
    ) -> Array | None:
        grads = batch_last(grad)
        np.matmul(grads, batch_last(input).T, out=out[0])
        sum_channels(grads, out[1])
        return (weight.T @ grads).T if input_grad else None

    def _linear_transpose(self, input: Array, weight: Array) -> Array:
        return (weight.T @ batch_last(input)).T

    def _reshape(self, input: Array, shape: tuple[int, ...]) -> Array:
        return batch_first(batch_last(input).reshape(*shape[1:], shape[0]))
