"""Receptive fields of units, against the pixels whose change reaches them: NaN spreads to every
output that depends on a pixel, whatever the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpucnn import models
from gpucnn.errors import SettingError
from gpucnn.nn import (
    ELU,
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
    Dropout,
    Dropout2d,
    Flatten,
    GroupNorm,
    Layer,
    LayerNorm,
    Linear,
    LPPool2d,
    MaxPool2d,
    ReLU,
    Residual,
    Rows,
    SiLU,
    Softmax,
    Softplus,
    Upsample,
    receptive_field,
)
from gpucnn.nn.sequential import Sequential

HEIGHT, WIDTH = 15, 13

GAPS = {"dilated", "transposed", "down and up"}
"""Stacks whose units on the border do not depend on all pixels up to the border of their field."""

STACKS: dict[str, list[Layer]] = {
    "dilated": [Conv2d(1, 2, (3, 5), stride=(2, 1), padding=(0, 2), dilation=(1, 2))],
    "even same": [Conv2d(1, 2, (4, 2), padding="same"), ReLU(), Conv2d(2, 1, 2, padding="same")],
    "uneven padding": [Conv2d(1, 1, 3, padding=((2, 0), (1, 2))), Conv2d(1, 1, 3, stride=2)],
    "pools": [
        *(Conv2d(1, 2, 3, padding=1), MaxPool2d(2, ceil_mode=True)),
        *(AvgPool2d((2, 3), stride=(2, 1), padding=(1, 0)), LPPool2d(2, 2, 1)),
    ],
    "transposed": [ConvTranspose2d(1, 2, (4, 3), stride=(2, 1), padding=1, dilation=(1, 2))],
    "gaps": [ConvTranspose2d(1, 1, (1, 2), stride=(3, 4), output_padding=(2, 1))],
    "down and up": [
        *(Conv2d(1, 1, (2, 3), stride=(4, 2)), ConvTranspose2d(1, 1, (6, 3), stride=(3, 2))),
        Conv2d(1, 1, 3, padding=1),
    ],
    "adaptive": [
        *(Conv2d(1, 1, 3, padding=1), AdaptiveAvgPool2d((7, 6)), Conv2d(1, 1, 2)),
        AdaptiveMaxPool2d((4, None)),
    ],
    "global": [Conv2d(1, 2, 3, stride=2, padding=1), AdaptiveAvgPool2d(1), Flatten(), ReLU()],
    "upsampled": [
        *(Conv2d(1, 1, 3, stride=2), Upsample(scale_factor=2), Conv2d(1, 1, 3, padding=1)),
        Upsample((9, 17)),
    ],
    "normalised": [
        *(Conv2d(1, 2, 3, padding=1), BatchNorm2d(2), GELU(), Dropout2d()),
        *(Residual([Conv2d(2, 2, 3, padding=1), ELU()]), MaxPool2d(2), SiLU(), Softplus()),
    ],
    "branches": [
        Concat([Conv2d(1, 1, 1), [Conv2d(1, 1, 3, padding=1), AvgPool2d(3, 1, 1)]]),
        *(Upsample(scale_factor=2), Conv2d(2, 1, 3)),
    ],
    "groups": [Conv2d(1, 2, 3), GroupNorm(1, 2), Conv2d(2, 1, 3)],
    "layer of rows": [Conv2d(1, 2, (3, 1)), LayerNorm(WIDTH), Conv2d(2, 1, (2, 1))],
    "layer": [LayerNorm((1, HEIGHT, WIDTH)), Flatten(), BatchNorm1d(HEIGHT * WIDTH)],
    "recurrent": [Conv2d(1, 1, 3), Rows(), GRU(11, 23)],
    "rows": [Conv2d(1, 2, 3), Linear(11, 5), Conv2d(2, 1, (1, 3))],
    "features": [Conv2d(1, 2, 3, stride=2), ReLU(), Flatten(), Dropout(), Linear(84, 3), ReLU()],
    "probabilities": [AvgPool2d((3, 1)), Softmax(), Flatten(), Softmax()],
}


def dependence(model: Sequential) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield for each layer which outputs depend on each pixel: (H * W pixels, C, H, W) or (., F).

    Image k has NaN at pixel k, and is positive elsewhere.
    """
    x = np.ones((HEIGHT * WIDTH, 1, HEIGHT, WIDTH), np.float32)
    x.reshape(HEIGHT * WIDTH, -1)[np.diag_indices(HEIGHT * WIDTH)] = np.nan
    for name, layer in model.layers.items():
        x = layer.forward(model.backend, x)[0]
        yield name, np.isnan(model.backend.to_numpy(x))


def hull(pixels: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The smallest box around the pixels, half open; zeros if there are none."""
    rows, columns = np.nonzero(pixels.reshape(HEIGHT, WIDTH))
    if not rows.size:
        return (0, 0, 0, 0)
    return (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)


@pytest.mark.parametrize("name", STACKS)
def test_fields_are_the_pixels_that_a_unit_depends_on(name: str) -> None:
    """Within the image: where the field reaches into padding, it is cut off."""
    model = Sequential(STACKS[name], (1, HEIGHT, WIDTH))
    checked = 0
    for layer, depends in dependence(model):
        if depends.ndim == 3:  # sequences: their units have no place in an image
            continue
        units = depends[:, -1] if depends.ndim == 4 else depends[:, :, None]
        for row, column in np.ndindex(*units.shape[1:]):
            top, left, bottom, right = field = receptive_field(model, layer, row, column)
            inside = (max(top, 0), max(left, 0), min(bottom, HEIGHT), min(right, WIDTH))
            wanted = hull(units[:, row, column])
            if inside == field or name not in GAPS:
                assert inside == wanted, (layer, row, column)
                checked += wanted != (0, 0, 0, 0)
            elif wanted != (0, 0, 0, 0):
                assert inside[0] <= wanted[0] < wanted[2] <= inside[2], (layer, row, column)
                assert inside[1] <= wanted[1] < wanted[3] <= inside[3], (layer, row, column)
    assert checked > 20 or name in ("global", "recurrent")


def test_the_size_is_that_of_the_summary_also_on_the_border() -> None:
    model = models.lenet5()
    for row in model.summary().rows:
        if row.receptive_field is None:
            assert receptive_field(model, row.name, row.output_shape[0] - 1) == (0, 0, 28, 28)
            continue
        sides = [field.size for field in row.receptive_field]
        last = [size - 1 for size in row.output_shape[1:]] or [row.output_shape[0] - 1, 0]
        for unit in ((0, 0), last):
            top, left, bottom, right = receptive_field(model, row.name, *unit)
            assert [bottom - top, right - left] == sides
    assert receptive_field(model, "conv1", 27, 0) == (25, -2, 30, 3)


def test_units_without_an_input_have_no_field() -> None:
    model = Sequential([ConvTranspose2d(1, 1, 1, stride=2)], (1, 4, 4))
    assert receptive_field(model, "0", 2, 4) == (1, 2, 2, 3)
    assert receptive_field(model, "0", 2, 3) == (0, 0, 0, 0)
    assert receptive_field(model, "0", 1, 2) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        (("conv3", 0, 0), "unknown layer 'conv3': did you mean 'conv"),
        (("conv1", 28, 0), "row must be 0 to 27 in layer 'conv1', got 28"),
        (("pool1", 0, 14), "column must be 0 to 13 in layer 'pool1', got 14"),
        (("pool1", -1, 0), "row must be an integer >= 0, got -1"),
        (("pool1", 1.5, 0), "row must be an integer >= 0, got 1.5"),
        (("fc3", 10), "feature must be 0 to 9 in layer 'fc3', got 10"),
        (("fc3", 0, 1), "layer 'fc3' has features: column must be 0, got 1"),
    ],
)
def test_units_that_are_not_there_are_refused(unit: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        receptive_field(models.lenet5(), *unit)
