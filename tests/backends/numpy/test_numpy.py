"""Code paths of the NumPy backend that small inputs do not reach."""

from __future__ import annotations

import numpy as np
import pytest

from gpucnn.backends import Backend, get_backend
from gpucnn.backends.numpy import im2col
from gpucnn.errors import DataError
from gpucnn.testing import naive
from gpucnn.testing.case import (
    Case,
    assert_results,
    backward,
    forward,
    reference,
    saved_arguments,
    to_backend,
)
from gpucnn.testing.cases import CASES

CONVOLUTIONS = [case for case in CASES if case.op in ("conv2d", "conv_transpose2d")]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution_buffers(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    """Columns in one or many parts, a product per row or for all, both ways of the input gradient.

    Every pair of values occurs.
    """
    backend, large = get_backend("numpy"), 10**9
    wanted = reference(case)
    for column_bytes, row_columns, channels in [
        (0, 0, 0), (0, large, large), (500, 0, large), (500, large, 0), (large, 0, 0),
        (large, large, large),
    ]:  # fmt: skip
        monkeypatch.setattr(im2col, "COLUMN_BYTES", column_bytes)
        monkeypatch.setattr(im2col, "MIN_ROW_COLUMNS", row_columns)
        monkeypatch.setattr(im2col, "MIN_GRADIENT_CHANNELS", channels)
        monkeypatch.setattr(im2col, "MIN_EQUAL_CHANNELS", channels)
        assert_results(
            backend,
            case,
            forward(backend, case, to_backend(backend, case.arrays())),
            wanted.results,
        )
        if case.has_backward:
            grads = backward(backend, case, saved_arguments(backend, case))
            assert_results(backend, case, grads, wanted.grads)


@pytest.fixture(params=["float32", "float64"])
def numpy_backend(request: pytest.FixtureRequest) -> Backend:
    return get_backend("numpy", request.param)


@pytest.mark.parametrize("size", [1, 8191, 8192, 8193, 20000])
def test_relu_of_every_length(numpy_backend: Backend, size: int) -> None:
    x = numpy_backend.asarray(np.random.default_rng(size).normal(size=size))
    x[-1] = np.nan
    np.testing.assert_array_equal(numpy_backend.relu(x), np.where(x < 0, 0, x))


def test_relu_of_any_strides(numpy_backend: Backend) -> None:
    maps = numpy_backend.asarray(np.random.default_rng(0).normal(size=(4, 6, 50, 60)))
    repeated, number = np.broadcast_to(maps[:, :1], maps.shape), np.asarray(maps[0, 0, 0, 0])
    for x in (maps[::-1, :, 1:, ::2], maps.transpose(2, 0, 3, 1), maps.T, repeated, number):
        np.testing.assert_array_equal(numpy_backend.relu(x), np.where(x < 0, 0, x))


def test_gradients_of_a_shared_maximum_are_added(numpy_backend: Backend) -> None:
    x = numpy_backend.zeros((2, 3, 5, 5))
    x[:, :, 2, 2] = 1
    output, indices = numpy_backend.max_pool2d(x, 3, stride=1, return_indices=True)
    grad = numpy_backend.asarray(np.random.default_rng(0).normal(size=output.shape))
    grads = numpy_backend.max_pool2d_backward(grad, indices, x.shape, 3, stride=1)
    np.testing.assert_allclose(grads[:, :, 2, 2], grad.sum((2, 3)), rtol=1e-5)
    assert np.count_nonzero(grads) == 6


def test_indices_of_windows_that_are_wider_than_the_plane(numpy_backend: Backend) -> None:
    """Flat indices of kernel elements outside the plane are those of other rows."""
    x = np.random.default_rng(0).permutation(48).reshape(2, 3, 4, 2).astype(numpy_backend.dtype)
    options = {"kernel_size": (2, 5), "stride": 1, "padding": (0, 2), "return_indices": True}
    output, indices = numpy_backend.max_pool2d(x, **options)
    wanted, places = naive.max_pool2d(x, **options)
    np.testing.assert_array_equal(output, wanted)
    np.testing.assert_array_equal(indices, places)


@pytest.mark.parametrize("label", [-1, -(2**63), 4, 2**63 - 1])
def test_a_label_outside_the_classes_is_named(numpy_backend: Backend, label: int) -> None:
    target = numpy_backend.asarray([0, 3, label, -1])
    with pytest.raises(DataError, match=rf"target\[2\] is {label}, outside the 4 classes"):
        numpy_backend.cross_entropy(numpy_backend.zeros((4, 4)), target)


def test_states_of_optimisers_do_not_become_subnormal(numpy_backend: Backend) -> None:
    """Processors compute slowly with subnormal numbers, towards which unused states decay."""
    be = numpy_backend
    start = 1000 * np.finfo(be.dtype).tiny
    param, grad, squares = (be.zeros((4,)) for _ in range(3))
    velocity, average = (be.asarray(np.full(4, start, be.dtype)) for _ in range(2))
    for _ in range(150):
        be.sgd_step(param, grad, velocity, be.asarray([0.1]), momentum=0.9)
        be.adam_step(param, grad, average, squares, be.asarray([0.1, 1.0, 1.0]))
    assert not velocity.any()
    assert not average.any()
