"""Summaries: shapes, parameters, multiply-adds, and receptive fields as gradients show them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from gpucnn import models
from gpucnn.backends import get_backend
from gpucnn.nn.layers import (
    GELU,
    GRU,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dropout2d,
    Flatten,
    GroupNorm,
    Layer,
    Linear,
    Residual,
    Rows,
    Upsample,
)
from gpucnn.nn.sequential import Sequential


def test_summary_of_lenet5() -> None:
    summary = models.lenet5().summary()
    lines = [" ".join(line.split()) for line in str(summary).splitlines()]
    assert lines == [
        "layer type output parameters multiply-adds receptive field",
        "conv1 Conv2d 6x28x28 156 117,600 5x5, stride 1",
        "relu1 ReLU 6x28x28 0 0 5x5, stride 1",
        "pool1 MaxPool2d 6x14x14 0 0 6x6, stride 2",
        "conv2 Conv2d 16x10x10 2,416 240,000 14x14, stride 2",
        "relu2 ReLU 16x10x10 0 0 14x14, stride 2",
        "pool2 MaxPool2d 16x5x5 0 0 16x16, stride 4",
        "flatten Flatten 400 0 0 16x16, stride 4",
        "fc1 Linear 120 48,120 48,000 whole image",
        "relu3 ReLU 120 0 0 whole image",
        "fc2 Linear 84 10,164 10,080 whole image",
        "relu4 ReLU 84 0 0 whole image",
        "fc3 Linear 10 850 840 whole image",
        "total 61,706 416,520",
    ]
    assert repr(summary) == str(summary)
    assert max(map(len, str(summary).splitlines())) <= 80
    assert (summary.parameters, summary.multiply_adds) == (61_706, 416_520)


@pytest.mark.parametrize(
    ("layer", "multiply_adds"),
    [
        (Conv2d(4, 6, (3, 2), stride=(2, 1), groups=2), (4 * 6) * 6 * 2 * (3 * 2)),
        (ConvTranspose2d(4, 6, (3, 2), stride=(2, 1), groups=2), (9 * 7) * 4 * 3 * (3 * 2)),
    ],
    ids=str,
)
def test_multiply_adds_count_each_weight_at_each_position(layer: Layer, multiply_adds: int) -> None:
    (row,) = Sequential([layer], (4, 9, 7)).summary().rows
    assert row.multiply_adds == multiply_adds


def test_costs_of_normalised_recurrent_and_resampled_layers() -> None:
    """Counted by hand: parameters as PyTorch has them, products with weights at each position."""
    stack: list[Layer] = [
        Conv2d(1, 4, 3, bias=False),
        BatchNorm2d(4),
        Residual([Conv2d(4, 4, 3, padding=1), GroupNorm(2, 4)], Conv2d(4, 4, 1, bias=False)),
        Upsample(scale_factor=2),
        AdaptiveAvgPool2d((5, 6)),
        Concat([Conv2d(4, 2, 1), AdaptiveMaxPool2d((5, None))]),
        GELU(),
        Dropout2d(),
        Rows(),
        GRU(36, 7),
        BatchNorm1d(7),
        Linear(7, 2),
    ]
    summary = Sequential(stack, (1, 8, 9)).summary()
    costs = [(row.output_shape, row.parameters, row.multiply_adds) for row in summary.outermost]
    body = (4 * 4 * 9 + 4, 4 * 4 * 9 * 6 * 7)
    assert costs == [
        ((4, 6, 7), 4 * 9, 4 * 9 * 6 * 7),
        ((4, 6, 7), 4 + 4, 0),
        ((4, 6, 7), body[0] + (4 + 4) + 4 * 4, body[1] + 4 * 4 * 6 * 7),
        ((4, 12, 14), 0, 0),
        ((4, 5, 6), 0, 0),
        ((6, 5, 6), 4 * 2 + 2, 4 * 2 * 5 * 6),
        ((6, 5, 6), 0, 0),
        ((6, 5, 6), 0, 0),
        ((5, 36), 0, 0),
        ((7,), 3 * 7 * (36 + 7) + 2 * 3 * 7, 5 * 3 * 7 * (36 + 7)),
        ((7,), 7 + 7, 0),
        ((2,), 7 * 2 + 2, 7 * 2),
    ]
    assert summary.parameters == sum(p for _, p, _ in costs)
    assert summary.multiply_adds == sum(m for _, _, m in costs)


def test_strides_after_upsampling_and_adaptive_pooling_are_ratios_of_sizes() -> None:
    stack = [Conv2d(1, 1, 3, stride=2), Upsample((16, 32)), AdaptiveAvgPool2d((10, 8))]
    lines = str(Sequential(stack, (1, 17, 17)).summary()).splitlines()
    assert [line.split("  ")[-1] for line in lines[1:4]] == [
        "3x3, stride 2", "3x3, stride 1x0.5", "5x3, stride 1.6x2",
    ]  # fmt: skip


STACKS: dict[str, list[Layer]] = {
    "conv": [Conv2d(1, 1, (3, 5), stride=(2, 1), padding=(0, 2), dilation=(1, 2))],
    "same": [Conv2d(1, 1, (4, 3), padding="same")],
    "two convs": [Conv2d(1, 1, (3, 2), stride=(1, 2)), Conv2d(1, 1, (2, 3), dilation=(3, 1))],
    "pool": [Conv2d(1, 1, 3, padding=1), AvgPool2d((2, 3), stride=(2, 1), padding=(1, 0))],
    "transposed": [ConvTranspose2d(1, 1, (4, 3), stride=(2, 1), padding=1, dilation=(1, 2))],
    "residual": [Conv2d(1, 1, 2), Residual(Conv2d(1, 1, 5, padding=2)), Conv2d(1, 1, 2, stride=2)],
    "nested": [
        Conv2d(1, 1, 3, stride=2),
        Concat([Residual(Conv2d(1, 1, (1, 4), padding="same")), Conv2d(1, 1, 3, padding=1)]),
        Conv2d(2, 1, 2, dilation=3),
    ],
    "both": [Conv2d(1, 1, (2, 3), stride=(4, 2)), ConvTranspose2d(1, 1, (6, 3), stride=(2, 1))],
}


@pytest.mark.parametrize("name", STACKS)
def test_receptive_fields_are_where_gradients_reach(name: str) -> None:
    """With positive weights an output's gradient is not zero at the ends of its receptive field."""
    model = Sequential(STACKS[name], (1, 48, 48), backend=get_backend("numpy", "float64"))
    model.flat_parameters[...] = 1
    fields = model.summary().rows[-1].receptive_field
    assert fields is not None
    for axis, field in enumerate(fields):
        outputs = model.output_shape[1 + axis] // 2 + np.arange(5)
        ends = np.array([reach(model, axis, output) for output in outputs])
        assert (ends[:, 1] - ends[:, 0] + 1).max() == field.size
        assert ends[4, 0] - ends[0, 0] == 4 * field.stride
        # After a transposed convolution of stride 2, centres are averages over two outputs.
        centre = (ends[:2].sum() + 2) / 4
        assert centre == field.centre + outputs[:2].mean() * field.stride


def reach(model: Sequential, axis: int, output: int) -> tuple[int, int]:
    """Return the first and the last row (column) that an output in the middle depends on."""
    y, saved = model.forward(np.ones((1, *model.input_shape)), training=True)
    grad = np.zeros_like(y)
    where = [size // 2 for size in model.output_shape[1:]]
    where[axis] = output
    grad[0, 0, where[0], where[1]] = 1
    input_grad = model.backward(grad, saved, input_grad=True)
    (hit,) = np.nonzero(input_grad[0, 0].any(axis=1 - axis))
    return int(hit[0]), int(hit[-1])


def test_strides_that_differ_are_height_by_width() -> None:
    summary = Sequential([AvgPool2d((3, 2), stride=(2, 1))], (1, 9, 9)).summary()
    assert "3x2, stride 2x1" in str(summary)


def test_a_linear_layer_on_maps_sees_rows() -> None:
    """A window as wide as the row: adjacent outputs see the same pixels."""
    stack = [Conv2d(1, 2, 3), Linear(4, 5), Conv2d(2, 1, (1, 3))]
    model = Sequential(stack, (1, 6, 6))
    linear, conv = model.summary().rows[1:]
    assert linear.output_shape == (2, 4, 5)
    assert linear.multiply_adds == 2 * 4 * 4 * 5
    for row in (linear, conv):
        assert row.receptive_field is not None
        assert [field.size for field in row.receptive_field] == [3, 6]
        assert [field.stride for field in row.receptive_field] == [1, 0]


def test_a_linear_layer_sees_the_whole_image() -> None:
    model = Sequential([Conv2d(1, 2, 3), Flatten(), Linear(32, 3)], (1, 6, 6))
    fields = [row.receptive_field for row in model.summary().rows]
    assert fields[1] == fields[0]
    assert fields[2] is None


def test_a_notebook_shows_the_same_table() -> None:
    summary = models.lenet5().summary()
    rows = re.findall(r"<tr>(.*?)</tr>", summary._repr_html_())
    cells = [" ".join(re.findall(r"<t[hd]>(.*?)</t[hd]>", row)) for row in rows]
    lines = str(summary).splitlines()
    assert [" ".join(cell.split()) for cell in cells] == [" ".join(line.split()) for line in lines]
