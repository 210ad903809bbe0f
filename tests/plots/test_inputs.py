from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from plotting import drawn, texts

from gpucnn import Sequential, models, nn, plots
from gpucnn.errors import DataError, SettingError
from gpucnn.plots.canvas import as_colours, value_colours


def lenet5() -> Sequential:
    model = models.lenet5(seed=0)
    model.normalization = ((0.13,), (0.31,))
    return model


def ramp(channels: int = 1, height: int = 28, width: int = 28) -> np.ndarray:
    """An image in which every pixel has another value than its neighbours."""
    count = channels * height * width
    return (np.arange(count) * 37 % 256).astype(np.uint8).reshape(channels, height, width)


def marks(figure: plots.Plot) -> list[Rectangle]:
    """The boxes that mark a field or a unit."""
    return [box for box in figure.axes[0].patches if box.get_linewidth() > 0]


def in_pixels(box: Rectangle, image: Any) -> tuple[int, ...]:
    """Return (top, left, bottom, right) of a box in pixels of an image of the figure."""
    left, right, _, top = image.get_extent()
    unit = (right - left) / image.get_array().shape[1]
    x, y = (box.get_x() - left) / unit, (box.get_y() - top) / unit
    sides = (y, x, y + box.get_height() / unit, x + box.get_width() / unit)
    return tuple(round(side) for side in sides)


@pytest.mark.parametrize(
    ("layer", "row", "column"), [("conv1", 0, 27), ("conv2", 4, 5), ("pool2", 4, 4), ("fc1", 17, 0)]
)
def test_receptive_field_is_a_box_on_the_input(layer: str, row: int, column: int) -> None:
    model, image = lenet5(), ramp()
    figure = plots.receptive_field(model, layer, row, column, image)
    shown, *_ = figure.axes[0].images
    assert np.array_equal(shown.get_array(), as_colours(image))
    expected = nn.receptive_field(model, layer, row, column)
    assert in_pixels(marks(figure)[0], shown) == expected
    # Where it reaches outside the image, padding is drawn under it.
    outside = min(expected) < 0 or max(expected) > 28
    assert (len(figure.axes[0].patches) - len(marks(figure)) > 0) == outside


def test_receptive_field_shows_the_unit_in_its_strongest_channel_and_what_it_sees() -> None:
    model, image = lenet5(), ramp()
    figure = plots.receptive_field(model, "conv2", 4, 5, image)
    outputs = model.feature_maps(image[None])["conv2"][0]
    channel = int(np.abs(outputs[:, 4, 5]).argmax())
    _, plane, seen = drawn(figure)
    assert np.array_equal(plane, value_colours(outputs[channel]))
    assert in_pixels(marks(figure)[1], figure.axes[0].images[1]) == (4, 5, 5, 6)
    assert np.array_equal(seen, as_colours(image)[6:20, 8:22])
    assert any(text.startswith(f"channel {channel} of 16; the unit is ") for text in texts(figure))


def test_the_strongest_response_may_be_negative() -> None:
    model = Sequential({"conv": nn.Conv2d(1, 3, 1, bias=False)}, (1, 4, 4))
    model.normalization = ((0.0,), (1.0,))
    model.layers["conv"].parameters["weight"].data[:] = np.reshape([1, -2, 0.5], (3, 1, 1, 1))
    figure = plots.receptive_field(model, "conv", 1, 1, np.full((1, 4, 4), 255, np.uint8))
    assert "channel 1 of 3; the unit is \u22122" in texts(figure)


def test_receptive_field_of_a_feature_and_without_an_image() -> None:
    figure = plots.receptive_field(lenet5(), "fc2", 83)
    assert (drawn(figure)[0] == 128).all()
    assert in_pixels(marks(figure)[1], figure.axes[0].images[1]) == (8, 3, 9, 4)  # 84 in 10 columns
    assert "Receptive field of fc2, feature 83" in texts(figure)


def test_receptive_fields_in_the_padding_only_and_much_larger_than_the_image() -> None:
    layers = {
        "far": nn.Conv2d(3, 2, 1, padding=3),
        "wide": nn.Conv2d(2, 2, 3, padding=40, dilation=40),
    }
    model = Sequential(layers, (3, 4, 6))
    model.normalization = ((0.5,) * 3, (0.25,) * 3)
    figure = plots.receptive_field(model, "far", 0, 0, ramp(3, 4, 6))
    assert "only padding" in texts(figure)
    assert len(drawn(figure)) == 2
    figure = plots.receptive_field(model, "wide", 5, 5, ramp(3, 4, 6))
    assert any("81x81 pixels" in text for text in texts(figure))
    figure.render("png", dpi=30)


def test_units_and_images_that_are_not_there_are_refused() -> None:
    model = lenet5()
    with pytest.raises(SettingError, match="did you mean 'conv1'"):
        plots.receptive_field(model, "conf1", 0, 0)
    with pytest.raises(SettingError, match="conv2"):
        plots.receptive_field(model, "conv2", 10, 0)
    with pytest.raises(DataError, match="draws one image, got 2"):
        plots.receptive_field(model, "conv2", 0, 0, np.zeros((2, 1, 28, 28), np.uint8))
    with pytest.raises(DataError, match="must have shape"):
        plots.receptive_field(model, "conv2", 0, 0, np.zeros((27, 28), np.uint8))


def corner_model() -> Sequential:
    """Two classes, whose scores are the mean of the left and of the right half of the image."""
    model = Sequential({"flatten": nn.Flatten(), "fc": nn.Linear(3 * 4 * 8, 2)}, (3, 4, 8))
    weight = np.zeros((2, 3, 4, 8), np.float32)
    weight[0, ..., :4] = weight[1, ..., 4:] = 1 / 48
    model.layers["fc"].parameters["weight"].data[:] = weight.reshape(2, -1)
    model.layers["fc"].parameters["bias"].data[:] = 0
    model.normalization = ((0.5,) * 3, (0.25,) * 3)
    model.classes = ("$left", "right\n")
    return model


def test_saliency_is_bright_where_a_class_is_decided() -> None:
    model, image = corner_model(), np.full((3, 4, 8), 255, np.uint8)
    figure = plots.saliency(model, image, 0, size=2, stride=2)
    shown, gradient, covering = (array.astype(int) for array in drawn(figure))
    assert np.array_equal(shown, as_colours(image))
    assert (gradient[:, :4, 0] > gradient[:, 4:, 0]).all()  # only the left half has a gradient
    assert (gradient[:, 4:] == gradient[0, 7]).all()
    assert (covering[:, :4, 0] > covering[:, :4, 2] + 50).all()  # red: it lowers the probability
    assert (covering[:, 4:, 2] > covering[:, 4:, 0] + 50).all()  # blue: it raises it
    assert "$left: 50.0 %" in texts(figure)


def test_saliency_of_the_predicted_class_of_several_images() -> None:
    images = np.zeros((2, 3, 4, 8), np.uint8)
    images[0, ..., :4] = images[1, ..., 4:] = 255
    figure = plots.saliency(corner_model(), images)
    assert len(drawn(figure)) == 6
    assert {"$left: 98.2 %", "right: 98.2 %"} <= set(texts(figure))
    for image in drawn(figure):
        assert image.shape == (4, 8, 3)
    one = plots.saliency(corner_model(), images, [1, 1])
    assert {"right: 1.8 %", "right: 98.2 %"} <= set(texts(one))


def test_saliency_without_any_gradient_is_drawn() -> None:
    model = corner_model()
    model.layers["fc"].parameters["weight"].data[:] = 0
    figure = plots.saliency(model, np.zeros((3, 4, 8), np.uint8))
    gradient, covering = drawn(figure)[1:]
    assert (gradient == gradient[0, 0]).all()
    assert (covering == covering[0, 0]).all()


def test_saliency_refuses_classes_and_images_that_are_not_there() -> None:
    model = corner_model()
    with pytest.raises(SettingError, match="classes must be 0 to 1"):
        plots.saliency(model, np.zeros((3, 4, 8), np.uint8), 2)
    with pytest.raises(DataError, match="up to 6 images, got 7"):
        plots.saliency(model, np.zeros((7, 3, 4, 8), np.uint8))
    with pytest.raises(DataError, match="must be uint8"):
        plots.saliency(model, np.zeros((3, 4, 8)))
