"""Cases: max, average, sum and Lp pooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends.contract.operations import operations
from gpucnn.testing.case import Case
from gpucnn.testing.naive.common import pair
from gpucnn.testing.values import (
    Shape,
    Values,
    below_zero,
    few_levels,
    increasing,
    infinities,
    minus_infinity,
    normal,
    one_is,
    rectified,
    spaced,
    times,
    with_nan,
    zeros,
)


def pool(
    op: str,
    name: str,
    shape: Shape,
    values: Values = spaced,
    differentiable: bool = True,
    after_relu: bool = False,
    **options: Any,
) -> Case:
    """Return a case of one pooling; ``after_relu`` passes its output to the backward as well."""
    passed = {"relu_output": "output"} if after_relu else {}
    if op == "max_pool2d":
        options["return_indices"] = True
    terms = math.prod(pair(options["kernel_size"]))

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"input": values(rng, *shape)}

    return Case(op, name, make, options, terms, differentiable, passed)


def pools(name: str, shape: Shape, **options: Any) -> list[Case]:
    """Return a case for each pooling that has all of these options."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("max_pool2d", {}),
        ("avg_pool2d", {}),
        ("sum_pool2d", {}),
        ("lp_pool2d", {"norm_type": 1}),
        ("lp_pool2d", {"norm_type": 2}),
    ]
    return [
        pool(op, f"{name}, p = {more['norm_type']}" if more else name, shape, **options, **more)
        for op, more in kinds
        if options.keys() <= operations()[op].parameters.keys()
    ]


HANGING = (2, 3, 6, 8)  # with kernel 3 and stride 2, ceil_mode adds a row and a column
POOLINGS = [
    *pools("2x2 kernel", (2, 3, 6, 4), kernel_size=2),
    *pools("batch 1, unused pixels", (1, 2, 7, 5), kernel_size=2),
    *pools("overlapping windows", (2, 3, 7, 9), kernel_size=3, stride=2),
    *pools("stride larger than the kernel", (2, 2, 8, 7), kernel_size=2, stride=3),
    *pools("kernel (3, 2), stride (1, 3)", (2, 2, 9, 8), kernel_size=(3, 2), stride=(1, 3)),
    *pools("kernel as large as the input", (2, 3, 4, 5), kernel_size=(4, 5)),
    *pools("1x1 kernel", (2, 2, 5, 4), kernel_size=1, stride=2),
    *pools("padding 1", (2, 2, 5, 6), kernel_size=3, stride=2, padding=1),
    *pools("padding (1, 0)", (1, 2, 5, 6), kernel_size=(2, 3), stride=1, padding=(1, 0)),
    *pools("padding ((0, 1), (1, 0))", (2, 2, 5, 6), kernel_size=2, padding=((0, 1), (1, 0))),
    *pools(
        "SAME_UPPER, kernel 4, stride 1", (1, 2, 5, 6),
        kernel_size=4, stride=1, padding=((1, 2), (1, 2)),
    ),
    *pools(
        "padding (1, (0, 2)), ceil_mode", (2, 2, 7, 6),
        kernel_size=4, stride=3, padding=(1, (0, 2)), ceil_mode=True,
    ),
    *pools(
        "padding after, count_include_pad False", (2, 2, 5, 6),
        kernel_size=2, padding=((0, 1), 0), count_include_pad=False,
    ),
    *pools(
        "SAME_LOWER, dilation 2", (1, 2, 7, 8),
        kernel_size=(3, 2), stride=1, dilation=2, padding=((2, 2), (1, 1)),
    ),
    *pools("ceil_mode", HANGING, kernel_size=3, stride=2, ceil_mode=True),
    *pools("ceil_mode, kernel (2, 3)", (1, 2, 7, 8), kernel_size=(2, 3), ceil_mode=True),
    *pools("ceil_mode, input smaller than the kernel", (1, 2, 2, 5), kernel_size=3, ceil_mode=True),
    *pools(
        "ceil_mode, last window only padding", (2, 1, 5, 5),
        kernel_size=2, stride=2, padding=1, ceil_mode=True,
    ),
    *pools("ceil_mode, padding", HANGING, kernel_size=3, stride=2, padding=1, ceil_mode=True),
    *pools(
        "ceil_mode, padding 2", (1, 2, 7, 6), kernel_size=4, stride=3, padding=2, ceil_mode=True
    ),
    *pools(
        "count_include_pad False, ceil_mode", HANGING,
        kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False,
    ),
    *pools(
        "count_include_pad False", (2, 2, 5, 6),
        kernel_size=3, padding=1, count_include_pad=False,
    ),
    *pools(
        "ceil_mode, padding at the bottom", (2, 2, 7, 6),
        kernel_size=4, stride=3, padding=((0, 2), 0), ceil_mode=True,
    ),
    *pools(
        "ceil_mode, padding at the right", (2, 2, 6, 5),
        kernel_size=3, stride=3, padding=(0, (0, 1)), ceil_mode=True,
    ),
    *pools("odd planes", (3, 1, 5, 9), kernel_size=2, stride=2),
    *pools("divisor_override", (2, 2, 5, 6), kernel_size=2, padding=1, divisor_override=3),
    *pools(
        "divisor_override -2, ceil_mode", HANGING,
        kernel_size=3, stride=2, ceil_mode=True, divisor_override=-2,
    ),
    *pools("dilation 2", (2, 2, 7, 8), kernel_size=3, stride=1, dilation=2),
    *pools(
        "dilation (3, 2), padding", (1, 2, 8, 9),
        kernel_size=(2, 3), stride=(2, 1), padding=1, dilation=(3, 2),
    ),
    *pools(
        "dilation, ceil_mode", (1, 2, 8, 7), kernel_size=2, stride=3, dilation=2, ceil_mode=True
    ),
    *pools("more outputs than threads in a block", (1, 2, 24, 26), kernel_size=2, stride=1),
    *(
        case
        for size in (255, 256, 257)
        for case in pools(f"{size} output positions", (1, 1, 1, 2 * size), kernel_size=(1, 2))
    ),
    pool("max_pool2d", "ties", (2, 3, 7, 6), few_levels, False, kernel_size=3, stride=2),
    pool(
        "max_pool2d", "ties, dilation", (1, 2, 7, 6), few_levels, False, kernel_size=2, dilation=3
    ),
    pool(
        "max_pool2d", "negative input, padding", (2, 2, 5, 6), below_zero, False,
        kernel_size=3, stride=2, padding=1, ceil_mode=True,
    ),
    pool(
        "max_pool2d", "NaN and infinities", (2, 2, 7, 6), with_nan, False,
        kernel_size=3, stride=2, padding=1,
    ),
    pool("max_pool2d", "NaN, 2x2 kernel", (3, 2, 6, 8), with_nan, False, kernel_size=2),
    pool("max_pool2d", "infinities, signed 0", (2, 2, 6, 6), infinities, False, kernel_size=2),
    pool("max_pool2d", "only -inf", (1, 1, 5, 4), minus_infinity, False, kernel_size=2, padding=1),
    # The index of a kernel element does not fit into 8 bits.
    pool("max_pool2d", "17x16 kernel", (1, 2, 19, 17), increasing, kernel_size=(17, 16), stride=1),
    pool(
        "max_pool2d", "after ReLU", (2, 2, 7, 6), rectified, False,
        after_relu=True, kernel_size=3, stride=2, padding=1,
    ),
    pool(
        "max_pool2d", "after ReLU, NaN", (2, 2, 6, 6), with_nan, False,
        after_relu=True, kernel_size=2,
    ),
    *(
        pool(op, name, (2, 2, 6, 7), values, False, kernel_size=2, stride=(1, 2))
        for name, values in (("NaN and infinities", with_nan), ("huge numbers", times(1e37)))
        for op in ("avg_pool2d", "sum_pool2d")
    ),
    pool("max_pool2d", "huge numbers", (2, 2, 6, 7), times(1e38), False, kernel_size=2),
    pool("lp_pool2d", "NaN", (2, 2, 6, 6), one_is(9, np.nan), False, norm_type=2, kernel_size=2),
    pool(
        "lp_pool2d", "large numbers", (2, 2, 6, 6), times(1e15), False,
        norm_type=2, kernel_size=2,
    ),
    pool("lp_pool2d", "windows of zeros", (2, 2, 8, 8), zeros, False, norm_type=2, kernel_size=2),
    pool("lp_pool2d", "normal input", (2, 2, 5, 7), normal, norm_type=2, kernel_size=3, stride=1),
]  # fmt: skip
