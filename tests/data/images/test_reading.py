"""read_digit: whether an image shows one digit, none or several."""

import numpy as np
import pytest

from gpucnn.data import mnist

Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")
pytest.importorskip("scipy")

from gpucnn.data.images.inputs import as_digit  # noqa: E402
from gpucnn.data.images.reading import read_digit  # noqa: E402


@pytest.fixture(scope="module")
def digits():
    return mnist().test.images[:100, 0]


def enlarged(digit, side=140):
    size = (side, side)
    return np.asarray(Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC))


def drawn(draw, size=(200, 200)):
    """Return what ``draw`` draws with a pen, dark on light."""
    image = Image.new("L", size, 245)
    draw(ImageDraw.Draw(image))
    return np.asarray(image)


def letter_a(pen):
    pen.line([(50, 160), (100, 40), (150, 160)], fill=20, width=12)
    pen.line([(70, 115), (130, 115)], fill=20, width=12)


def face(pen):
    pen.ellipse((40, 40, 160, 160), outline=20, width=5)
    pen.ellipse((70, 75, 84, 89), fill=20)
    pen.ellipse((116, 75, 130, 89), fill=20)
    pen.arc((75, 85, 125, 140), 20, 160, fill=20, width=5)


def cross(pen):
    pen.line([(50, 50), (150, 150)], fill=20, width=10)
    pen.line([(150, 50), (50, 150)], fill=20, width=10)


def rules(pen):
    for row in range(15, 200, 30):
        pen.line([(0, row), (200, row)], fill=90, width=3)


def squared_paper_at_an_angle(pen):
    for start in range(-10, 210, 30):
        pen.line([(0, start + 4), (200, start - 4)], fill=60, width=3)
        pen.line([(start - 4, 0), (start + 4, 200)], fill=60, width=3)


def text(pen):
    for row in range(10, 190, 12):
        for column in range(10, 60, 8):
            pen.line([(column, row), (column + 4, row + 6)], fill=20, width=2)


def chequers(pen):
    for row in range(0, 200, 25):
        for column in range(row % 50, 200, 50):
            pen.rectangle((column, row, column + 24, row + 24), fill=20)


def test_digits_of_mnist_are_digits(digits):
    readings = [read_digit(digit) for digit in digits]
    assert sum(reading.status != "digit" for reading in readings) <= 3
    np.testing.assert_array_equal(readings[0].pixels, as_digit(digits[0]))


def test_photos_of_digits_are_digits(digits):
    noise = np.random.default_rng(0).normal(0, 4, (200, 200))
    for digit in digits[:6]:
        photo = np.pad(255 - enlarged(digit) * 0.8, 30, mode="edge") * 0.8 + noise
        assert read_digit(photo.clip(0, 255).astype(np.uint8)).status == "digit"


@pytest.mark.parametrize("inverted", [False, True])
def test_a_scan_of_eight_pixels_loses_its_wide_grey_edges(inverted):
    # A 9 cropped so that its strokes touch the edges, in 16 levels.
    rows = ["00039c20", "004fefb0", "00ae36f0", "00bd39f0", "003eeef0", "000003f0", "002617d0"]
    rows.append("003eeb30")
    levels = np.array([[int(level, 16) for level in row] for row in rows], np.uint8) * 17
    image = np.asarray(Image.fromarray(levels).resize((64, 64), Image.Resampling.BILINEAR))
    reading = read_digit(255 - image if inverted else image)
    assert reading.status == "digit"
    # With its wide grey edges, it would cover about 300 pixels.
    assert 150 < np.count_nonzero(reading.pixels) < 250


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (letter_a, "unlike MNIST's digits"),
        (cross, "unlike MNIST's digits"),
        (chequers, "unlike MNIST's digits"),
        (lambda pen: pen.ellipse((50, 50, 150, 150), fill=20), "a filled shape, not strokes"),
        (face, "an outline with shapes inside"),
        (rules, "there are only lines"),
        (squared_paper_at_an_angle, "there are only lines"),
        (text, "105 shapes, as of text or a pattern"),
        (lambda pen: None, "the image is uniform"),
    ],
    ids=["A", "cross", "chequers", "disc", "face", "ruled", "squared", "text", "white"],
)
@pytest.mark.parametrize("inverted", [False, True])
def test_what_is_no_digit(draw, reason, inverted):
    image = drawn(draw)
    reading = read_digit(255 - image if inverted else image)
    assert (reading.status, reading.reason) == ("none", reason)
    assert next(iter(reading.stages)) == "image"


@pytest.mark.parametrize("axis", [0, 1], ids=["above each other", "side by side"])
def test_several_digits(digits, axis):
    for first, second in ((0, 1), (2, 3), (4, 7), (9, 11)):
        pair = np.concatenate([enlarged(digits[first]), enlarged(digits[second])], axis=axis)
        reading = read_digit(255 - np.pad(pair, 20))
        assert reading.status == "several"
        assert "2 shapes like digits" in reading.reason


def test_several_digits_each_in_a_box_of_its_own(digits):
    boxes = [np.pad(np.pad(enlarged(digits[k]), 12), 4, constant_values=200) for k in (0, 1, 2)]
    reading = read_digit(255 - np.pad(np.concatenate([np.pad(box, 8) for box in boxes], axis=1), 9))
    assert (reading.status, reading.reason) == ("several", "3 shapes like digits")


def test_a_digit_of_two_strokes_is_one_digit():
    def four(pen):
        pen.line([(80, 40), (55, 110), (115, 108)], fill=20, width=10, joint="curve")
        pen.line([(128, 45), (124, 165)], fill=20, width=10)

    def five(pen):
        pen.line(
            [(80, 50), (70, 95), (110, 95), (125, 130), (100, 160), (60, 155)], fill=20, width=9
        )
        pen.line([(90, 48), (140, 42)], fill=20, width=9)

    for draw in (four, five):
        assert read_digit(drawn(draw)).status == "digit"


def test_without_judging_every_shape_counts():
    reading = read_digit(drawn(letter_a), judge=False)
    assert (reading.status, reading.reason) == ("digit", "")
