"""Losses and softmax of large scores and of near certainty: nothing cancels and nothing overflows.

Every sample is computed alone, so that its result must be correct to its own size, however small
that is, and not only to that of the largest loss in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpucnn.backends import Backend
from gpucnn.testing import naive
from gpucnn.testing.comparison import assert_close

Row = tuple[float, ...]

SIZES = (20.0, 1e3, 1e4, 1e8)
ROWS: list[Row] = [
    (20, 11), (1e4, 1e4 - 9), (-1e4, -1e4 - 9), (1e8, 1e8, 1e8), (1e8, 1e8 - 8), (1e3, 1e3 - 1),
    (20, -20), (1e3, 991, 990, 980), (1e4, -1e4, 1e4 - 12, 0), (-1e8, 1e8), (1e8, 1e8 - 16, 0, 20),
    (-20,), (0, 1e-3), (0, 16, 8, 15),
]  # fmt: skip
"""Numbers that float32 represents exactly."""
WIDE_ROWS: list[Row] = [(*row, *(min(row) - 40.0,) * 70) for row in ROWS[:6]]
"""Rows of so many classes that a block of threads owns each."""


def rows() -> Iterator[Row]:
    yield from ROWS
    yield from WIDE_ROWS
    rng = np.random.default_rng(5)
    for size in SIZES:  # near each other, and far apart
        near = np.float32(size) + rng.integers(-12, 12, (6, 5)).astype(np.float32)
        far = np.float32(size) * rng.uniform(-1, 1, (4, 3)).astype(np.float32)
        for row in (*near, *far):
            yield tuple(map(float, row))


def same(
    op: str, backend: Backend, arguments: dict[str, NDArray[Any]], terms: int, **options: Any
) -> None:
    """Compare an operation of float32 numbers with the naive loops in float64."""
    given = {
        name: backend.asarray(array, backend.dtype if array.dtype.kind == "f" else array.dtype)
        for name, array in arguments.items()
    }
    found = backend.to_numpy(getattr(backend, op)(**given, **options))
    exact = {name: backend.to_numpy(array).astype(float) for name, array in given.items()}
    exact |= {name: array for name, array in arguments.items() if array.dtype.kind != "f"}
    wanted = np.asarray(getattr(naive, op)(**exact, **options))
    assert_close(found, wanted, terms=terms, what=f"{backend!r} {op} of {arguments}")


def test_cross_entropy_by_hand(backend: Backend) -> None:
    """The values of the report that these tests follow from."""
    for row, wanted in [
        ((1e4, 1e4 - 9), np.log1p(np.exp(-9.0))),
        ((1e8, 1e8, 1e8), np.log(3.0)),
        ((20, 11), np.log1p(np.exp(-9.0))),
    ]:
        scores, target = backend.asarray([row], backend.dtype), backend.asarray([0])
        loss = backend.to_numpy(backend.cross_entropy(scores, target))
        assert_close(loss, np.asarray(wanted), terms=len(row), what=f"{row}")


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_cross_entropy(reduction: str, backend: Backend) -> None:
    for row in rows():
        for target in range(min(len(row), 4)):
            given = {"input": np.array([row], float), "target": np.array([target])}
            for op in ("cross_entropy", "cross_entropy_backward"):
                same(op, backend, given, len(row), reduction=reduction)


def test_softmax(backend: Backend) -> None:
    for row in rows():
        same("softmax", backend, {"input": np.array([row], float)}, len(row))


def test_softmax_backward(backend: Backend) -> None:
    """Of probabilities near 0 and 1 that the backend's dtype represents."""
    rng = np.random.default_rng(6)
    for row in rows():
        output = naive.softmax(np.array([row], float)).astype(np.float32)
        for grad in (np.eye(1, len(row)), rng.normal(size=output.shape).astype(np.float32)):
            same("softmax_backward", backend, {"grad": grad, "output": output}, len(row))


@pytest.mark.parametrize("size", SIZES)
def test_binary_cross_entropy_with_logits(size: float, backend: Backend) -> None:
    op = "binary_cross_entropy_with_logits"
    for score in (size, -size, size / 7, -size / 7):
        for target in np.float32([0, 1, 0.5, 0.9999, 1e-4, 0.25]):
            given = {"input": np.float32([score]), "target": np.array([target])}
            same(op, backend, given, 1)
            same(f"{op}_backward", backend, given, 1)


@pytest.mark.parametrize("op", ["mse_loss", "half_squared_error"])
@pytest.mark.parametrize("size", SIZES)
def test_squared_errors(size: float, op: str, backend: Backend) -> None:
    near = np.nextafter(np.float32(size), np.float32(0))
    for score, target in ((size, -size), (size, near), (size, size), (-size, 0.0), (size, 0.25)):
        given = {"input": np.float32([score]), "target": np.float32([target])}
        same(op, backend, given, 1)
        same(f"{op}_backward", backend, given, 1)


EDGES = (1e-30, 1e-4, 0.5, 0.9973, 1 - 2.0**-24)


def test_binary_cross_entropy_of_probabilities_near_0_and_1(backend: Backend) -> None:
    for probability in EDGES:
        for target in np.float32([0, 1, 0.5, 0.9999]):
            given = {"input": np.float32([probability]), "target": np.array([target])}
            same("binary_cross_entropy", backend, given, 1)
            same("binary_cross_entropy_backward", backend, given, 1)


@pytest.mark.parametrize("op", ["sigmoid", "tanh"])
def test_slopes_of_saturated_activations(op: str, backend: Backend) -> None:
    derivatives: dict[str, Callable[[float], list[float]]] = {
        "sigmoid": lambda y: [y, 1 - y],
        "tanh": lambda y: [y, -y],
    }
    for edge in EDGES:
        for y in derivatives[op](edge):
            given = {"grad": np.float32([0.75]), "output": np.float32([y])}
            same(f"{op}_backward", backend, given, 1)
