from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plotting import drawn, network, noise, texts, unmosaic

from gpucnn import Sequential, nn, plots
from gpucnn.errors import DataError
from gpucnn.plots.canvas import as_colours, mosaic, signed_colours, value_colours


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
    model, image = small_network(), noise((1, 10, 6))
    figure = plots.feature_maps(model, image)
    maps = model.feature_maps(image[None])
    shown, conv, relu, flat = drawn(figure)
    assert np.array_equal(shown, as_colours(image))
    greatest = float(np.abs(maps["conv"]).max())
    for channel in range(3):  # 8 x 4 outputs, each enlarged to 3 x 3 pixels
        expected = signed_colours(maps["conv"][0, channel], greatest)
        assert np.array_equal(unmosaic(conv, channel, 4, 3), expected)
    assert relu.shape == conv.shape
    assert flat.shape == (1, 96, 4)
    assert {"input", "conv", "Conv2d 3x8x4", "relu", "fc", "Linear 4", "probabilities"} <= set(
        texts(figure)
    )


def test_colours_of_outputs_with_and_without_negative_values() -> None:
    strongest, zero, positive = value_colours(np.array([-4.0, 0.0, 1.0]))
    assert np.array_equal(strongest, signed_colours(np.array(-4.0), 4.0))
    assert np.array_equal(positive, signed_colours(np.array(1.0), 4.0))
    assert zero[:3].min() > 240
    violet, yellow = value_colours(np.array([0.0, 3.0]))
    assert violet[2] > violet[1]
    assert min(yellow[:2]) > 200 > yellow[2]


def test_layers_that_change_nothing_are_not_drawn_twice() -> None:
    figure = plots.feature_maps(small_network(), noise((1, 10, 6)))
    assert texts(figure).count("the same as above") == 1


def test_scores_and_probabilities_are_bars() -> None:
    model, image = small_network(), noise((1, 10, 6))
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
    image = noise((channels, 10, 6))
    figure = plots.feature_maps(small_network(channels), image)
    assert np.array_equal(drawn(figure)[0], as_colours(image))


def test_several_images_are_columns() -> None:
    model, images = small_network(), noise((3, 1, 10, 6))
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
    figure = plots.feature_maps(model, noise((1, 4, 4)))
    assert {"the first 68 of 1,000", "the first 512 of 1,000", "10 of 300"} <= set(texts(figure))
    assert max(image.size for image in drawn(figure)) < 2e5


def test_networks_that_end_in_maps_and_outputs_of_nan_are_drawn() -> None:
    model = network({"conv": nn.Conv2d(1, 2, 3)}, (1, 5, 5))
    assert "probabilities" not in texts(plots.feature_maps(model, noise((5, 5))))
    model = small_network()
    model.layers["fc"].parameters["weight"].data[:] = np.nan
    assert "Linear 4" in texts(plots.feature_maps(model, noise((1, 10, 6))))


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
