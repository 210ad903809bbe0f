"""NumPy's activations: memory orders, arrays of many blocks, and accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import gpucnn
from gpucnn.backends.numpy.elementwise import BACKWARD, BLOCK, FORWARD, in_blocks
from gpucnn.backends.numpy.gelu import FRACTIONS
from gpucnn.testing import naive
from gpucnn.testing.comparison import assert_close

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": np.ascontiguousarray,
    "batch last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0),
    "gaps": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "broadcast": lambda x: np.broadcast_to(x[:, :1], x.shape),
}


@pytest.mark.parametrize("grad_layout", ["C", "batch last"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_order(layout: str, grad_layout: str) -> None:
    rng = np.random.default_rng(0)
    x, grad = (
        LAYOUTS[layout](rng.normal(size=(3, 2, 5))),
        LAYOUTS[grad_layout](rng.normal(size=(3, 2, 5))),
    )
    backend = gpucnn.get_backend("numpy", "float64")
    assert_close(backend.silu(x), naive.silu(x), terms=1, what="output")
    assert_close(backend.silu_backward(grad, x), naive.silu_backward(grad, x), terms=1, what="grad")
    kept = backend.silu(LAYOUTS["batch last"](x))
    assert kept.strides == LAYOUTS["batch last"](x).strides


@pytest.mark.parametrize("size", [1, BLOCK, 2 * BLOCK + 3])
@pytest.mark.parametrize("op", FORWARD)
def test_an_element_does_not_depend_on_its_block(op: str, size: int) -> None:
    options = {
        "elu": (0.5,), "leaky_relu": (0.1,), "gelu": ("none",), "softplus": (2.0, 3.0),
    }.get(op, ())  # fmt: skip
    x = np.linspace(-8, 8, size, dtype=np.float32)
    grad = np.linspace(1, 2, size, dtype=np.float32)
    for functions, inputs in ((FORWARD, [x]), (BACKWARD, [grad, x])):
        full = in_blocks(functions[op], *inputs, options=options)
        for part in (slice(0, 3), slice(size // 2, size // 2 + 40), slice(size - 7, size)):
            pieces = [array[part] for array in inputs]
            np.testing.assert_array_equal(
                in_blocks(functions[op], *pieces, options=options), full[part]
            )


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-6), ("float64", 1e-14)])
def test_gelu_keeps_its_relative_accuracy_for_large_numbers(dtype: str, bound: float) -> None:
    """Relative to the result, up to the rounding of x²: where 1 + erf(x / sqrt(2)) is zero."""
    x = np.concatenate([np.linspace(-9, 9, 3001), [0, 1e-30, -1e-30, -35, 1e30, -1e30]])
    x = np.append(x, [sign * b for _, b in FRACTIONS[dtype] for sign in (-1, 1)])  # poles inside
    backend = gpucnn.get_backend("numpy", dtype)
    x = backend.asarray(x, dtype)
    distribution = np.array([math.erfc(-float(v) / math.sqrt(2)) / 2 for v in x])
    wide = x.astype(np.float64)
    density = np.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
    scale = bound * (1 + wide * wide / 4)
    tiny = np.finfo(dtype).tiny
    output = backend.gelu(x)
    assert (abs(output - wide * distribution) <= scale * abs(wide * distribution) + tiny).all()
    slope = backend.gelu_backward(np.ones_like(x), x)
    error = abs(slope - (distribution + wide * density))
    assert (error <= scale * (distribution + abs(wide) * density) + tiny).all()
