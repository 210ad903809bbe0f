"""Recurrent networks, and sequences.

A sequence is stored as (T, F, N), with the batch innermost: a step is a matrix without gaps, whose
products and activations are computed in place.
"""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.recurrent import Recurrent
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.elementwise import masked
from gpucnn.backends.numpy.linear import sum_features, sum_products
from gpucnn.backends.numpy.windows import batch_first, batch_last


class NumpyRecurrent(NumpyArrays, Recurrent):
    """Recurrent networks, and sequences."""

    def _rnn(self, input: Array, weight: Array, bias: Array | None, nonlinearity: str) -> Array:
        x = batch_last(input)
        states = np.empty_like(x)
        zeros = np.zeros_like(x[0])  # np.maximum is slower with a plain 0
        for t, state in enumerate(states):
            if t:
                np.matmul(weight, states[t - 1], out=state)
                state += x[t]
            else:
                state[...] = x[t]
            if bias is not None:
                state += bias[:, None]
            if nonlinearity == "tanh":
                np.tanh(state, out=state)
            else:
                np.maximum(state, zeros, out=state)
        return batch_first(states)

    def _rnn_backward(
        self, grad: Array, output: Array, weight: Array, nonlinearity: str, out: ParameterGrads
    ) -> Array:
        grads, states = batch_last(grad), batch_last(output)
        input_grad = np.empty_like(grads)
        total, slope = np.empty_like(grads[0]), np.empty_like(grads[0])
        transposed = np.ascontiguousarray(weight.T)
        for t in reversed(range(len(grads))):
            if t + 1 < len(grads):
                np.matmul(transposed, input_grad[t + 1], out=total)
                total += grads[t]
            else:
                total[...] = grads[t]
            if nonlinearity == "tanh":
                np.subtract(1, states[t], out=slope)
                np.multiply(slope, total, out=input_grad[t])
                np.add(1, states[t], out=slope)
                input_grad[t] *= slope
            else:
                input_grad[t] = masked(total, states[t] > 0)
        _sum_gradients(input_grad, states, out)
        return batch_first(input_grad)

    def _gru(
        self, input: Array, weight: Array, bias: Array | None, return_gates: bool
    ) -> tuple[Array, Array | None]:
        x, hidden = batch_last(input), weight.shape[1]
        steps, _, samples = x.shape
        states = np.empty((steps, hidden, samples), x.dtype)
        gates = np.empty((steps if return_gates else 1, 4 * hidden, samples), x.dtype)
        with np.errstate(over="ignore"):  # 1 / (1 + infinity) is 0, the correct result
            for t, state in enumerate(states):
                step = gates[t if return_gates else 0]
                products, resets, new = step[: 3 * hidden], step[:hidden], step[3 * hidden :]
                if t:
                    np.matmul(weight, states[t - 1], out=products)
                else:
                    products.fill(0)
                if bias is not None:
                    products += bias[:, None]
                both = step[: 2 * hidden]
                both += x[t, : 2 * hidden]
                np.negative(both, out=both)
                np.exp(both, out=both)
                both += 1
                np.divide(1, both, out=both)
                np.multiply(resets, step[2 * hidden : 3 * hidden], out=new)
                new += x[t, 2 * hidden :]
                np.tanh(new, out=new)
                # (1 - z) n + z h is n + z (h - n).
                if t:
                    np.subtract(states[t - 1], new, out=state)
                else:
                    np.negative(new, out=state)
                state *= step[hidden : 2 * hidden]
                state += new
        return batch_first(states), batch_first(gates) if return_gates else None

    def _gru_backward(
        self, grad: Array, output: Array, gates: Array, weight: Array, out: ParameterGrads
    ) -> Array:
        grads, states, saved = batch_last(grad), batch_last(output), batch_last(gates)
        steps, hidden, samples = grads.shape
        input_grad = np.empty((steps, 3 * hidden, samples), grads.dtype)
        of_products = np.empty_like(input_grad)
        total, rest = np.zeros_like(grads[0]), np.empty_like(grads[0])
        transposed = np.ascontiguousarray(weight.T)
        nothing = np.zeros_like(total)
        for t in reversed(range(steps)):
            total += grads[t]
            r, z, q, n = saved[t].reshape(4, hidden, samples)
            r_grad, z_grad, n_grad = input_grad[t].reshape(3, hidden, samples)
            np.subtract(1, z, out=rest)
            # The new state: h has 1 - z of it, and tanh the slope (1 - n) (1 + n).
            np.multiply(rest, total, out=n_grad)
            np.subtract(states[t - 1] if t else nothing, n, out=z_grad)
            z_grad *= total
            z_grad *= z
            z_grad *= rest
            np.subtract(1, n, out=rest)
            n_grad *= rest
            np.add(1, n, out=rest)
            n_grad *= rest
            np.subtract(1, r, out=r_grad)
            r_grad *= r
            r_grad *= q
            r_grad *= n_grad
            of_products[t, : 2 * hidden] = input_grad[t, : 2 * hidden]
            np.multiply(n_grad, r, out=of_products[t, 2 * hidden :])
            total *= z
            np.matmul(transposed, of_products[t], out=rest)
            total += rest
        _sum_gradients(of_products, states, out)
        return batch_first(input_grad)

    def _rows(self, input: Array) -> Array:
        x = batch_last(input)
        channels, height, width, samples = x.shape
        return batch_first(x.swapaxes(0, 1).reshape(height, channels * width, samples))

    def _rows_backward(self, grad: Array, input_shape: tuple[int, int, int, int]) -> Array:
        samples, channels, height, width = input_shape
        rows = batch_last(grad).reshape(height, channels, width, samples)
        return batch_first(np.ascontiguousarray(rows.swapaxes(0, 1)))

    def _last_step(self, input: Array) -> Array:
        return input[:, -1].copy("K")

    def _last_step_backward(self, grad: Array, input_shape: tuple[int, int, int]) -> Array:
        samples, steps, features = input_shape
        input_grad = np.zeros((steps, features, samples), grad.dtype)
        input_grad[-1] = grad.T
        return batch_first(input_grad)


def _sum_gradients(grads: Array, states: Array, out: ParameterGrads) -> None:
    """Write the gradients of weight and bias, given those of the products (T, G, N) with states.

    The product of a step is that of the weight with the state before it.
    """
    sum_products(grads[1:], states[:-1], out[0])
    sum_features(grads, out[1])
