"""Gradients compared with differences of the forward, for every differentiable case.

On NumPy in float64; other backends have the same gradients, as test_ops.py shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpucnn.backends import get_backend
from gpucnn.testing.case import Case, backward, backward_arguments, forward, to_backend
from gpucnn.testing.cases import CASES
from gpucnn.testing.derivatives import directional_derivative
from gpucnn.testing.values import normal

SMOOTH = [case for case in CASES if case.has_backward and case.differentiable]
BOUND = 1e-6
STEP = 2.0**-8


def test_the_extrapolation_is_exact_for_polynomials_of_degree_six() -> None:
    for power in range(1, 7):
        slope = directional_derivative(lambda t, k=power: (1 + t) ** k, 0.5)
        assert slope == pytest.approx(power, rel=1e-13)


def test_every_backward_has_a_differentiable_case() -> None:
    assert {case.op for case in CASES if case.has_backward} == {case.op for case in SMOOTH}


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_gradients(case: Case) -> None:
    backend = get_backend("numpy", "float64")
    rng = np.random.default_rng(7)
    arrays = to_backend(backend, case.arrays())
    results = forward(backend, case, arrays)
    grad = case.output_grad(results)
    weights = grad if isinstance(grad, float) else grad.astype(np.float64)
    given = grad if isinstance(grad, float) else backend.asarray(weights)
    grads = backward(backend, case, backward_arguments(case, arrays, results, given))
    for name in grads.keys() & arrays.keys():
        host = backend.to_numpy(arrays[name])
        direction = normal(rng, *host.shape).astype(np.float64)

        def moved(t: float, name: str = name, path: Any = (host, direction)) -> float:
            shifted = {**arrays, name: backend.asarray(path[0] + t * path[1])}
            output = backend.to_numpy(forward(backend, case, shifted)["output"])
            return float(np.sum(output * weights))

        numeric = directional_derivative(moved, STEP)
        analytic = inner(backend.to_numpy(grads[name]), direction)
        assert analytic == pytest.approx(numeric, rel=BOUND, abs=0), name


def inner(first: NDArray[Any], second: NDArray[Any]) -> float:
    return float(np.sum(first * second))
