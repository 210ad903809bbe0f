"""Cases: convolution and transposed convolution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.testing.case import Case
from gpucnn.testing.values import (
    Shape,
    Values,
    few_levels,
    normal,
    times,
    with_nan,
    with_subnormals,
)


def conv(
    name: str,
    shape: Shape,
    weight: Shape,
    *,
    bias: bool = True,
    values: Values = normal,
    filters: Values = normal,
    differentiable: bool = True,
    **options: Any,
) -> Case:
    """Return a case of conv2d with arrays of these shapes; those of the weight are normal."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"input": values(rng, *shape), "weight": filters(rng, *weight)}
        return arrays | ({"bias": normal(rng, weight[0])} if bias else {})

    # An upper bound of the number of outputs that the weight gradient sums over.
    pixels = shape[0] * math.prod(size + 4 for size in shape[2:])
    terms = max(math.prod(weight), pixels)
    return Case("conv2d", name, make, options, terms, differentiable)


def transposed(
    name: str,
    shape: Shape,
    weight: Shape,
    *,
    bias: bool = True,
    values: Values = normal,
    differentiable: bool = True,
    **options: Any,
) -> Case:
    """Return a case of conv_transpose2d with arrays of these shapes."""
    groups = options.get("groups", 1)

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"input": values(rng, *shape), "weight": normal(rng, *weight)}
        return arrays | ({"bias": normal(rng, weight[1] * groups)} if bias else {})

    pixels = shape[0] * math.prod(shape[2:])
    terms = max(math.prod(weight), pixels)
    return Case("conv_transpose2d", name, make, options, terms, differentiable)


CONVOLUTIONS = [
    conv("1x1 kernel", (2, 3, 5, 4), (4, 3, 1, 1)),
    conv("fused ReLU", (2, 3, 5, 4), (4, 3, 2, 3), relu=True),
    conv("fused ReLU, no bias", (2, 3, 5, 4), (4, 3, 2, 3), bias=False, relu=True),
    conv("batch 1", (1, 2, 6, 7), (3, 2, 3, 3)),
    conv(
        "subnormal numbers", (2, 3, 5, 6), (3, 3, 3, 2),
        values=with_subnormals, filters=with_subnormals,
    ),
    conv("no bias", (2, 2, 5, 5), (3, 2, 3, 3), bias=False),
    conv("odd sizes, not square", (3, 2, 7, 5), (3, 2, 3, 2)),
    conv("stride 2", (2, 2, 7, 8), (3, 2, 3, 3), stride=2),
    conv("stride (2, 3), unused pixels", (2, 2, 8, 9), (2, 2, 3, 2), stride=(2, 3)),
    conv("stride (3, 1) larger than the kernel", (1, 2, 9, 4), (2, 2, 2, 2), stride=(3, 1)),
    conv("padding 1", (2, 2, 4, 5), (3, 2, 3, 3), padding=1),
    conv("padding (2, 1), stride 2", (2, 2, 4, 5), (2, 2, 3, 3), padding=(2, 1), stride=2),
    conv("padding larger than the kernel", (1, 1, 3, 2), (2, 1, 2, 2), padding=3),
    conv("padding ((0, 2), (1, 0))", (2, 2, 4, 5), (3, 2, 3, 2), padding=((0, 2), (1, 0))),
    conv(
        "padding (1, (0, 2)), stride 2", (1, 2, 5, 4), (2, 2, 2, 3), padding=(1, (0, 2)), stride=2
    ),
    conv("padding valid", (1, 2, 5, 6), (2, 2, 3, 2), padding="valid"),
    conv("padding same", (1, 2, 5, 6), (2, 2, 3, 5), padding="same"),
    conv("padding same, even kernel", (2, 2, 5, 6), (2, 2, 4, 2), padding="same"),
    conv("padding same, dilation", (1, 1, 6, 7), (2, 1, 2, 4), padding="same", dilation=(3, 1)),
    conv("dilation 2", (2, 2, 7, 8), (2, 2, 3, 3), dilation=2),
    conv("dilation (1, 3)", (1, 2, 5, 9), (2, 2, 2, 3), dilation=(1, 3)),
    conv("groups 2", (2, 4, 5, 4), (6, 2, 3, 3), groups=2),
    conv("depthwise", (2, 3, 5, 5), (3, 1, 3, 3), groups=3, padding=1),
    conv("depthwise, two outputs per channel", (1, 3, 4, 5), (6, 1, 2, 3), groups=3),
    conv("kernel as large as the input", (2, 3, 4, 5), (5, 3, 4, 5)),
    conv("1x1 input", (1, 1, 1, 1), (1, 1, 1, 1)),
    conv("input of one row", (2, 3, 1, 9), (2, 3, 1, 4), stride=(1, 2)),
    conv(
        "all options", (2, 4, 9, 8), (6, 2, 3, 2),
        stride=(2, 3), padding=(2, 1), dilation=(1, 3), groups=2,
    ),
    conv("LeNet-5 conv2, smaller", (1, 6, 8, 8), (16, 6, 5, 5)),
    conv("more channels than a tile", (1, 33, 3, 4), (17, 33, 3, 3), padding=1),
    conv("batch 33", (33, 1, 4, 4), (2, 1, 3, 3)),
    conv("255 output positions", (1, 1, 1, 257), (1, 1, 1, 3)),
    conv("257 output positions", (1, 1, 259, 1), (1, 1, 3, 1)),
    conv("more outputs than threads in a block", (2, 1, 18, 31), (1, 1, 3, 2)),
    # Next to the sizes of tiles: 16 and 64 rows (output channels), 64 and 128 columns (positions).
    *(
        conv(f"{rows} channels of {columns} positions", (1, 2, 1, columns), (rows, 2, 1, 1))
        for rows, columns in ((15, 127), (16, 128), (17, 129), (63, 64), (64, 63), (65, 65))
    ),
    # Next to the sizes of slabs: 8, 16 and 32 products in a sum.
    *(conv(f"{size} channels", (2, size, 2, 3), (3, size, 1, 1)) for size in (7, 8, 9, 31, 32)),
    conv("odd planes, padding 2", (1, 2, 7, 9), (3, 2, 5, 5), padding=2, stride=2),
    conv("few numbers", (2, 3, 6, 5), (4, 3, 3, 3), values=few_levels, filters=few_levels),
    conv("huge numbers", (2, 3, 6, 5), (4, 3, 3, 3), values=times(1e30), differentiable=False),
    conv(
        "NaN and infinities", (1, 2, 7, 6), (3, 2, 3, 3),
        values=with_nan, differentiable=False, padding=1,
    ),
    conv(
        "NaN and infinities, stride 2", (3, 2, 7, 6), (3, 2, 3, 2),
        values=with_nan, differentiable=False, padding=(1, 0), stride=2,
    ),
]  # fmt: skip

TRANSPOSED_CONVOLUTIONS = [
    transposed("1x1 kernel", (2, 3, 4, 5), (3, 2, 1, 1)),
    transposed("batch 1, no bias", (1, 2, 4, 3), (2, 3, 3, 2), bias=False),
    transposed("stride 2", (2, 2, 3, 4), (2, 3, 3, 3), stride=2),
    transposed("stride (2, 3)", (2, 2, 3, 2), (2, 2, 2, 3), stride=(2, 3)),
    transposed("stride larger than the kernel", (1, 2, 3, 2), (2, 2, 1, 2), stride=3),
    transposed("padding 1", (2, 2, 4, 5), (2, 3, 3, 3), padding=1),
    transposed("padding ((1, 0), (0, 2))", (2, 2, 4, 5), (2, 3, 3, 3), padding=((1, 0), (0, 2))),
    transposed("padding (0, 2)", (1, 2, 3, 4), (2, 2, 2, 4), padding=(0, 2)),
    transposed("output_padding 1", (2, 2, 3, 4), (2, 2, 3, 3), stride=2, output_padding=1),
    transposed(
        "output_padding (0, 2)", (1, 2, 3, 3), (2, 2, 2, 3),
        stride=(1, 3), padding=1, output_padding=(0, 2),
    ),
    transposed("output_padding (1, 1)", (1, 1, 3, 4), (1, 2, 2, 2), dilation=2, output_padding=1),
    transposed("dilation (2, 1)", (2, 2, 3, 4), (2, 2, 3, 2), dilation=(2, 1)),
    transposed("groups 2", (2, 4, 3, 3), (4, 3, 2, 2), groups=2),
    transposed("depthwise, stride 2", (1, 3, 3, 4), (3, 2, 3, 3), groups=3, stride=2),
    transposed("1x1 input", (1, 1, 1, 1), (1, 1, 1, 1)),
    transposed(
        "all options", (2, 4, 3, 4), (4, 3, 3, 2),
        stride=(2, 3), padding=(1, 2), output_padding=(1, 2), dilation=(2, 3), groups=2,
    ),
    transposed("more outputs than threads in a block", (2, 1, 9, 16), (1, 1, 3, 3), stride=2),
    transposed("more channels than a tile", (1, 33, 2, 3), (33, 17, 2, 2)),
    transposed(
        "huge numbers", (2, 2, 3, 4), (2, 3, 3, 3), values=times(1e30), differentiable=False
    ),
    transposed(
        "NaN and infinities", (2, 2, 5, 4), (2, 3, 3, 3),
        values=with_nan, differentiable=False, stride=2,  # no padding: 0 times infinity is NaN
    ),
]  # fmt: skip
