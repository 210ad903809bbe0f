"""Output sizes, compared with windows and pixels counted one by one.

Relationship numbers and letters are those of V. Dumoulin and F. Visin, "A guide to convolution
arithmetic for deep learning" (arXiv:1603.07285): i is the input size, k the kernel size, s the
stride, p the padding, o the output size, d the dilation, and a the remaining pixels. Loops are over
all small integers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import product

import pytest

from gpucnn.arithmetic import (
    adaptive_windows,
    conv_output_size,
    conv_transpose_output_size,
    effective_kernel,
    full_padding,
    nearest_copies,
    pool_output_size,
    same_padding,
    valid_padding,
)
from gpucnn.backends.contract.window import Window, conv_window, pool_window

SIZES, KERNELS, STRIDES, PADDINGS, DILATIONS = (
    range(1, 10), range(1, 6), range(1, 5), range(4), range(1, 4),
)  # fmt: skip


def slide(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """Count the positions at which all kernel elements lie inside the padded input."""
    padded = set(range(-before, size + after))
    starts = range(-before, size + after, stride)
    return sum(padded.issuperset(start + dilation * k for k in range(kernel)) for start in starts)


def fitting(dilations: range = range(1, 2)) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield all small (i, k, s, p, d) for which at least one window fits."""
    for i, k, s, p, d in product(SIZES, KERNELS, STRIDES, PADDINGS, dilations):
        if slide(i, k, 1, p, p, d):
            yield i, k, s, p, d


def test_relationship_1_no_padding_unit_strides() -> None:
    for i, k in product(SIZES, KERNELS):
        if k <= i:
            assert conv_output_size(i, k) == slide(i, k, 1, 0, 0, 1) == (i - k) + 1


def test_relationship_2_padding_unit_strides() -> None:
    for i, k, _, p, _ in fitting():
        assert conv_output_size(i, k, 1, p) == slide(i, k, 1, p, p, 1) == (i - k) + 2 * p + 1


def test_relationship_3_same_padding() -> None:
    for i, k, d in product(SIZES, KERNELS, DILATIONS):
        before, after = same_padding(k, d)
        assert slide(i, k, 1, before, after, d) == i
        assert conv_output_size(i, k, 1, (before, after), d) == i
        # If the total is odd, the extra pixel comes after the input.
        assert after - before == (effective_kernel(k, d) + 1) % 2
        if effective_kernel(k, d) % 2:
            assert before == after == effective_kernel(k, d) // 2


def test_relationship_4_full_padding() -> None:
    for i, k, d in product(SIZES, KERNELS, DILATIONS):
        # One output for every window that overlaps the input.
        starts = {start for start in range(-20, 20) if overlaps(i, k, d, start)}
        first, last = min(starts), max(starts)
        assert full_padding(k, d) == (-first, last + d * (k - 1) - (i - 1))
        if d == 1:
            assert conv_output_size(i, k, 1, full_padding(k)) == len(starts) == i + (k - 1)


def overlaps(size: int, kernel: int, dilation: int, start: int) -> bool:
    return any(0 <= start + dilation * k < size for k in range(kernel))


def test_relationship_5_no_padding_strides() -> None:
    for i, k, s in product(SIZES, KERNELS, STRIDES):
        if k <= i:
            assert conv_output_size(i, k, s) == slide(i, k, s, 0, 0, 1) == (i - k) // s + 1
            assert conv_output_size(i, k, s, valid_padding()) == conv_output_size(i, k, s)


def test_relationship_6_padding_strides() -> None:
    for i, k, s, p, _ in fitting():
        wanted = slide(i, k, s, p, p, 1)
        assert conv_output_size(i, k, s, p) == wanted == (i + 2 * p - k) // s + 1


def test_relationship_7_pooling() -> None:
    for i, k, s in product(SIZES, KERNELS, STRIDES):
        if k <= i:
            assert pool_output_size(i, k, s) == slide(i, k, s, 0, 0, 1) == (i - k) // s + 1
    for i, k in product(SIZES, KERNELS):
        if k <= i:
            assert pool_output_size(i, k) == slide(i, k, k, 0, 0, 1) == i // k


def transposed_size(
    size: int, kernel: int, stride: int, padding: int, extra: int, dilation: int
) -> int:
    """Return the output size of a transposed convolution from the pixels that it adds to."""
    reached = {n * stride + dilation * k for n in range(size) for k in range(kernel)}
    return max(reached) + 1 + extra - 2 * padding


def test_relationship_8_transposed_no_padding_unit_strides() -> None:
    for i, k in product(SIZES, KERNELS):
        assert conv_transpose_output_size(i, k) == transposed_size(i, k, 1, 0, 0, 1) == i + (k - 1)


def test_relationship_9_transposed_padding_unit_strides() -> None:
    for i, k, p in product(SIZES, KERNELS, PADDINGS):
        if i + (k - 1) > 2 * p:
            wanted = transposed_size(i, k, 1, p, 0, 1)
            assert conv_transpose_output_size(i, k, 1, p) == wanted == i + (k - 1) - 2 * p


def test_relationship_10_transposed_same_padding() -> None:
    for i, n in product(SIZES, range(3)):
        k = 2 * n + 1
        assert conv_transpose_output_size(i, k, 1, same_padding(k)) == i


def test_relationship_11_transposed_full_padding() -> None:
    for i, k in product(SIZES, KERNELS):
        if i - (k - 1) > 0:
            assert conv_transpose_output_size(i, k, 1, full_padding(k)) == i - (k - 1)


def test_relationship_12_transposed_strides_without_padding() -> None:
    for i, k, s in product(SIZES, KERNELS, STRIDES):
        assert (
            conv_transpose_output_size(i, k, s)
            == transposed_size(i, k, s, 0, 0, 1)
            == s * (i - 1) + k
        )
    for i, k, s in product(SIZES, KERNELS, STRIDES):
        if i >= k and (i - k) % s == 0:  # the convolution uses every pixel
            assert conv_transpose_output_size(conv_output_size(i, k, s), k, s) == i


def test_relationship_13_transposed_strides_and_padding() -> None:
    for i, k, s, p, _ in fitting():
        if (i + 2 * p - k) % s == 0:
            assert conv_transpose_output_size(conv_output_size(i, k, s, p), k, s, p) == i


def test_relationship_14_transposed_with_output_padding() -> None:
    """An output padding of a = (i + 2p - k) mod s restores every input size."""
    for i, k, s, p, d in fitting(DILATIONS):
        o = conv_output_size(i, k, s, p, d)
        a = (i + 2 * p - effective_kernel(k, d)) % s
        assert (
            conv_transpose_output_size(o, k, s, p, a, d) == i == transposed_size(o, k, s, p, a, d)
        )


def test_relationship_15_dilation() -> None:
    for k, d in product(KERNELS, DILATIONS):
        assert effective_kernel(k, d) == d * (k - 1) + 1 == k + (k - 1) * (d - 1)
    for i, k, s, p, d in fitting(DILATIONS):
        wanted = slide(i, k, s, p, p, d)
        formula = (i + 2 * p - k - (k - 1) * (d - 1)) // s + 1
        assert (
            conv_output_size(i, k, s, p, d) == pool_output_size(i, k, s, p, d) == wanted == formula
        )


def test_padding_of_two_sizes() -> None:
    for i, k, s, d, before, after in product(SIZES, KERNELS, (1, 3), (1, 2), (0, 2), (0, 3)):
        if wanted := slide(i, k, s, before, after, d):
            assert conv_output_size(i, k, s, (before, after), d) == wanted
            unused = (i + before + after - effective_kernel(k, d)) % s
            if unused < i:
                restored = conv_transpose_output_size(wanted, k, s, (before, after), 0, d)
                assert restored == i - unused


def slide_with_ceil(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Count windows, including an incomplete one if the previous window left padded input over.

    It must start inside the input or the padding before it. The first window has a virtual
    predecessor, so that an input smaller than the window has one if the stride would reach it.
    """
    span, start, count = dilation * (kernel - 1) + 1, -padding, 0
    while start < size:
        complete = start + span <= size + padding
        incomplete = start - stride + span < size + padding
        if not (complete or incomplete):
            break
        start, count = start + stride, count + 1
    return count


def test_ceil_mode() -> None:
    incomplete = 0
    for i, k, s, p, d in product(SIZES, KERNELS, STRIDES, PADDINGS, DILATIONS):
        if 2 * p > k:
            continue
        wanted = slide_with_ceil(i, k, s, p, d)
        if wanted:
            assert pool_output_size(i, k, s, p, d, True) == wanted, (i, k, s, p, d)
            incomplete += wanted > slide(i, k, s, p, p, d)
        else:
            with pytest.raises(ValueError, match="does not fit"):
                pool_output_size(i, k, s, p, d, True)
    assert incomplete > 100


def test_no_window_fits() -> None:
    for i, k, p, d in product(SIZES, KERNELS, PADDINGS, DILATIONS):
        if not slide(i, k, 1, p, p, d):
            for size in (conv_output_size, pool_output_size):
                with pytest.raises(ValueError, match="does not fit a padded input"):
                    size(i, k, 1, p, d)


def test_empty_output_of_a_transposed_convolution() -> None:
    with pytest.raises(ValueError, match="leaves no output"):
        conv_transpose_output_size(2, 3, 1, 2)


BAD: list[tuple[str, Callable[[], object]]] = [
    ("kernel_size must be at least 1, got 0", lambda: conv_output_size(5, 0)),
    ("stride must be at least 1, got 0", lambda: conv_output_size(5, 3, 0)),
    ("padding must be at least 0, got -1", lambda: conv_output_size(5, 3, 1, -1)),
    ("padding must be at least 0, got -2", lambda: conv_output_size(5, 3, 1, (1, -2))),
    ("dilation must be at least 1, got 0", lambda: conv_output_size(5, 3, 1, 0, 0)),
    ("input size must be at least 1, got 0", lambda: conv_output_size(0, 1, 1, 3)),
    ("kernel_size must be at least 1, got 0", lambda: pool_output_size(5, 0, 1)),
    ("stride must be at least 1, got 0", lambda: pool_output_size(5, 3, 0)),
    ("input size must be at least 1, got 0", lambda: pool_output_size(0, 1)),
    ("stride must be at least 1, got 0", lambda: conv_transpose_output_size(5, 3, 0)),
    ("input size must be at least 1, got 0", lambda: conv_transpose_output_size(0, 3)),
    ("output_padding must be at least 0", lambda: conv_transpose_output_size(5, 3, 2, 0, -1)),
    ("output_padding 2 must be less", lambda: conv_transpose_output_size(5, 3, 2, 0, 2)),
    ("dilation must be at least 1, got 0", lambda: effective_kernel(3, 0)),
    ("output size must be at least 1, got 0", lambda: adaptive_windows(3, 0)),
    ("input size must be at least 1, got 0", lambda: nearest_copies(0, 3)),
]


@pytest.mark.parametrize(("message", "call"), BAD)
def test_invalid_arguments(message: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_windows_of_adaptive_pooling() -> None:
    """Pixel h covers h to h + 1, output p the part from p i / o to (p + 1) i / o of the axis."""
    for i, o in product(SIZES, SIZES):
        windows = adaptive_windows(i, o)
        assert len(windows) == o
        for p, window in enumerate(windows):
            # Both in units of 1 / o.
            covered = [h for h in range(i) if h * o < (p + 1) * i and (h + 1) * o > p * i]
            assert list(range(*window)) == covered
        if i % o == 0:  # relationship 7
            k = i // o
            assert pool_output_size(i, k) == o
            assert windows == [(n * k, n * k + k) for n in range(o)]


def test_copies_of_upsampling() -> None:
    for i, o in product(SIZES, SIZES):
        pixels = [p * i // o for p in range(o)]
        assert [[*range(*copies)] for copies in nearest_copies(i, o)] == [
            [p for p, pixel in enumerate(pixels) if pixel == h] for h in range(i)
        ]
        if o % i == 0:  # relationship 13, with a kernel as large as the stride
            assert conv_transpose_output_size(i, o // i, o // i) == o


# --- windows over planes ------------------------------------------------------------------------


def test_starts_of_windows_and_elements_inside() -> None:
    """An even "same" kernel has less padding before the input than after it."""
    for kernel, dilation, size in product(KERNELS, DILATIONS, (5, 8)):
        window = conv_window((size, 9), (kernel, 1), 1, "same", (dilation, 1))
        first = -((kernel - 1) * dilation // 2)
        starts = [first + n for n in range(size)]
        assert list(window.starts(0)) == starts
        assert list(window.starts(1)) == list(range(9))
        assert window.elements_inside(0) == [
            [start + dilation * k in range(size) for k in range(kernel)] for start in starts
        ]
    window = conv_window((7, 9), (3, 2), (2, 3), (1, 2), (1, 2))
    assert (list(window.starts(0)), list(window.starts(1))) == ([-1, 1, 3, 5], [-2, 1, 4, 7])


def test_whether_every_window_overlaps_the_plane() -> None:
    sizes = range(1, 6)
    for kernel, stride, pad, dilation in product(range(1, 4), range(1, 4), range(3), range(1, 5)):
        for size, output in product(sizes, sizes):
            padding = ((pad, pad), (0, 0))
            window = Window(
                (kernel, 1), (stride, 1), padding, (dilation, 1), (size, 1), (output, 1)
            )
            overlaps = all(any(inside) for inside in window.elements_inside(0))
            assert window.always_overlaps(0) == overlaps, window


def test_checking_a_large_plane_takes_no_time() -> None:
    began = time.perf_counter()
    pool_window((10**9, 10**9), 3, 1, 1)
    assert time.perf_counter() - began < 0.1
