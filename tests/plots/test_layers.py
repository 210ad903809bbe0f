from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plotting import texts

from gpucnn import Sequential, models, nn, plots
from gpucnn.errors import DataError, SettingError
from gpucnn.nn.layers import Layer
from gpucnn.plots.canvas import as_colours, mosaic, signed_colours


def network(layers: dict[str, Layer], shape: tuple[int, int, int]) -> Sequential:
    model = Sequential(layers, shape)
    model.normalization = ((0.5,) * shape[0], (0.25,) * shape[0])
    return model


def pictures(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def drawn(figure: plots.Plot) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for image in figure.axes[0].images]


def unmosaic(image: np.ndarray, index: int, side: int, pixels: int, gap: int = 1) -> np.ndarray:
    """Return plane ``index`` of a mosaic of one row, ``side`` elements of ``pixels`` each."""
    width = side * pixels
    start = index * (width + gap)
    return image[::pixels, start : start + width : pixels]


# --- filters --------------------------------------------------------------------------------------


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


# --- feature maps ---------------------------------------------------------------------------------


def small_network(channels: int = 1) -> Sequential:
    layers = {
        "conv": nn.Conv2d(channels, 3, 3),
        "relu": nn.ReLU(),
        "drop": nn.Dropout(0.5),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(3 * 8 * 4, 4),
    }
    return network(layers, (channels, 10, 6))


def test_feature_maps_has_an_image_of_each_layer() -> None:
    model, image = small_network(), pictures((1, 10, 6))
    figure = plots.feature_maps(model, image)
    maps = model.feature_maps(image[None])
    picture, conv, relu, flat = drawn(figure)
    assert np.array_equal(picture, as_colours(image))
    greatest = float(np.abs(maps["conv"]).max())
    for channel in range(3):  # 8 x 4 outputs, each enlarged to 3 x 3 pixels
        expected = signed_colours(maps["conv"][0, channel], greatest)
        assert np.array_equal(unmosaic(conv, channel, 4, 3), expected)
    assert relu.shape == conv.shape
    assert flat.shape == (1, 96, 4)
    assert {"input", "conv", "Conv2d 3x8x4", "relu", "fc", "Linear 4", "probabilities"} <= set(
        texts(figure)
    )


def test_layers_that_change_nothing_are_not_drawn_twice() -> None:
    figure = plots.feature_maps(small_network(), pictures((1, 10, 6)))
    assert texts(figure).count("the same as above") == 1


def test_scores_and_probabilities_are_bars() -> None:
    model, image = small_network(), pictures((1, 10, 6))
    model.classes = ("$a", "b\nb", "c" * 50, "d")
    figure = plots.feature_maps(model, image)
    scores = model.feature_maps(image[None])["fc"][0]
    probabilities = model.predict(image[None])[0]
    sizes = [patch.get_height() for patch in figure.axes[0].patches]
    # A line at 0 follows the bars of each row.
    assert np.allclose(sizes[:4], 0.55 * np.abs(scores) / np.ptp([*scores, 0]), atol=1e-6)
    assert np.allclose(sizes[5:9], 0.55 * probabilities, atol=1e-6)
    assert f"{100 * probabilities.max():.1f} %" in texts(figure)
    assert {"$a", "b b", "d"} <= set(texts(figure))
    figure.render("svg")


@pytest.mark.parametrize("channels", [2, 3, 4, 7])
def test_feature_maps_of_images_of_any_number_of_channels(channels: int) -> None:
    image = pictures((channels, 10, 6))
    figure = plots.feature_maps(small_network(channels), image)
    assert np.array_equal(drawn(figure)[0], as_colours(image))


def test_several_images_are_columns() -> None:
    model, images = small_network(), pictures((3, 1, 10, 6))
    figure = plots.feature_maps(model, images)
    assert len(drawn(figure)) == 3 * 4
    left = [image.get_extent()[0] for image in figure.axes[0].images[:3]]
    assert left == sorted(left)
    assert len(set(left)) == 3
    # Grey images may come without their channel.
    without = plots.feature_maps(model, images[:, 0])
    assert all(map(np.array_equal, drawn(figure), drawn(without)))


def test_layers_of_1000_channels_and_features_are_bounded() -> None:
    layers = {
        "wide": nn.Conv2d(1, 1000, 1),
        "pool": nn.AvgPool2d(4),
        "flatten": nn.Flatten(),
        "many": nn.Linear(1000, 300),
    }
    model = network(layers, (1, 4, 4))
    figure = plots.feature_maps(model, pictures((1, 4, 4)))
    assert {"the first 68 of 1,000", "the first 512 of 1,000", "10 of 300"} <= set(texts(figure))
    assert max(image.size for image in drawn(figure)) < 2e5


def test_networks_that_end_in_maps_and_outputs_of_nan_are_drawn() -> None:
    model = network({"conv": nn.Conv2d(1, 2, 3)}, (1, 5, 5))
    assert "probabilities" not in texts(plots.feature_maps(model, pictures((5, 5))))
    model = small_network()
    model.layers["fc"].parameters["weight"].data[:] = np.nan
    figure = plots.feature_maps(model, pictures((1, 10, 6)))
    figure.render("png", dpi=30)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 10, 6)), "must be uint8"),
        (np.zeros((1, 6, 10), np.uint8), "must have shape"),
        (np.zeros((7, 1, 10, 6), np.uint8), "up to 6 images, got 7"),
    ],
)
def test_feature_maps_refuses_other_images(images: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        plots.feature_maps(small_network(), images)


def test_a_mosaic_has_its_planes_in_rows() -> None:
    planes = np.arange(1, 4, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 30, 20, 4), np.uint8
    )
    image = mosaic(planes, 2)
    assert image.shape == (61, 41, 4)
    assert (image[:30, :20] == 1).all()
    assert (image[:30, 21:] == 2).all()
    assert (image[31:, :20] == 3).all()
    assert not image[30].any()
    assert not image[31:, 20:].any()
