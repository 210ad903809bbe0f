"""How the CUDA backend describes windows to its kernels: exactly in 32 bits, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from available import backend_or_skip

from gpucnn.backends import Backend
from gpucnn.backends.contract.window import conv_window, pool_window
from gpucnn.backends.cuda.grids import conv2d_struct, stride_classes, window_struct
from gpucnn.errors import ShapeError

INT_MAX = 2**31 - 1


def test_a_convolution_as_a_struct() -> None:
    window = conv_window((9, 11), (3, 2), (2, 1), (1, 0), (1, 3))
    wanted = (
        "H=9, W=11, R=3, S=2, P=5, Q=8, pad_h=1, pad_w=0, stride_h=2, stride_w=1, dilation_h=1, "
        "dilation_w=3"
    )
    assert window.output == (5, 8)
    assert repr(window_struct(window)) == f"Window({wanted})"
    conv = conv2d_struct(5, 4, 6, 2, window)
    assert repr(conv) == f"Conv2d({wanted}, N=5, C=4, K=6, groups=2)"
    assert conv.argument.nbytes == 16 * 4


@pytest.mark.parametrize(
    ("plane", "options"),
    [
        ((2**16, 2**15), {}),
        ((8, 8), {"stride": INT_MAX + 1}),
        ((8, 8), {"padding": 2**30, "stride": 2**30}),
        ((8, 8), {"padding": (0, 2**30), "stride": 2**30}),
    ],
    ids=["plane", "stride", "padding", "padding-across"],
)
def test_a_window_beyond_32_bits_is_refused(
    plane: tuple[int, int], options: dict[str, Any]
) -> None:
    with pytest.raises(ShapeError, match=str(INT_MAX)):
        window_struct(conv_window(plane, (2, 2), **options))


def test_a_kernel_beyond_32_bits_is_refused() -> None:
    window = pool_window((2, 2), 2**16, padding=2**15)
    with pytest.raises(ShapeError, match=str(INT_MAX)):
        window_struct(window)


def test_a_filter_beyond_32_bits_is_refused() -> None:
    window = conv_window((2**10, 2**10), (2**10, 2**10))
    assert conv2d_struct(1, 2**12, 1, 4, window)["C"] == 2**12
    with pytest.raises(ShapeError, match="group"):
        conv2d_struct(1, 2**12, 1, 1, window)


def test_the_longest_stride_has_one_output(backend: Backend) -> None:
    grad = backend.asarray(np.ones((1, 1, 1, 1), backend.dtype))
    result = backend.avg_pool2d_backward(grad, (1, 1, 8, 8), 2, stride=INT_MAX)
    expected = np.zeros((1, 1, 8, 8))
    expected[..., :2, :2] = 0.25
    np.testing.assert_array_equal(backend.to_numpy(result), expected)


def test_an_array_that_stays_as_it_is_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpucnn import emulator

    backend = backend_or_skip("emulated")
    floats, labels = backend.zeros((2, 3)), backend.zeros((3,), np.int64)
    bytes_ = backend.zeros((3,), np.uint8)
    with monkeypatch.context() as patch:
        patch.delattr(emulator, "asnumpy")
        assert backend.asarray(floats) is floats
        assert backend.asarray(labels) is labels
        assert backend.asarray(bytes_, np.uint8) is bytes_
    assert backend.asarray(bytes_).dtype == np.int64
    assert backend.asarray(floats.T).flags.c_contiguous


def test_a_stride_divides_a_plane_into_classes() -> None:
    assert stride_classes(conv_window((9, 11), (3, 3))) == (1, 99)
    assert stride_classes(conv_window((9, 11), (3, 3), (2, 4))) == (8, 5 * 3)
    assert stride_classes(conv_window((9, 11), (3, 3), (100, 1))) == (9, 11)


@pytest.mark.parametrize("stride", [(1, 1), (2, 3), (4, 2), (9, 5)], ids=str)
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3), (1, 4)], ids=str)
def test_stride_classes_leave_out_only_kernel_elements_that_add_nothing(
    stride: tuple[int, int], dilation: tuple[int, int]
) -> None:
    """Some of these classes meet no kernel element at all: the gradient there is zero."""
    backend = backend_or_skip("emulated", "float64")
    rng = np.random.default_rng(0)
    weight = backend.asarray(rng.normal(size=(4, 3, 3, 2)))
    window = conv_window((9, 13), (3, 2), stride, (2, 1), dilation)
    grad = backend.asarray(rng.normal(size=(2, 4, *window.output)))
    image = backend.zeros((2, 3, 9, 13))
    results = []
    for variant in ("naive", "small", "large", {"conv2d_backward_input": "64x64"}):
        backend.variant = variant  # type: ignore[attr-defined]
        found, *_ = backend.conv2d_backward(grad, image, weight, stride, (2, 1), dilation)
        results.append(backend.to_numpy(found))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
