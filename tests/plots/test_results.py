from __future__ import annotations

import numpy as np
import pytest
from plotting import evaluation, many_classes, texts

from gpucnn import plots
from gpucnn.data import Split
from gpucnn.errors import DataError, SettingError

ODD = (r"$\no$", "a\nb \u56db", "x" * 60, "\x00\u202e<b>&\"'")


def colours(figure: plots.Plot) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


def test_confusion_matrix_has_the_counts_and_names() -> None:
    result = evaluation([0, 0, 0, 1], [[1, 0], [1, 0], [0, 1], [0, 1]], ["cat", "dog"])
    figure = plots.confusion_matrix(result)
    axes = figure.axes[0]
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "2", (1, 0): "1", (1, 1): "1"}  # (column, row)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert axes.get_title(loc="left") == "3 of 4 images are correct"
    # Row 1 is one image that is correct; row 0 has 2/3 and 1/3; nothing is empty.
    opacity = colours(figure)[..., 3]
    assert opacity[1, 1] == 1
    assert opacity[1, 0] == 0
    assert 1 > opacity[0, 0] > opacity[0, 1] > 0


def test_numbers_of_a_confusion_matrix_can_be_read() -> None:
    figure = plots.confusion_matrix(many_classes(10))
    cell = np.array([0, 0x5A, 0x94]) / 255
    assert len(figure.axes[0].texts) >= 10
    for text in figure.axes[0].texts:
        column, row = (int(side) for side in text.get_position())
        opacity = colours(figure)[row, column, 3]
        assert contrast(1 - opacity * (1 - cell), text.get_color()) > 4


def contrast(background: np.ndarray, colour: str) -> float:
    hexadecimal = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    light = [luminance(each) for each in (background, np.array(hexadecimal))]
    return (max(light) + 0.05) / (min(light) + 0.05)


def luminance(colour: np.ndarray) -> float:
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("count", [1, 26, 27, 130])
def test_confusion_matrix_of_few_and_many_classes(count: int) -> None:
    result = many_classes(count)
    figure = plots.confusion_matrix(result)
    assert colours(figure).shape == (count, count, 4)
    cells = np.count_nonzero(result.confusion_matrix)
    assert len(figure.axes[0].texts) == (cells if count <= 26 else 0)
    assert len(figure.axes[0].get_xticks()) == (count if count <= 60 else 26)


def test_confusion_matrix_where_one_class_is_predicted_and_another_has_no_image() -> None:
    result = evaluation([0, 1, 1], [[1, 0, 0]] * 3)
    figure = plots.confusion_matrix(result)
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "2"]
    assert not colours(figure)[2, :, 3].any()


def naive_error(labels: list[int], p: np.ndarray, bins: int) -> float:
    """The expected calibration error by a loop over bins and images."""
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [
            (row.max(), label == row.argmax())
            for row, label in zip(p.astype(np.float64), labels, strict=True)
            if low < row.max() <= high
        ]
        if inside:
            confidence = sum(sure for sure, _ in inside) / len(inside)
            accuracy = sum(correct for _, correct in inside) / len(inside)
            total += len(inside) / len(labels) * abs(confidence - accuracy)
    return total


@pytest.mark.parametrize("bins", [1, 7, 10, 15])
def test_calibration_is_that_of_plain_loops(bins: int) -> None:
    result = many_classes(5)
    found = plots.calibration(result, bins)
    expected = naive_error(result.labels.tolist(), result.probabilities, bins)
    assert found.error == pytest.approx(expected, abs=1e-12)
    assert expected > 0.001
    assert found.count.sum() == 400


def test_a_bin_contains_its_upper_limit() -> None:
    result = evaluation([0, 0, 1], [[0.5, 0.5], [1, 0], [0.75, 0.25]])
    found = plots.calibration(result, 4)
    assert found.count.tolist() == [0, 1, 1, 1]
    assert found.accuracy[1:].tolist() == [1, 0, 1]
    assert found.error == pytest.approx((0.5 + 0.75 + 0) / 3)


def test_reliability_has_a_bar_for_each_bin_with_images() -> None:
    result = evaluation([0, 0, 1], [[0.5, 0.5], [1, 0], [0.75, 0.25]])
    upper, lower = plots.reliability(result, 4).axes
    accuracy, difference = upper.containers
    assert [(bar.get_x(), bar.get_height()) for bar in accuracy] == [(0.25, 1), (0.5, 0), (0.75, 1)]
    assert [bar.get_height() for bar in difference] == [-0.5, 0.75, 0]
    assert [bar.get_height() for bar in lower.containers[0]] == [0, 1, 1, 1]
    assert upper.get_title(loc="left") == "Expected calibration error 41.7 %"


def test_scores_have_no_calibration() -> None:
    with pytest.raises(DataError, match="not probabilities"):
        plots.reliability(evaluation([0], [[0.2, 0.1]], has_probabilities=False))
    with pytest.raises(DataError, match="NaN"):
        plots.reliability(evaluation([0], [[np.nan, np.nan]]))
    with pytest.raises(SettingError, match="bins"):
        plots.reliability(many_classes(2), bins=0)


def digits(count: int, channels: int = 1, height: int = 4, width: int = 4) -> np.ndarray:
    """Images whose pixels are all their number."""
    images = np.zeros((count, channels, height, width), np.uint8)
    return images + np.arange(count, dtype=np.uint8)[:, None, None, None]


def test_misread_images_are_the_surest_first_with_their_probabilities() -> None:
    outputs = [[0.6, 0.4], [0.9, 0.1], [0.3, 0.7], [0.8, 0.2]]
    result = evaluation([1, 0, 0, 1], outputs, ["cat", "dog"])
    figure = plots.misread(result, Split(digits(4), result.labels))
    assert [int(image.get_array()[0, 0, 0]) for image in figure.axes[0].images] == [3, 2, 0]
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == [
        "Misread images",
        "3 of 4 images",
        "as cat: 80.0 %", "true dog: 20.0 %",
        "as dog: 70.0 %", "true cat: 30.0 %",
        "as cat: 60.0 %", "true dog: 40.0 %",
    ]  # fmt: skip


def test_misread_shows_as_many_as_asked_and_says_how_many_there_are() -> None:
    result = many_classes(3)
    figure = plots.misread(result, digits(400), count=5)
    assert len(figure.axes[0].images) == 5
    wrong = result.count - result.correct
    assert f"{wrong} of 400 images; the 5 surest of them" in texts(figure)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_misread_images_of_any_number_of_channels(channels: int) -> None:
    images = digits(1, channels, 3, 5)
    images[0, :, 1, 2] = 10 * np.arange(channels) + 20
    figure = plots.misread(evaluation([1], [[0.9, 0.1]]), images)
    pixels = figure.axes[0].images[0].get_array()
    assert pixels.shape == (3, 5, 3)
    mean = round(float(images[0, :, 1, 2].mean()))
    assert pixels[1, 2].tolist() == ([20, 30, 40] if channels == 3 else [mean] * 3)


def test_misread_without_a_wrong_image_says_so() -> None:
    figure = plots.misread(evaluation([0], [[0.9, 0.1]]), digits(1))
    assert not figure.axes[0].images
    assert "every image was classified correctly" in texts(figure)


def test_images_with_nan_come_last() -> None:
    figure = plots.misread(evaluation([1, 1], [[np.nan, 0.1], [0.6, 0.4]]), digits(2))
    assert [int(image.get_array()[0, 0, 0]) for image in figure.axes[0].images] == [1, 0]
    assert "as NaN" in texts(figure)


def test_misread_scores_are_numbers() -> None:
    result = evaluation([1], [[1.25, -0.5]], has_probabilities=False)
    assert {"as 0: 1.25", "true 1: -0.5"} <= set(texts(plots.misread(result, digits(1))))


def test_names_of_classes_are_drawn_as_they_are() -> None:
    result = evaluation([1, 2, 3, 0], np.eye(4), ODD)
    for figure in (plots.confusion_matrix(result), plots.misread(result, digits(4))):
        figure.render("png", dpi=30)
        written = texts(figure)
        assert any(r"$\no$" in text for text in written)
        assert any("a b \u56db" in text for text in written)
        assert any("…" in text for text in written)
        assert any("\ufffd<b>&\"'" in text for text in written)
        assert not any("\n" in text or "\x00" in text for text in written)


@pytest.mark.parametrize("names", [("four", "cats"), ("a name of more than twelve letters", "b")])
def test_texts_under_misread_images_do_not_overlap(names: tuple[str, str]) -> None:
    figure = plots.misread(evaluation([1, 0, 1], np.eye(2)[[0, 1, 0]], names), digits(3))
    below = [text for text in figure.axes[0].texts if text.get_text().startswith(("as", "true"))]
    boxes = [text.get_window_extent() for text in below]
    assert len(boxes) == 6
    for first, second in zip(boxes[:-2], boxes[2:], strict=True):
        assert first.x1 < second.x0


def test_images_must_be_those_of_the_evaluation() -> None:
    result = evaluation([1, 0], [[0.9, 0.1], [0.9, 0.1]])
    with pytest.raises(DataError, match=r"the 2 images of the evaluation, got an array of shape"):
        plots.misread(result, digits(3))
    with pytest.raises(DataError, match="must be uint8"):
        plots.misread(result, digits(2).astype(np.float32))
    with pytest.raises(SettingError, match="count must be an integer >= 1"):
        plots.misread(result, digits(2), count=0)
    with pytest.raises(SettingError, match="count is 241, expected at most 240 images"):
        plots.misread(result, digits(2), count=241)
