"""Subnormal numbers on each backend: kernels of float32 take them as zero, and NumPy does not.

That shows where a result jumps. Elsewhere it differs by less than the smallest normal number: rows
of gpucnn/testing/cases.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpucnn.backends import Backend

TINY = np.finfo(np.float32).tiny  # the smallest normal number
SMALL = 1e-40


@pytest.fixture
def flushes(backend_name: str) -> bool:
    """Whether the backend takes subnormal numbers of float32 as zero."""
    return backend_name != "numpy"


@pytest.mark.parametrize("value", [1e-45, SMALL, -SMALL, TINY - np.float32(1e-45)])
def test_activations_of_a_subnormal_number(backend32: Backend, flushes: bool, value: float) -> None:
    x = backend32.asarray(np.float32([value]))
    kept = np.float32(0 if flushes else value)
    relu, leaky = (
        backend32.to_numpy(y)[0] for y in (backend32.relu(x), backend32.leaky_relu(x, 0.5))
    )
    assert relu == max(kept, 0)
    assert not np.signbit(relu)
    assert leaky == (kept if value > 0 else kept * np.float32(0.5))


def test_gradients_that_are_passed_keep_subnormal_numbers(
    backend32: Backend, flushes: bool
) -> None:
    """They are moved, and only the factor of leaky ReLU is arithmetic."""
    grad = backend32.asarray(np.float32([SMALL, SMALL]))
    x = backend32.asarray(np.float32([1, -1]))
    small = np.float32(SMALL)
    passed = backend32.relu_backward(grad, backend32.relu(x))
    np.testing.assert_array_equal(backend32.to_numpy(passed), [small, 0])
    passed = backend32.leaky_relu_backward(grad, x, 0.5)
    half = 0 if flushes else small * np.float32(0.5)
    np.testing.assert_array_equal(backend32.to_numpy(passed), [small, half])


def test_relu_passes_no_subnormal_number(backend32: Backend, flushes: bool) -> None:
    x = backend32.asarray(np.float32([SMALL, -SMALL, TINY, 1]))
    output = backend32.relu(x)
    grad = backend32.relu_backward(backend32.asarray(np.float32([2, 2, 2, 2])), output)
    kept = 0 if flushes else np.float32(SMALL)
    np.testing.assert_array_equal(backend32.to_numpy(output), np.float32([kept, 0, TINY, 1]))
    passed = 0 if flushes else 2
    np.testing.assert_array_equal(backend32.to_numpy(grad), np.float32([passed, 0, 2, 2]))


def test_zero_and_a_subnormal_number_tie_in_a_maximum(backend32: Backend, flushes: bool) -> None:
    """The first of equal elements wins."""
    x = backend32.asarray(np.float32([[[[-1, 0, SMALL, -SMALL]]]]))
    output, indices = backend32.max_pool2d(x, (1, 4), return_indices=True)
    assert backend32.to_numpy(indices).ravel() == (1 if flushes else 2)
    assert abs(backend32.to_numpy(output).ravel()) < TINY


def test_the_logarithm_of_a_subnormal_probability(backend32: Backend, flushes: bool) -> None:
    """Binary cross-entropy limits logarithms to -100, and that of zero is -inf."""
    x, target = np.float32([SMALL, TINY]), np.float32([1, 1])
    losses = backend32.binary_cross_entropy(
        backend32.asarray(x), backend32.asarray(target), reduction="none"
    )
    expected = [100 if flushes else -np.log(np.float64(x[0])), -np.log(np.float64(x[1]))]
    np.testing.assert_allclose(backend32.to_numpy(losses), expected, rtol=1e-6)


def test_lp_pooling_of_numbers_whose_squares_are_subnormal(
    backend32: Backend, flushes: bool
) -> None:
    x = backend32.asarray(np.float32([[[[3e-20, 4e-20]]]]))
    output = backend32.lp_pool2d(x, 2, (1, 2))
    found = backend32.to_numpy(output).ravel()[0]
    np.testing.assert_allclose(found, 0 if flushes else 5e-20, rtol=1e-3)
    grad = backend32.lp_pool2d_backward(
        backend32.asarray(np.ones((1, 1, 1, 1), np.float32)), x, output, 2, (1, 2)
    )
    expected = [0, 0] if flushes else [0.6, 0.8]
    np.testing.assert_allclose(backend32.to_numpy(grad).ravel(), expected, rtol=1e-3)


@pytest.mark.parametrize("value", [SMALL, -SMALL, TINY / 2, 0.0])
def test_subnormal_numbers_are_finite(backend32: Backend, value: float) -> None:
    assert backend32.all_finite(backend32.asarray(np.full(300, value, np.float32)))


@pytest.mark.parametrize("scale", [1e-15, 1e-19, 1e-22, 1e-30, 1e-38, 1e-41])
def test_adam_moves_no_weight_far_for_tiny_gradients(backend32: Backend, scale: float) -> None:
    """The squares of the gradients are subnormal or zero, and eps, 1e-8, is far above them."""
    weights, moment = np.float32([1, -2, 0.5]), np.zeros(3, np.float32)
    grad = np.float32([scale, -scale, 2 * scale])
    arrays: list[Any] = [
        backend32.asarray(array.copy()) for array in (weights, grad, moment, moment)
    ]
    rates = backend32.asarray(np.float32([0.01, 0.03, 1]))
    backend32.adam_step(*arrays, rates)
    param, mean, square = (backend32.to_numpy(arrays[i]) for i in (0, 2, 3))
    # NumPy rounds means to multiples of 1e-32, so that they never become subnormal.
    np.testing.assert_allclose(mean, 0.1 * grad.astype(np.float64), rtol=1e-6, atol=1e-32)
    np.testing.assert_allclose(square, 1e-3 * grad.astype(np.float64) ** 2, rtol=1e-3, atol=TINY)
    np.testing.assert_array_equal(param, weights)


def test_float64_keeps_subnormal_numbers(backend64: Backend) -> None:
    x = np.float64([1e-310, -1e-310, 5e-324, 1])
    found = backend64.to_numpy(backend64.relu(backend64.asarray(x)))
    np.testing.assert_array_equal(found, np.maximum(x, 0))
    found = backend64.to_numpy(backend64.leaky_relu(backend64.asarray(x), negative_slope=0.5))
    np.testing.assert_array_equal(found, np.where(x > 0, x, x * 0.5))
