from __future__ import annotations

import numpy as np
import pytest
from plotting import drawn, network, texts, unmosaic

from gpucnn import models, nn, plots
from gpucnn.errors import SettingError
from gpucnn.plots.canvas import signed_colours


def test_filters_are_the_weights_of_the_first_convolution() -> None:
    model = models.lenet5(seed=0)
    weights = model.layers["conv1"].parameters["weight"].data[:, 0]
    *planes, scale = drawn(plots.filters(model))
    greatest = float(np.abs(weights).max())
    assert len(planes) == 6
    for plane, weight in zip(planes, weights, strict=True):
        assert np.array_equal(plane, signed_colours(weight, greatest))
    assert np.array_equal(scale[0], signed_colours(np.linspace(-greatest, greatest, 64), greatest))
    assert {"Filters of conv1", "6 filters of 1x5x5", "0", "5"} <= set(texts(plots.filters(model)))


def test_colours_of_weights() -> None:
    red, white, blue, nothing = signed_colours(np.array([2.0, 0.0, -2.0, np.nan]), 2.0)
    assert red[0] > 90 > red[2]
    assert white[:3].min() > 240
    assert blue[2] > 90 > blue[0]
    assert nothing[3] == 0


def test_filters_of_many_input_channels_are_rows() -> None:
    model = models.lenet5(seed=0)
    weights = model.layers["conv2"].parameters["weight"].data
    figure = plots.filters(model, "conv2")
    *rows, _ = drawn(figure)
    assert len(rows) == 16
    colours = signed_colours(weights, float(np.abs(weights).max()))
    assert np.array_equal(unmosaic(rows[3], 2, 5, 4, gap=2), colours[3, 2])
    assert {"filter 15", "input channel"} <= set(texts(figure))


def test_filters_on_colour_images_are_colours_with_grey_for_0() -> None:
    model = models.small_cnn(3, 16, seed=0)
    weights = model.layers["conv1"].parameters["weight"].data
    weights[0] = 0
    weights[1, :, 0, 0] = [9, -9, 0]
    planes = drawn(plots.filters(model))
    assert len(planes) == 16
    assert (planes[0] == 128).all()
    assert planes[1][0, 0].tolist() == [255, 0, 128]


def test_filters_of_a_grouped_and_of_a_transposed_convolution() -> None:
    layers = {
        "a": nn.Conv2d(4, 6, (1, 3), groups=2),
        "b": nn.ConvTranspose2d(6, 4, 2, groups=2),
        "c": nn.Conv2d(4, 4, 3, groups=4),
    }
    model = network(layers, (4, 5, 7))
    assert {"0 (of 0 to 1)", "3 (of 2 to 3)", "6 filters of 2x1x3, 2 groups"} <= set(
        texts(plots.filters(model))
    )
    weights = layers["b"].parameters["weight"].data  # (6, 2, 2, 2): filter 3 is output 1 of group 1
    row = drawn(plots.filters(model, "b"))[3]
    colours = signed_colours(weights[3:, 1], float(np.abs(weights).max()))
    for channel in range(3):
        assert np.array_equal(unmosaic(row, channel, 2, 10, gap=2), colours[channel])
    # One input channel each: as for grey images.
    assert len(drawn(plots.filters(model, "c"))) == 4 + 1


def test_many_filters_are_bounded_and_it_says_so() -> None:
    model = network({"one": nn.Conv2d(1, 1000, 1), "two": nn.Conv2d(1000, 40, 1)}, (1, 4, 4))
    assert len(drawn(plots.filters(model))) == 128 + 1
    assert "1,000 filters of 1x1x1, the first 128 are shown" in texts(plots.filters(model))
    rows = drawn(plots.filters(model, "two"))
    assert len(rows) == 16 + 1
    note = "40 filters of 1,000x1x1, the first 16 filters and 16 input channels are shown"
    assert note in texts(plots.filters(model, "two"))


def test_filters_of_zeros_and_of_nan_are_drawn() -> None:
    model = network({"c": nn.Conv2d(1, 2, 3)}, (1, 4, 4))
    weights = model.layers["c"].parameters["weight"].data
    weights[:] = 0
    weights[1, 0, 0, 0] = np.nan
    first, second, _ = drawn(plots.filters(model))
    assert first[..., :3].min() > 240
    assert second[0, 0, 3] == 0


def test_layers_without_filters_are_refused() -> None:
    with pytest.raises(SettingError, match="has no convolution"):
        plots.filters(models.mlp())
    with pytest.raises(SettingError, match=r"'fc1' \(Linear\) has no filters: expected 'conv1'"):
        plots.filters(models.lenet5(), "fc1")
    with pytest.raises(SettingError, match="did you mean 'conv1'"):
        plots.filters(models.lenet5(), "conf1")
