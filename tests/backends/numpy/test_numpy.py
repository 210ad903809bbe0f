"""Code paths of the NumPy backend that small inputs do not reach."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES
from rows import Case, backward, forward, reference, saved_arguments, to_backend
from tolerance import assert_close

from gpucnn.backends import Backend, get_backend
from gpucnn.backends.numpy import im2col
from gpucnn.errors import DataError

CONVOLUTIONS = [case for case in CASES if case.op in ("conv2d", "conv_transpose2d")]


@pytest.mark.parametrize("channels", [0, 10**9], ids=["gradient by convolution", "by addition"])
@pytest.mark.parametrize("row_columns", [0, 10**9], ids=["product per row", "product of all rows"])
@pytest.mark.parametrize("column_bytes", [0, 500, 10**9])
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution_buffers(
    monkeypatch: pytest.MonkeyPatch, case: Case, column_bytes: int, row_columns: int, channels: int
) -> None:
    monkeypatch.setattr(im2col, "COLUMN_BYTES", column_bytes)
    monkeypatch.setattr(im2col, "MIN_ROW_COLUMNS", row_columns)
    monkeypatch.setattr(im2col, "MIN_GRADIENT_CHANNELS", channels)
    backend = get_backend("numpy")
    results = forward(backend, case, to_backend(backend, case.arrays()))
    if case.has_backward:
        results |= backward(backend, case, saved_arguments(backend, case))
    wanted = reference(case)
    for name, reference_value in (wanted.results | wanted.grads).items():
        assert_close(results[name], reference_value, length=case.length, what=name)


@pytest.fixture(params=["float32", "float64"])
def numpy_backend(request: pytest.FixtureRequest) -> Backend:
    return get_backend("numpy", request.param)


@pytest.mark.parametrize("size", [1, 8191, 8192, 8193, 20000])
def test_relu_of_every_length(numpy_backend: Backend, size: int) -> None:
    x = numpy_backend.asarray(np.random.default_rng(size).normal(size=size))
    x[-1] = np.nan
    np.testing.assert_array_equal(numpy_backend.relu(x), np.where(x < 0, 0, x))


def test_relu_of_any_strides(numpy_backend: Backend) -> None:
    whole = numpy_backend.asarray(np.random.default_rng(0).normal(size=(4, 6, 50, 60)))
    repeated, number = np.broadcast_to(whole[:, :1], whole.shape), np.asarray(whole[0, 0, 0, 0])
    for x in (whole[::-1, :, 1:, ::2], whole.transpose(2, 0, 3, 1), whole.T, repeated, number):
        np.testing.assert_array_equal(numpy_backend.relu(x), np.where(x < 0, 0, x))


def test_windows_that_share_a_greatest_element_add_their_gradients(numpy_backend: Backend) -> None:
    x = numpy_backend.zeros((2, 3, 5, 5))
    x[:, :, 2, 2] = 1
    output, indices = numpy_backend.max_pool2d(x, 3, stride=1, return_indices=True)
    grad = numpy_backend.asarray(np.random.default_rng(0).normal(size=output.shape))
    grads = numpy_backend.max_pool2d_backward(grad, indices, x.shape, 3, stride=1)
    np.testing.assert_allclose(grads[:, :, 2, 2], grad.sum((2, 3)), rtol=1e-5)
    assert np.count_nonzero(grads) == 6


@pytest.mark.parametrize("label", [-1, -(2**63), 4, 2**63 - 1])
def test_a_label_outside_the_classes_is_named(numpy_backend: Backend, label: int) -> None:
    target = numpy_backend.asarray([0, 3, label, -1])
    with pytest.raises(DataError, match=rf"target\[2\] is {label}, outside the 4 classes"):
        numpy_backend.cross_entropy(numpy_backend.zeros((4, 4)), target)
