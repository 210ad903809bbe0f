"""Linear layers and flattening."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.linear import Linear
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.elementwise import relu_of
from gpucnn.backends.numpy.windows import batch_first, batch_last


class NumpyLinear(NumpyArrays, Linear):
    """Linear layers and flattening."""

    def _linear(self, input: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
        output = weight @ batch_last(input)
        if bias is not None:
            output += bias[:, None]
        return batch_first(relu_of(output, output) if relu else output)

    def _linear_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        input_grad: bool,
        out: ParameterGrads,
    ) -> Array | None:
        grads, x = batch_last(grad), batch_last(input)
        steps = grads.reshape(-1, *grads.shape[-2:])
        sum_products(steps, x.reshape(-1, *x.shape[-2:]), out[0])
        sum_features(steps, out[1])
        return batch_first(weight.T @ grads) if input_grad else None

    def _linear_transpose(self, input: Array, weight: Array) -> Array:
        return batch_first(weight.T @ batch_last(input))

    def _reshape(self, input: Array, shape: tuple[int, ...]) -> Array:
        return batch_first(batch_last(input).reshape(*shape[1:], shape[0]))


def sum_products(grads: Array, inputs: Array, out: Array) -> None:
    """Write the sum over T of the products of ``grads`` (T, O, N) and ``inputs`` (T, F, N).

    ``out`` (O, F) is the gradient of a weight; it is zero if T is 0.
    """
    if not len(grads):
        out.fill(0)
        return
    np.matmul(grads[0], inputs[0].T, out=out)
    product = np.empty_like(out)
    for grad, input in zip(grads[1:], inputs[1:], strict=True):
        np.matmul(grad, input.T, out=product)
        out += product


def sum_features(grads: Array, out: Array | None) -> None:
    """Write the sum of ``grads`` (T, O, N) over T and N to ``out`` (O,) unless that is None."""
    if out is not None:
        np.sum(grads[0] if len(grads) == 1 else grads.sum(0), axis=1, out=out)
