"""Output sizes and receptive fields, compared with windows and pixels counted one by one.

Relationship numbers and letters are those of V. Dumoulin and F. Visin, "A guide to convolution
arithmetic for deep learning" (arXiv:1603.07285): i is the input size, k the kernel size, s the
stride, p the padding, o the output size, d the dilation, and a the remaining pixels. Loops are over
all small integers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest

from gpucnn.arithmetic import (
    ReceptiveField,
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


# --- receptive fields ---------------------------------------------------------------------------
# Each output pixel of a stack is represented by the set of input pixels that it depends on. The
# plane is far larger than any field, and only pixels far from its edges are compared.

Pixels = dict[int, set[int]]
PLANE = 400


def trace_conv(pixels: Pixels, kernel: int, stride: int, padding: int, dilation: int) -> Pixels:
    """Return the pixels after a convolution, without those whose window leaves the plane."""
    traced = {}
    for n in range(-PLANE, PLANE):
        inputs = [n * stride - padding + dilation * k for k in range(kernel)]
        if all(i in pixels for i in inputs):
            traced[n] = set().union(*(pixels[i] for i in inputs))
    return traced


def trace_transposed(
    pixels: Pixels, kernel: int, stride: int, padding: int, dilation: int
) -> Pixels:
    """Return the pixels after a transposed convolution; some may depend on no input."""
    first, last = min(pixels), max(pixels)
    reach = dilation * (kernel - 1)
    traced: Pixels = {
        n: set() for n in range(first * stride + reach - padding, last * stride - padding + 1)
    }
    for n, field in pixels.items():
        for k in range(kernel):
            output = n * stride + dilation * k - padding
            if output in traced:
                traced[output] |= field
    return traced


def width(field: set[int]) -> int:
    return max(field) - min(field) + 1


def centre(field: set[int]) -> float:
    """Return the centre of a field; pixel 0 covers 0 to 1."""
    return (min(field) + max(field) + 1) / 2


def identity() -> Pixels:
    return {n: {n} for n in range(-PLANE, PLANE)}


def random_layer(rng: np.random.Generator) -> tuple[int, int, int, int]:
    kernel, stride, padding, dilation = rng.integers((1, 1, 0, 1), (6, 4, 3, 4))
    return int(kernel), int(stride), int(padding), int(dilation)


def test_receptive_fields_of_convolutions_and_poolings() -> None:
    rng = np.random.default_rng(0)
    for _ in range(150):
        field, pixels = ReceptiveField(), identity()
        for layer in [random_layer(rng) for _ in range(rng.integers(1, 4))]:
            field, pixels = field.after_conv(*layer), trace_conv(pixels, *layer)
        inner = [n for n in pixels if n - 1 in pixels and n + 1 in pixels]
        assert len(inner) > 1
        for n in inner:
            assert width(pixels[n]) == field.size
            assert centre(pixels[n]) == field.centre + n * field.stride
            assert centre(pixels[n + 1]) - centre(pixels[n]) == field.stride


def spread_fields(*layer: int) -> Pixels:
    """Return the fields of a transposed convolution's pixels that depend on any input."""
    traced = trace_transposed(identity(), *layer)
    return {n: field for n, field in traced.items() if abs(n) < 50 and field}


def test_receptive_field_of_one_transposed_convolution() -> None:
    """The size is that of the largest field, and centres are 1 / stride apart on average."""
    for layer in product(KERNELS, STRIDES, (0, 1, 2), (1,)):
        field, pixels = ReceptiveField().after_conv_transpose(*layer), spread_fields(*layer)
        assert max(map(width, pixels.values())) == field.size, layer
        assert field.stride == 1 / layer[1]
        # Rounding to integers moves both ends of a field inwards by less than a pixel.
        for n, seen in pixels.items():
            assert abs(centre(seen) - (field.centre + n * field.stride)) < 0.5, (layer, n)


def test_receptive_field_of_one_dilated_transposed_convolution() -> None:
    """A pixel depends only on kernel elements whose offset is a multiple of the stride."""
    for layer in product(KERNELS, STRIDES, (0, 1, 2), (2, 3)):
        field, pixels = ReceptiveField().after_conv_transpose(*layer), spread_fields(*layer)
        assert max(map(width, pixels.values())) == field.size, layer


def test_receptive_fields_of_mixed_stacks() -> None:
    """Transposed convolutions without gaps, with other layers before and after them."""
    rng = np.random.default_rng(1)
    for _ in range(150):
        field, pixels, layers = ReceptiveField(), identity(), []
        for _ in range(rng.integers(2, 4)):
            kernel, stride, padding, dilation = random_layer(rng)
            transposed = bool(rng.integers(2))
            layers.append((transposed, kernel, stride, padding, dilation))
            if transposed:
                kernel = max(kernel, stride)
                field = field.after_conv_transpose(kernel, stride, padding)
                pixels = trace_transposed(pixels, kernel, stride, padding, 1)
            else:
                field = field.after_conv(kernel, stride, padding, dilation)
                pixels = trace_conv(pixels, kernel, stride, padding, dilation)
        assert len(pixels) > 12
        assert max(map(width, pixels.values())) == field.size, layers


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


def test_receptive_fields_of_adaptive_pooling_and_upsampling() -> None:
    """Exact where sizes divide; else the size is the largest, and centres are averages."""
    for i, o, kernel in product(SIZES, SIZES, (1, 3)):
        start = ReceptiveField().after_conv(kernel, 2)
        pooled, copied = start.after_adaptive_pooling(i, o), start.after_upsampling(i, o)
        for p, (first, end) in enumerate(adaptive_windows(i, o)):
            assert pooled.pixels(p) == (2 * first, 2 * (end - 1) + kernel)
            source = p * i // o
            assert copied.pixels(p) == (2 * source, 2 * source + kernel)
        assert pooled.size == max(b - a for a, b in map(pooled.pixels, range(o)))
        assert copied.size == kernel
        if i % o == 0:
            like = start.after_conv(i // o, i // o)
            assert (pooled.stride, pooled.centre, pooled.size) == (
                like.stride, like.centre, like.size,
            )  # fmt: skip
        if o % i == 0:
            like = start.after_conv_transpose(o // i, o // i)
            assert (copied.stride, copied.size) == (like.stride, like.size)
            assert copied.centre == pytest.approx(like.centre)
        for field in (pooled, copied):
            errors = [
                sum(field.pixels(p)) / 2 - (field.centre + p * field.stride) for p in range(o)
            ]
            assert sum(errors) == pytest.approx(0, abs=1e-9)
            assert max(map(abs, errors)) < 1  # half of a pixel of stride 2


def test_receptive_fields_of_paths_with_a_resampling() -> None:
    start = ReceptiveField().after_conv(3)
    paths = [start.after_adaptive_pooling(12, 4), start.after_conv(5, 3, 1)]
    joined = ReceptiveField.union(start, paths)
    for p in range(4):
        ends = [path.pixels(p) for path in paths]
        assert joined.pixels(p) == (min(a for a, _ in ends), max(b for _, b in ends))
    assert (joined.size, joined.stride, joined.centre) == (7, 3.0, 3.0 - 0.5)


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
