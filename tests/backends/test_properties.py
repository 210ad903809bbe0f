"""Properties for any shape, stride, padding, dilation and number of groups.

The arrays of linear operations are small integers, whose sums and products are exact in float32, so
that results are compared without a tolerance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from gpucnn import arithmetic
from gpucnn.backends import Backend
from gpucnn.errors import ShapeError
from gpucnn.testing import naive
from gpucnn.testing.comparison import assert_close
from gpucnn.testing.values import normal

Pair = tuple[int, int]
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="session")
def backend(backend32: Backend) -> Backend:
    """One dtype: small integers are exact in both."""
    return backend32


def pairs(least: int, most: int) -> st.SearchStrategy[Pair]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


def sides(most: int) -> st.SearchStrategy[arithmetic.Padding]:
    """Draw the padding of one axis: the same on both sides, or (before, after)."""
    return st.integers(0, most) | pairs(0, most)


def total(padding: arithmetic.Padding) -> int:
    return 2 * padding if isinstance(padding, int) else sum(padding)


def integers(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.integers(-4, 5, shape).astype(np.float32)


def near(
    backend: Backend, actual: Any, reference: NDArray[Any] | np.floating[Any], terms: int
) -> None:
    assert_close(backend.to_numpy(actual), np.asarray(reference, np.float64), terms=terms)


@dataclass(frozen=True)
class Convolution:
    """A valid convolution, with the seed of its arrays."""

    input: tuple[int, ...]
    weight: tuple[int, ...]
    options: dict[str, Any]
    seed: int

    @property
    def axes(self) -> list[tuple[int, ...]]:
        """(input size, kernel, stride, padding, dilation) for each axis."""
        names = ("stride", "padding", "dilation")
        rest = [self.options[name] for name in names]
        return list(zip(self.input[2:], self.weight[2:], *rest, strict=True))

    @property
    def output(self) -> tuple[int, ...]:
        plane = [arithmetic.conv_output_size(*axis) for axis in self.axes]
        return (self.input[0], self.weight[0], *plane)

    @property
    def unused(self) -> tuple[int, ...]:
        """The number of pixels after the last window, for each axis."""
        return tuple((i + total(p) - d * (k - 1) - 1) % s for i, k, s, p, d in self.axes)

    def arrays(self, backend: Backend, *shapes: tuple[int, ...]) -> list[Any]:
        rng = np.random.default_rng(self.seed)
        return [backend.asarray(integers(rng, *shape)) for shape in shapes]


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    kernel, stride, dilation = (draw(pairs(1, 3)) for _ in range(3))
    padding = (draw(sides(2)), draw(sides(2)))
    samples, groups, channels, outs = (draw(st.integers(1, most)) for most in (3, 3, 2, 2))
    extra = draw(pairs(0, 4))
    plane = [
        max(1, d * (k - 1) + 1 - total(p) + more)
        for k, d, p, more in zip(kernel, dilation, padding, extra, strict=True)
    ]
    return Convolution(
        (samples, channels * groups, *plane),
        (outs * groups, channels, *kernel),
        {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
        draw(seeds),
    )


def inner(backend: Backend, first: Any, second: Any) -> float:
    products = backend.to_numpy(first).astype(np.float64) * backend.to_numpy(second)
    return float(products.sum())


# --- convolution --------------------------------------------------------------------------------


@settings(max_examples=60)
@given(case=convolutions())
def test_conv2d_is_the_naive_loops(case: Convolution, backend: Backend) -> None:
    input, weight, bias = case.arrays(backend, case.input, case.weight, case.weight[:1])
    wanted = naive.conv2d(*map(backend.to_numpy, (input, weight, bias)), **case.options)
    assert wanted.shape == case.output
    assert_array_equal(
        backend.to_numpy(backend.conv2d(input, weight, bias, **case.options)), wanted
    )


@settings(max_examples=40)
@given(case=convolutions(), first=st.integers(-3, 3), second=st.integers(-3, 3))
def test_conv2d_is_linear(case: Convolution, first: int, second: int, backend: Backend) -> None:
    x, y, weight = case.arrays(backend, case.input, case.input, case.weight)
    host = [backend.to_numpy(array) for array in (x, y)]
    together = backend.asarray(first * host[0] + second * host[1])
    apart = [backend.to_numpy(backend.conv2d(a, weight, **case.options)) for a in (x, y)]
    assert_array_equal(
        backend.to_numpy(backend.conv2d(together, weight, **case.options)),
        first * apart[0] + second * apart[1],
    )


@settings(max_examples=60)
@given(case=convolutions())
def test_the_gradients_of_conv2d_are_its_adjoints(case: Convolution, backend: Backend) -> None:
    """<conv(x, w), g> = <x, input's gradient> = <w, weight's gradient>; <b 1, g> likewise."""
    x, weight, bias, grad = case.arrays(
        backend, case.input, case.weight, case.weight[:1], case.output
    )
    output = backend.conv2d(x, weight, **case.options)
    biased = backend.conv2d(x, weight, bias, **case.options)
    grads = backend.conv2d_backward(grad, x, weight, **case.options)
    wanted = inner(backend, output, grad)
    assert inner(backend, x, grads[0]) == wanted
    assert inner(backend, weight, grads[1]) == wanted
    assert inner(backend, bias, grads[2]) == inner(backend, biased, grad) - wanted


@settings(max_examples=60)
@given(case=convolutions())
def test_conv_transpose2d_is_the_adjoint_of_conv2d(case: Convolution, backend: Backend) -> None:
    """With the unused pixels as output padding, it has the shape and is the adjoint."""
    x, weight, grad = case.arrays(backend, case.input, case.weight, case.output)
    back = backend.conv_transpose2d(grad, weight, output_padding=case.unused, **case.options)
    assert back.shape == case.input
    output = backend.conv2d(x, weight, **case.options)
    assert inner(backend, output, grad) == inner(backend, x, back)
    input_grad, *_ = backend.conv2d_backward(grad, x, weight, **case.options)
    assert_array_equal(backend.to_numpy(back), backend.to_numpy(input_grad))


@settings(max_examples=40)
@given(case=convolutions())
def test_the_gradients_of_conv_transpose2d_are_its_adjoints(
    case: Convolution, backend: Backend
) -> None:
    x, weight, grad = case.arrays(backend, case.output, case.weight, case.input)
    options = {**case.options, "output_padding": case.unused}
    output = backend.conv_transpose2d(x, weight, **options)
    input_grad, weight_grad, bias_grad = backend.conv_transpose2d_backward(
        grad, x, weight, **options
    )
    wanted = inner(backend, output, grad)
    assert inner(backend, x, input_grad) == inner(backend, weight, weight_grad) == wanted
    assert_array_equal(backend.to_numpy(bias_grad), backend.to_numpy(grad).sum((0, 2, 3)))


@settings(max_examples=40)
@given(case=convolutions())
def test_conv2d_of_groups_is_the_convolutions_of_its_groups(
    case: Convolution, backend: Backend
) -> None:
    input, weight = case.arrays(backend, case.input, case.weight)
    output = backend.to_numpy(backend.conv2d(input, weight, **case.options))
    options = {**case.options, "groups": 1}
    parts = [
        backend.to_numpy(backend.conv2d(backend.asarray(x), backend.asarray(w), **options))
        for x, w in zip(
            np.split(backend.to_numpy(input), case.options["groups"], 1),
            np.split(backend.to_numpy(weight), case.options["groups"], 0),
            strict=True,
        )
    ]
    assert_array_equal(output, np.concatenate(parts, 1))


# --- pooling ------------------------------------------------------------------------------------


@st.composite
def poolings(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, Any], NDArray[np.float32]]:
    """Return an input shape, options of all poolings except Lp, and an array of small integers.

    Sums of integers that cancel are zero, and not rounding errors of larger terms, which a
    tolerance relative to the result would not allow.
    """
    kernel, stride = draw(pairs(1, 4)), draw(st.none() | pairs(1, 4))
    padding = (draw(sides(kernel[0] // 2)), draw(sides(kernel[1] // 2)))
    plane = [
        max(1, k - total(p) + draw(st.integers(0, 6))) for k, p in zip(kernel, padding, strict=True)
    ]
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 2)), *plane)
    options = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "ceil_mode": draw(st.booleans()),
    }
    return shape, options, integers(np.random.default_rng(draw(seeds)), *shape)


@settings(max_examples=60)
@given(case=poolings(), count_include_pad=st.booleans(), divisor=st.none() | st.integers(1, 5))
def test_sums_of_windows_are_the_naive_loops(
    case: Any, count_include_pad: bool, divisor: int | None, backend: Backend
) -> None:
    shape, options, x = case
    input, terms = backend.asarray(x), math.prod(options["kernel_size"])
    average = {**options, "count_include_pad": count_include_pad, "divisor_override": divisor}
    near(backend, backend.avg_pool2d(input, **average), naive.avg_pool2d(x, **average), terms)
    near(backend, backend.sum_pool2d(input, **options), naive.sum_pool2d(x, **options), terms)
    grad = 1 + np.abs(naive.avg_pool2d(x, **average)).astype(np.float32)
    grads = backend.avg_pool2d_backward(backend.asarray(grad), shape, **average)
    near(backend, grads, naive.avg_pool2d_backward(grad, shape, **average), terms)


@settings(max_examples=60)
@given(case=poolings(), norm_type=st.sampled_from([1, 2]))
def test_lp_pool2d_is_the_naive_loops(case: Any, norm_type: int, backend: Backend) -> None:
    _, options, x = case
    options = {name: value for name, value in options.items() if name != "padding"}
    if any(k > size for k, size in zip(options["kernel_size"], x.shape[2:], strict=True)):
        options["kernel_size"] = (1, 1)
    output = backend.lp_pool2d(backend.asarray(x), norm_type, **options)
    wanted = naive.lp_pool2d(x, norm_type, **options)
    near(backend, output, wanted, math.prod(options["kernel_size"]))


@settings(max_examples=100)
@given(case=poolings(), dilation=pairs(1, 3), extra=st.integers(0, 6))
def test_max_pool2d_is_the_naive_loops_or_refuses_empty_windows(
    case: Any, dilation: Pair, extra: int, backend: Backend
) -> None:
    shape, options, x = case
    x = np.tile(x, (1, 1, 1 + (extra + shape[2]) // shape[2], 1))[:, :, : shape[2] + extra]
    options = {**options, "dilation": dilation}
    output_shape, windows = naive.pool_windows(x.shape, **options)
    if 0 in output_shape or not all(inside for _, inside, _ in windows):
        with pytest.raises(ShapeError):
            backend.max_pool2d(backend.asarray(x), **options)
        return
    output, indices = backend.max_pool2d(backend.asarray(x), **options, return_indices=True)
    wanted, wanted_indices = naive.max_pool2d(x, **options)
    assert_array_equal(backend.to_numpy(output), wanted)
    assert_array_equal(backend.to_numpy(indices), wanted_indices)


@settings(max_examples=40)
@given(case=poolings())
def test_indices_of_max_pool2d_point_to_its_output(case: Any, backend: Backend) -> None:
    shape, options, x = case
    output, indices = backend.max_pool2d(backend.asarray(x), **options, return_indices=True)
    flat = x.reshape(*shape[:2], -1)
    positions = backend.to_numpy(indices).reshape(*shape[:2], -1)
    pointed = np.take_along_axis(flat, positions, 2).reshape(output.shape)
    assert_array_equal(pointed, backend.to_numpy(output))


@settings(max_examples=40)
@given(size=pairs(4, 8), kernel=pairs(1, 3), shift=pairs(0, 2), seed=seeds)
def test_max_pool2d_of_a_shifted_input_is_shifted(
    size: Pair, kernel: Pair, shift: Pair, seed: int, backend: Backend
) -> None:
    x = integers(np.random.default_rng(seed), 2, 2, *size)
    window = (..., slice(shift[0], None), slice(shift[1], None))
    moved = backend.asarray(np.ascontiguousarray(x[window]))
    if any(k > n - by for k, n, by in zip(kernel, size, shift, strict=True)):
        kernel = (1, 1)
    output = backend.to_numpy(backend.max_pool2d(backend.asarray(x), kernel, 1))
    assert_array_equal(backend.to_numpy(backend.max_pool2d(moved, kernel, 1)), output[window])


@settings(max_examples=40)
@given(case=poolings())
def test_sum_pool2d_is_avg_pool2d_times_the_kernel_elements(case: Any, backend: Backend) -> None:
    """For complete windows, with padding included."""
    _, options, x = case
    options, input = {**options, "ceil_mode": False}, backend.asarray(x)
    terms = math.prod(options["kernel_size"])
    mean = backend.to_numpy(backend.avg_pool2d(input, **options)).astype(np.float64)
    near(backend, backend.sum_pool2d(input, **options), mean * terms, terms)


@settings(max_examples=60)
@given(case=poolings())
def test_shapes_of_poolings_are_those_of_arithmetic(case: Any, backend: Backend) -> None:
    shape, options, x = case
    stride = options["stride"] or options["kernel_size"]
    plane = [
        arithmetic.pool_output_size(i, k, s, p, 1, options["ceil_mode"])
        for i, k, s, p in zip(
            shape[2:], options["kernel_size"], stride, options["padding"], strict=True
        )
    ]
    for pool in (backend.max_pool2d, backend.avg_pool2d, backend.sum_pool2d):
        assert pool(backend.asarray(x), **options).shape == (*shape[:2], *plane)


# --- probabilities ------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 12)),
    size=st.sampled_from([0.01, 1, 30, 1000]),
    constant=st.integers(-64, 64),
    seed=seeds,
)
def test_softmax(shape: Pair, size: float, constant: int, seed: int, backend: Backend) -> None:
    """Rows are probabilities in the order of the scores; adding a constant changes nothing."""
    # Multiples of 1/1024, so that adding the constant is exact.
    scores = np.round(size * normal(np.random.default_rng(seed), *shape) * 1024) / 1024
    scores = scores.astype(np.float32)
    output = backend.softmax(backend.asarray(scores))
    rows = backend.to_numpy(output)
    assert rows.min() >= 0
    near(backend, backend.asarray(rows.sum(1)), np.ones(shape[0]), shape[1])
    shifted = backend.softmax(backend.asarray((scores + constant).astype(np.float32)))
    near(backend, shifted, rows, shape[1])
    for row, values in zip(rows, scores, strict=True):
        assert (np.diff(row[np.argsort(values)]) >= 0).all()


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 12)),
    size=st.sampled_from([0.01, 1, 30, 1000]),
    seed=seeds,
)
def test_cross_entropy(shape: Pair, size: float, seed: int, backend: Backend) -> None:
    """Losses are not negative; the gradient is negative only for the target class."""
    rng = np.random.default_rng(seed)
    scores = np.float32(size) * normal(rng, *shape)
    target = rng.integers(0, shape[1], shape[0])
    input, classes = backend.asarray(scores), backend.asarray(target)
    assert backend.to_numpy(backend.cross_entropy(input, classes, "none")).min() >= 0
    grads = backend.to_numpy(backend.cross_entropy_backward(input, classes, "sum"))
    for n, c in product(*map(range, shape)):
        assert grads[n, c] <= 0 if c == target[n] else grads[n, c] >= 0
