"""The one table of cases. A row supplies forward parity, backward parity and the gradient check.

To cover a new operation: write its loops in naive.py and add a row here. The tests find the row,
and read from the contract's signature what its backward takes.
"""

from __future__ import annotations

import numpy as np
from rows import (
    Case,
    adam,
    at_ends,
    begin,
    below_zero,
    conv,
    dropout,
    few_levels,
    finite,
    guard,
    images,
    infinities,
    labels,
    linear,
    loss,
    metrics,
    minus_infinity,
    normal,
    one_hot,
    one_is,
    pointwise,
    pool,
    pools,
    positive,
    probabilities,
    sgd,
    times,
    transposed,
    with_nan,
    zeros,
)

CONVOLUTIONS = [
    conv("1x1 kernel", (2, 3, 5, 4), (4, 3, 1, 1)),
    conv("through ReLU", (2, 3, 5, 4), (4, 3, 2, 3), relu=True),
    conv("through ReLU, no bias", (2, 3, 5, 4), (4, 3, 2, 3), bias=False, relu=True),
    conv("batch 1", (1, 2, 6, 7), (3, 2, 3, 3)),
    conv("no bias", (2, 2, 5, 5), (3, 2, 3, 3), bias=False),
    conv("odd sizes, nothing square", (3, 2, 7, 5), (3, 2, 3, 2)),
    conv("stride 2", (2, 2, 7, 8), (3, 2, 3, 3), stride=2),
    conv("stride (2, 3), pixels left over", (2, 2, 8, 9), (2, 2, 3, 2), stride=(2, 3)),
    conv("stride (3, 1) beyond the kernel", (1, 2, 9, 4), (2, 2, 2, 2), stride=(3, 1)),
    conv("padding 1", (2, 2, 4, 5), (3, 2, 3, 3), padding=1),
    conv("padding (2, 1), stride 2", (2, 2, 4, 5), (2, 2, 3, 3), padding=(2, 1), stride=2),
    conv("padding wider than the kernel", (1, 1, 3, 2), (2, 1, 2, 2), padding=3),
    conv("valid", (1, 2, 5, 6), (2, 2, 3, 2), padding="valid"),
    conv("same", (1, 2, 5, 6), (2, 2, 3, 5), padding="same"),
    conv("same, even kernel", (2, 2, 5, 6), (2, 2, 4, 2), padding="same"),
    conv("same, even kernel dilated", (1, 1, 6, 7), (2, 1, 2, 4), padding="same", dilation=(3, 1)),
    conv("dilation 2", (2, 2, 7, 8), (2, 2, 3, 3), dilation=2),
    conv("dilation (1, 3)", (1, 2, 5, 9), (2, 2, 2, 3), dilation=(1, 3)),
    conv("groups 2", (2, 4, 5, 4), (6, 2, 3, 3), groups=2),
    conv("depthwise", (2, 3, 5, 5), (3, 1, 3, 3), groups=3, padding=1),
    conv("depthwise, two outputs each", (1, 3, 4, 5), (6, 1, 2, 3), groups=3),
    conv("kernel as large as the input", (2, 3, 4, 5), (5, 3, 4, 5)),
    conv("one pixel", (1, 1, 1, 1), (1, 1, 1, 1)),
    conv("one row", (2, 3, 1, 9), (2, 3, 1, 4), stride=(1, 2)),
    conv(
        "everything at once", (2, 4, 9, 8), (6, 2, 3, 2),
        stride=(2, 3), padding=(2, 1), dilation=(1, 3), groups=2,
    ),
    conv("LeNet's second layer, smaller", (1, 6, 8, 8), (16, 6, 5, 5)),
    conv("channels past a tile", (1, 33, 3, 4), (17, 33, 3, 3), padding=1),
    conv("batch 33", (33, 1, 4, 4), (2, 1, 3, 3)),
    conv("255 outputs", (1, 1, 1, 257), (1, 1, 1, 3)),
    conv("257 outputs", (1, 1, 259, 1), (1, 1, 3, 1)),
    conv("more outputs than a block has threads", (2, 1, 18, 31), (1, 1, 3, 2)),
]  # fmt: skip

TRANSPOSED_CONVOLUTIONS = [
    transposed("1x1 kernel", (2, 3, 4, 5), (3, 2, 1, 1)),
    transposed("batch 1, no bias", (1, 2, 4, 3), (2, 3, 3, 2), bias=False),
    transposed("stride 2", (2, 2, 3, 4), (2, 3, 3, 3), stride=2),
    transposed("stride (2, 3)", (2, 2, 3, 2), (2, 2, 2, 3), stride=(2, 3)),
    transposed("stride beyond the kernel", (1, 2, 3, 2), (2, 2, 1, 2), stride=3),
    transposed("padding 1", (2, 2, 4, 5), (2, 3, 3, 3), padding=1),
    transposed("padding (0, 2)", (1, 2, 3, 4), (2, 2, 2, 4), padding=(0, 2)),
    transposed("output_padding 1", (2, 2, 3, 4), (2, 2, 3, 3), stride=2, output_padding=1),
    transposed(
        "output_padding (0, 2)", (1, 2, 3, 3), (2, 2, 2, 3),
        stride=(1, 3), padding=1, output_padding=(0, 2),
    ),
    transposed("output_padding (1, 1)", (1, 1, 3, 4), (1, 2, 2, 2), dilation=2, output_padding=1),
    transposed("dilation (2, 1)", (2, 2, 3, 4), (2, 2, 3, 2), dilation=(2, 1)),
    transposed("groups 2", (2, 4, 3, 3), (4, 3, 2, 2), groups=2),
    transposed("depthwise, two outputs each", (1, 3, 3, 4), (3, 2, 3, 3), groups=3, stride=2),
    transposed("one pixel", (1, 1, 1, 1), (1, 1, 1, 1)),
    transposed(
        "everything at once", (2, 4, 3, 4), (4, 3, 3, 2),
        stride=(2, 3), padding=(1, 2), output_padding=(1, 2), dilation=(2, 3), groups=2,
    ),
    transposed("more outputs than a block has threads", (2, 1, 9, 16), (1, 1, 3, 3), stride=2),
    transposed("channels past a tile", (1, 33, 2, 3), (33, 17, 2, 2)),
]  # fmt: skip

HANGING = (2, 3, 6, 8)  # with kernel 3 and stride 2, one more column and one more row in ceil_mode
POOLINGS = [
    *pools("halving", (2, 3, 6, 4), kernel_size=2),
    *pools("batch 1, pixels left over", (1, 2, 7, 5), kernel_size=2),
    *pools("overlap", (2, 3, 7, 9), kernel_size=3, stride=2),
    *pools("stride beyond the kernel", (2, 2, 8, 7), kernel_size=2, stride=3),
    *pools("pairs", (2, 2, 9, 8), kernel_size=(3, 2), stride=(1, 3)),
    *pools("kernel as large as the input", (2, 3, 4, 5), kernel_size=(4, 5)),
    *pools("kernel 1", (2, 2, 5, 4), kernel_size=1, stride=2),
    *pools("padding 1", (2, 2, 5, 6), kernel_size=3, stride=2, padding=1),
    *pools("padding (1, 0)", (1, 2, 5, 6), kernel_size=(2, 3), stride=1, padding=(1, 0)),
    *pools("ceil_mode", HANGING, kernel_size=3, stride=2, ceil_mode=True),
    *pools("ceil_mode by pairs", (1, 2, 7, 8), kernel_size=(2, 3), ceil_mode=True),
    *pools("ceil_mode, smaller than the window", (1, 2, 2, 5), kernel_size=3, ceil_mode=True),
    *pools(
        "ceil_mode, a window of padding dropped", (2, 1, 5, 5),
        kernel_size=2, stride=2, padding=1, ceil_mode=True,
    ),
    *pools("ceil_mode, padding", HANGING, kernel_size=3, stride=2, padding=1, ceil_mode=True),
    *pools(
        "ceil_mode, wide padding", (1, 2, 7, 6), kernel_size=4, stride=3, padding=2, ceil_mode=True
    ),
    *pools(
        "hanging windows not counted", HANGING,
        kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False,
    ),
    *pools("padding not counted", (2, 2, 5, 6), kernel_size=3, padding=1, count_include_pad=False),
    *pools("divisor_override", (2, 2, 5, 6), kernel_size=2, padding=1, divisor_override=3),
    *pools(
        "divisor_override below zero, ceil_mode", HANGING,
        kernel_size=3, stride=2, ceil_mode=True, divisor_override=-2,
    ),
    *pools("dilation 2", (2, 2, 7, 8), kernel_size=3, stride=1, dilation=2),
    *pools(
        "dilation by pairs, padding", (1, 2, 8, 9),
        kernel_size=(2, 3), stride=(2, 1), padding=1, dilation=(3, 2),
    ),
    *pools("dilation, ceil", (1, 2, 8, 7), kernel_size=2, stride=3, dilation=2, ceil_mode=True),
    *pools("more outputs than a block has threads", (1, 2, 24, 26), kernel_size=2, stride=1),
    *pools("257 outputs", (1, 1, 1, 514), kernel_size=(1, 2)),
    pool("max_pool2d", "ties", (2, 3, 7, 6), few_levels, False, kernel_size=3, stride=2),
    pool("max_pool2d", "ties, wide", (1, 2, 7, 6), few_levels, False, kernel_size=2, dilation=3),
    pool(
        "max_pool2d", "all below zero", (2, 2, 5, 6), below_zero, False,
        kernel_size=3, stride=2, padding=1, ceil_mode=True,
    ),
    pool(
        "max_pool2d", "NaN and infinities", (2, 2, 7, 6), with_nan, False,
        kernel_size=3, stride=2, padding=1,
    ),
    pool("max_pool2d", "NaN, 2 by 2", (3, 2, 6, 8), with_nan, False, kernel_size=2),
    pool("max_pool2d", "zeros of both signs", (2, 2, 6, 6), infinities, False, kernel_size=2),
    pool("max_pool2d", "-inf alone", (1, 1, 5, 4), minus_infinity, False, kernel_size=2, padding=1),
    pool("lp_pool2d", "windows of zeros", (2, 2, 8, 8), zeros, False, norm_type=2, kernel_size=2),
    pool("lp_pool2d", "random numbers", (2, 2, 5, 7), normal, norm_type=2, kernel_size=3, stride=1),
]  # fmt: skip

BLOCKS = (255, 256, 257, 1023, 1025)
ACTIVATIONS = [
    *(
        pointwise(op, f"{size} elements", (size,))
        for op in ("relu", "sigmoid", "tanh")
        for size in BLOCKS
    ),
    *(pointwise(op, "feature map", (2, 3, 5, 4)) for op in ("relu", "sigmoid", "tanh")),
    *(pointwise(op, "70,000", (7, 10000)) for op in ("relu", "sigmoid", "tanh")),
    *(pointwise(op, "infinities", (60,), infinities, False) for op in ("relu", "sigmoid", "tanh")),
    *(pointwise(op, "NaN", (2, 3, 4, 5), with_nan, False) for op in ("relu", "sigmoid", "tanh")),
    pointwise("sigmoid", "near zero", (3, 9), times(-20, positive)),
    pointwise("sigmoid", "far out", (3, 9), times(500), smooth=False),
    pointwise("tanh", "far out", (3, 9), times(500), smooth=False),
    pointwise("tanh", "near zero", (3, 9), times(1e-4)),
    pointwise("softmax", "rows", (5, 10), normal),
    pointwise("softmax", "batch 1", (1, 7), normal),
    pointwise("softmax", "one class", (3, 1), normal, smooth=False),
    pointwise("softmax", "257 rows", (257, 3), normal),
    pointwise("softmax", "513 classes", (1, 513), normal),
    pointwise("softmax", "large scores", (4, 6), times(900), smooth=False),
    pointwise("softmax", "over channels", (2, 3, 4, 5), normal),
    pointwise("softmax", "dim 0", (4, 3), normal, dim=0),
    pointwise("softmax", "dim -1", (2, 3, 4, 5), normal, dim=-1),
    pointwise("softmax", "one axis", (6,), normal, dim=0),
    dropout("rows", (5, 7)),
    dropout("feature map", (2, 3, 4, 5)),
    *(dropout(f"{size} elements", (size,)) for size in BLOCKS),
    dropout("70,000", (7, 10000)),
]

LINEAR = [
    linear("plain", (4, 5), 3),
    linear("no bias", (3, 4), 2, bias=False),
    linear("batch 1", (1, 7), 5),
    linear("one feature", (3, 1), 1),
    linear("past a tile", (33, 17), 31),
    linear("long sums", (3, 1025), 2),
    linear("257 rows", (257, 3), 2),
    linear("through ReLU", (5, 4), 6, relu=True),
    linear("through ReLU, no bias", (5, 4), 6, bias=False, relu=True),
    pointwise("flatten", "feature map", (2, 3, 4, 5), normal),
    pointwise("flatten", "batch 1", (1, 2, 7), normal),
    pointwise("flatten", "flat already", (3, 4), normal),
    pointwise("flatten", "one axis", (5,), normal),
]  # fmt: skip

REDUCTIONS = ("mean", "sum", "none")
LOSSES = [
    *(loss("cross_entropy", reduction, (5, 10), reduction=reduction) for reduction in REDUCTIONS),
    loss("cross_entropy", "batch 1", (1, 3)),
    loss("cross_entropy", "257 samples", (257, 3)),
    loss("cross_entropy", "1025 classes", (3, 1025)),
    loss("cross_entropy", "large scores", (6, 5), times(900), smooth=False),
    *(
        loss(op, f"{reduction} of {shape}", shape, reduction=reduction)
        for op in ("mse_loss", "half_squared_error")
        for reduction, shape in zip(REDUCTIONS, ((4, 5), (2, 3, 4, 5), (7,)), strict=True)
    ),
    *(
        loss(op, f"{size} elements", (size,))
        for op in ("mse_loss", "half_squared_error")
        for size in BLOCKS
    ),
    loss("mse_loss", "70,000", (7, 10000)),
    *(
        loss("binary_cross_entropy", reduction, (4, 5), probabilities, probabilities, reduction)
        for reduction in REDUCTIONS
    ),
    loss("binary_cross_entropy", "1025 elements", (1025,), probabilities, probabilities),
    loss("binary_cross_entropy", "certain", (60,), at_ends, at_ends, "none", smooth=False),
    *(
        loss("binary_cross_entropy_with_logits", name, (4, 5), normal, probabilities, name)
        for name in REDUCTIONS
    ),
    loss("binary_cross_entropy_with_logits", "1025 elements", (1025,), normal, probabilities),
    loss(
        "binary_cross_entropy_with_logits", "far out", (60,), times(900), at_ends, "none", False
    ),
]  # fmt: skip

TRAINING = [
    one_hot("ten classes", 12, 10),
    one_hot("257 rows", 257, 3),
    begin("the first step", 20, 0, 8, 8),
    begin("from the middle", 20, 1, 8, 8, width=3),
    begin("a short last batch", 20, 2, 4, 8),
    begin("one image", 1, 0, 1, 5),
    begin("more than a block", 700, 1, 300, 300, width=300),
    images("some", (9, 2, 4, 3), 4),
    images("as many as there are", (5, 1, 3, 3), 5),
    images("one", (3, 3, 2, 2), 1),
    images("more than a block", (4, 1, 20, 21), 3),
    labels("some", 9, 4),
    labels("more than a block", 300, 300),
    labels("one", 5, 1),
    metrics("plain", (7, 10)),
    metrics("ties", (40, 3), few_levels),
    metrics("NaN", (20, 4), with_nan),
    metrics("257 rows", (257, 2)),
    finite("yes", (3, 257)),
    finite("yes, though their sum is not", (60,), times(3e37, positive)),
    finite("the first is -inf", (300,), one_is(0, -np.inf)),
    finite("the last is inf", (2, 3, 5, 7), one_is(-1, np.inf)),
    finite("the last is NaN", (1025,), one_is(-1, np.nan)),
    guard("all is well", 300),
    guard("the first gradient", 300, one_is(0, np.nan)),
    guard("the last gradient", 70000, one_is(-1, -np.inf)),
    guard("the loss", 5, loss=np.inf),
    guard("loss and gradient", 257, one_is(100, np.inf), loss=np.nan),
    guard("a step before", 257, one_is(100, np.inf), already=3),
    sgd("plain", (5, 7), lr=0.1),
    sgd("nothing was wrong", (5, 7), failed_step=0, lr=0.1, momentum=0.9),
    sgd("something was wrong", (5, 7), failed_step=4, lr=0.1, momentum=0.9),
    sgd("momentum", (5, 7), lr=0.1, momentum=0.9),
    sgd("weight decay", (5, 7), lr=0.1, weight_decay=0.05),
    sgd("Nesterov", (3, 2, 3, 3), lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=True),
    *(sgd(f"{size} elements", (size,), lr=0.5, momentum=0.5) for size in BLOCKS),
    sgd("70,000", (70000,), lr=0.5, momentum=0.5),
    adam("plain", (5, 7)),
    adam("nothing was wrong", (5, 7), failed_step=0),
    adam("something was wrong", (5, 7), failed_step=9),
    adam("other rates", (5, 7), rates=(0.3, 0.1, 1.0)),
    adam("betas", (3, 2, 3, 3), betas=(0.6, 0.8)),
    adam("a large eps", (5, 7), eps=0.1),
    adam("gradients as small as eps", (5, 7), times(1e-8)),
    adam("weight decay", (5, 7), weight_decay=0.1),
    adam("weights that shrink", (5, 7), rates=(0.01, 0.5, 0.75)),
    *(adam(f"{size} elements", (size,)) for size in BLOCKS),
    adam("70,000", (70000,)),
]  # fmt: skip

CASES: list[Case] = [
    *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, *POOLINGS, *ACTIVATIONS, *LINEAR, *LOSSES, *TRAINING,
]  # fmt: skip
