"""Activations of NumPy, element by element, and their gradients.

Each function writes to ``out``, which is none of its inputs. Inputs are flat blocks that stay in
the cache: every step of a formula is a pass over the block, which would cost several times as much
if it went to memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.numpy import gelu

BLOCK = 32768
"""Elements of a block: 128 KiB in float32. A call of NumPy takes as long as some 2,000 of them."""

ROW = 8192
"""Elements of a row in ``relu_of``: NumPy's buffer, to which shorter rows are copied first."""


def in_blocks(function: Callable[..., None], *inputs: Array, options: Any = ()) -> Array:
    """Return ``function(out, *blocks, *options)`` of arrays of one shape, in blocks of elements.

    The result has the memory order of the last input.
    """
    result = np.empty_like(inputs[-1])
    target, sources = result.ravel("K"), [_flat(array, result) for array in inputs]
    # Of exp, of infinities of the input, and of poles inside GELU's continued fraction.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for first in range(0, target.size, BLOCK):
            block = slice(first, first + BLOCK)
            function(target[block], *(source[block] for source in sources), *options)
    return result


def _flat(array: Array, like: Array) -> Array:
    """Return the elements of ``array`` in the memory order of ``like``, a view if it has it."""
    if array.strides != like.strides:  # another order, gaps, or zero or negative strides
        copy = np.empty_like(like)
        copy[...] = array
        array = copy
    return array.ravel("K")


def relu_of(x: Array, out: Array | None = None) -> Array:
    """Return max(x, 0), with NaN where x is NaN, in the memory order of ``x``.

    ``out`` may be ``x`` itself if its memory has no gaps.
    """
    result = np.empty_like(x) if out is None else out
    if x.strides != result.strides:  # gaps, zero strides or negative strides
        return np.maximum(x, 0, out=result)
    source, target, zeros = x.ravel("K"), result.ravel("K"), zero_row(x.dtype)[:ROW]
    in_rows = source.size // ROW * ROW
    if in_rows:
        rows = target[:in_rows].reshape(-1, ROW)
        np.maximum(source[:in_rows].reshape(-1, ROW), zeros, out=rows)
    np.maximum(source[in_rows:], zeros[: source.size - in_rows], out=target[in_rows:])
    return result


@cache
def zero_row(dtype: np.dtype[Any]) -> Array:
    """Return a read-only row of BLOCK zeros.

    NumPy's vectorised loops of minimum and maximum take two arrays, not a scalar: zeros that stay
    in the cache.
    """
    zeros = np.zeros(BLOCK, dtype)
    zeros.flags.writeable = False
    return zeros


def masked(grad: Array, kept: Array, out: Array | None = None) -> Array:
    """Return ``grad`` where ``kept`` is true, and zero elsewhere even if it is NaN or infinite.

    True is -1 as an integer, whose bits are all set, so that a bitwise "and" keeps the number. This
    is as fast as a product, in which zero times infinity would be NaN, and ten times as fast as
    ``np.where``.
    """
    integers = np.dtype(f"i{grad.itemsize}")
    target = None if out is None else out.view(integers)
    return np.bitwise_and(grad.view(integers), -kept.view(np.int8), out=target).view(grad.dtype)


def sigmoid_of(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), in the memory order of ``x``."""
    return in_blocks(_sigmoid, x)


def _sigmoid(out: Array, x: Array) -> None:
    np.negative(x, out=out)
    np.exp(out, out=out)  # where it overflows to infinity, 0 is the correct result
    out += 1
    np.divide(1, out, out=out)


def _sigmoid_backward(out: Array, grad: Array, y: Array) -> None:
    np.subtract(1, y, out=out)
    out *= y
    out *= grad


def _tanh(out: Array, x: Array) -> None:
    np.tanh(x, out=out)


def _tanh_backward(out: Array, grad: Array, y: Array) -> None:
    np.subtract(1, y, out=out)
    out *= 1 + y  # y², rounded, leaves nothing near 1
    out *= grad


def _leaky_relu(out: Array, x: Array, negative_slope: float) -> None:
    out[...] = np.where(x > 0, x, negative_slope * x)


def _leaky_relu_backward(out: Array, grad: Array, x: Array, negative_slope: float) -> None:
    out[...] = np.where(x > 0, grad, negative_slope * grad)


def _elu(out: Array, x: Array, alpha: float) -> None:
    # exp(x) - 1 = 2 t / (1 - t) with t = tanh(x / 2) <= 0: nothing cancels, and NumPy's tanh is
    # vectorised in float32, its expm1 is not.
    zeros = zero_row(x.dtype)[: x.size]
    tanh = np.minimum(x, zeros)
    tanh *= 0.5
    np.tanh(tanh, out=tanh)
    np.subtract(1, tanh, out=out)
    np.divide(tanh, out, out=out)
    out *= 2 * alpha
    out += np.maximum(x, zeros, out=tanh)


def _elu_backward(out: Array, grad: Array, x: Array, alpha: float) -> None:
    np.exp(np.minimum(x, zero_row(x.dtype)[: x.size]), out=out)
    if alpha != 1:
        out[...] = np.where(x > 0, out, alpha * out)
    out *= grad


def _gelu(out: Array, x: Array, approximate: str) -> None:
    (gelu.tanh_forward if approximate == "tanh" else gelu.forward)(out, x)


def _gelu_backward(out: Array, grad: Array, x: Array, approximate: str) -> None:
    (gelu.tanh_slope if approximate == "tanh" else gelu.slope)(out, x)
    out *= grad


def _silu(out: Array, x: Array) -> None:
    _sigmoid(out, x)
    out *= x


def _silu_backward(out: Array, grad: Array, x: Array) -> None:
    sigmoid = np.empty_like(x)
    _sigmoid(sigmoid, x)
    np.subtract(1, sigmoid, out=out)
    out *= x
    out += 1
    out *= sigmoid
    out *= grad


def _softplus(out: Array, x: Array, beta: float, threshold: float) -> None:
    scaled = x * beta if beta != 1 else x
    small = np.abs(scaled)
    np.negative(small, out=small)
    np.exp(small, out=small)
    # log(1 + s) of a small s: the logarithm of the rounded sum, and what its rounding left out.
    total = small + 1
    small -= total - 1
    small /= total
    np.log(total, out=out)
    out += small
    out += np.maximum(scaled, zero_row(x.dtype)[: x.size], out=total)
    if beta != 1:
        out /= beta
    large = scaled > threshold
    if large.any():
        out[...] = np.where(large, x, out)


def _softplus_backward(out: Array, grad: Array, x: Array, beta: float, threshold: float) -> None:
    scaled = x * beta if beta != 1 else x
    _sigmoid(out, scaled)
    large = scaled > threshold
    if large.any():
        out[...] = np.where(large, 1, out)
    out *= grad


FORWARD: Mapping[str, Callable[..., None]] = {
    "elu": _elu,
    "gelu": _gelu,
    "leaky_relu": _leaky_relu,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "softplus": _softplus,
    "tanh": _tanh,
}
"""By operation: ``function(out, input, *options)``."""

BACKWARD: Mapping[str, Callable[..., None]] = {
    "elu": _elu_backward,
    "gelu": _gelu_backward,
    "leaky_relu": _leaky_relu_backward,
    "sigmoid": _sigmoid_backward,
    "silu": _silu_backward,
    "softplus": _softplus_backward,
    "tanh": _tanh_backward,
}
"""By operation: ``function(out, grad, saved, *options)``, with the input or the output saved."""
