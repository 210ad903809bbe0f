"""Fixed filters, compared with SciPy's."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from gpucnn.backends import get_backend
from gpucnn.errors import DataError, GpucnnError, SettingError, ShapeError
from gpucnn.nn import apply_filter, filter_matrix
from gpucnn.nn.filters import FILTERS, MAX_ELEMENTS, SIZED, magnitude

signal = pytest.importorskip("scipy.signal")

SIDES = (1, 2, 3, 4, 7)
PLANES = ((1, 1), (1, 9), (7, 8), (5, 4))


def values(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


@pytest.mark.parametrize("padding", ["same", "valid", "full"])
@pytest.mark.parametrize("flip", [False, True])
def test_every_size_and_stride_agrees_with_scipy(padding: str, flip: bool) -> None:
    """Of matrices that are products of a column and a row as well, larger than the image too."""
    expected_of = signal.convolve2d if flip else signal.correlate2d
    count = 0
    for kernel, plane in itertools.product(itertools.product(SIDES, SIDES), PLANES):
        if padding == "valid" and (kernel[0] > plane[0] or kernel[1] > plane[1]):
            continue
        image = values(plane)
        product = np.outer(values(kernel[:1], 1), values(kernel[1:], 2))
        for matrix, stride in itertools.product((values(kernel, 3), product), (1, 2, (3, 1))):
            down, right = np.broadcast_to(stride, 2)
            expected = expected_of(image, matrix, padding)[::down, ::right]
            found = apply_filter(image, matrix, padding=padding, flip=flip, stride=stride)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=f"{kernel} {plane}")
            count += 1
    assert count >= 200


@pytest.mark.parametrize("padding", ["same", "valid", "full"])
@pytest.mark.parametrize("size", [2, 3])
def test_dilation_inserts_zeros_into_the_matrix(padding: str, size: int) -> None:
    image, matrix = values((9, 11)), values((size, size), 1)
    spread = np.zeros((3 * size - 2, 2 * size - 1))
    spread[::3, ::2] = matrix
    found = apply_filter(image, matrix, padding=padding, dilation=(3, 2))
    np.testing.assert_allclose(found, signal.correlate2d(image, spread, padding), atol=1e-5)


@pytest.mark.parametrize("name", FILTERS)
def test_each_channel_is_filtered_by_each_matrix(name: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 6, 7), np.uint8)
    matrix = filter_matrix(name)
    found = apply_filter(image, name)
    assert found.shape == (*matrix.shape[:-2], 3, 6, 7)
    matrices = matrix.reshape(-1, *matrix.shape[-2:])
    for each, results in zip(matrices, found.reshape(-1, 3, 6, 7), strict=True):
        for channel, result in zip(image, results, strict=True):
            expected = signal.correlate2d(channel.astype(float), each, "same")
            np.testing.assert_allclose(result, expected, atol=2e-3)


@pytest.mark.parametrize("border", ["replicate", "reflect", "circular"])
@pytest.mark.parametrize("size", [3, 4])
def test_borders_are_those_of_numpys_pad(border: str, size: int) -> None:
    image, matrix = values((2, 6, 7)), values((size, size), 1)
    before, after = (size - 1) // 2, size // 2
    mode: Any = {"replicate": "edge", "reflect": "reflect", "circular": "wrap"}[border]
    padded = np.pad(image, ((0, 0), (before, after), (before, after)), mode=mode)
    expected = apply_filter(padded, matrix, padding="valid")
    np.testing.assert_array_equal(apply_filter(image, matrix, border=border), expected)


def test_the_emulated_kernels_compute_the_same() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 9, 8), np.uint8)
    be = get_backend("emulated")
    for matrix in ("sobel", values((2, 3)), filter_matrix("gaussian-blur", 7)):
        found = apply_filter(image, matrix, stride=2, dilation=2, padding="full", backend=be)
        expected = apply_filter(image, matrix, stride=2, dilation=2, padding="full")
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_gradients_have_the_documented_signs() -> None:
    """x is positive where it becomes brighter to the right, y where it does downwards."""
    ramp = np.tile(np.arange(5.0), (5, 1))
    for name, slope in (("sobel", 8), ("prewitt", 6)):
        x, y = apply_filter(ramp, name, padding="valid")
        assert (x == slope).all()
        assert not y.any()
        x, y = apply_filter(ramp.T, name, padding="valid")
        assert (y == slope).all()
        assert not x.any()
        np.testing.assert_allclose(magnitude([3 * y, 4 * y]), 5 * y)


def test_blurs_keep_brightness_and_identity_keeps_everything() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 6), np.uint8)
    np.testing.assert_array_equal(apply_filter(image, "identity"), image)
    for name, size in itertools.product(SIZED, (1, 2, 5, 9, 16)):
        matrix = filter_matrix(name, size)
        assert matrix.shape == (size, size)
        assert matrix.sum() == pytest.approx(1)
        assert (matrix == matrix[::-1, ::-1]).all()
    wide, narrow = (filter_matrix("gaussian-blur", 5, sigma) for sigma in (100, 0.1))
    np.testing.assert_allclose(wide, 1 / 25, atol=1e-4)
    assert narrow[2, 2] == pytest.approx(1)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1, 2], [3]], "rows of numbers, all of one length"),
        ([["a"]], "rows of numbers"),
        ([], r"the shape \(kh, kw\)"),
        ([[]], r"the shape \(kh, kw\)"),
        ([1, 2], r"the shape \(kh, kw\)"),
        ([[1, np.nan]], "finite"),
        ([[1e39]], "finite"),
        (np.ones((1, MAX_ELEMENTS + 1)), "16,385 elements"),
        ("sobl", "did you mean 'sobel'"),
    ],
)
def test_wrong_matrices_are_refused(matrix: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        apply_filter(np.ones((4, 4)), matrix)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"image": np.ones((4, 4, 3, 1))}, DataError, "shape"),
        ({"image": np.ones((0, 4))}, DataError, "shape"),
        ({"image": np.array([["a"]])}, DataError, "numbers"),
        ({"padding": "valid", "image": np.ones((2, 9))}, ShapeError, "3 x 3 pixels and the image"),
        ({"padding": "valid", "dilation": 2}, ShapeError, "covers 5 x 5 pixels"),
        ({"padding": "sam"}, SettingError, "did you mean 'same'"),
        ({"border": "zero"}, SettingError, "did you mean 'zeros'"),
        ({"stride": 0}, SettingError, "stride must be at least 1"),
        ({"dilation": 0}, SettingError, "dilation must be at least 1"),
        ({"flip": "yes"}, SettingError, "flip must be True or False"),
    ],
)
def test_wrong_arguments_are_refused(
    options: dict[str, Any], kind: type[GpucnnError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        apply_filter(**{"image": np.ones((4, 4)), "matrix": "laplacian", **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be an integer >= 1"),
        ({"size": 129}, "size must be at most 128"),
        ({"sigma": 0}, "sigma must be greater than 0"),
        ({"sigma": -1}, "sigma must be a finite number"),
        ({"size": 4, "sigma": 1e-9}, "too small"),
    ],
)
def test_wrong_sizes_of_blurs_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        filter_matrix("gaussian-blur", **options)
