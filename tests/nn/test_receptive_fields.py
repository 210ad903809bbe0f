"""Receptive fields, compared with sets of pixels that are traced through the layers.

Each output pixel of a stack is represented by the set of input pixels that it depends on. The plane
is far larger than any field, and only pixels far from its edges are compared.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from gpucnn.arithmetic import adaptive_windows
from gpucnn.nn.receptive_fields import ReceptiveField

SIZES, KERNELS, STRIDES = range(1, 10), range(1, 6), range(1, 5)

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
