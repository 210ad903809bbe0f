"""as_digit: what surrounds a digit, or crosses it, does not change what is found."""

import numpy as np
import pytest
from likeness import likeness

from gpucnn.data import mnist
from gpucnn.data.images.inputs import as_digit

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("scipy")

# Digits of MNIST's test images in clear writing, and their indices.
INDICES = {1: 2, 2: 1, 4: 4, 7: 0, 8: 61, 9: 7}


@pytest.fixture(scope="module")
def originals():
    return {digit: mnist().test.images[index, 0] for digit, index in INDICES.items()}


def drawing(digit, margin=40):
    """Return the strokes of a digit of MNIST, 160 pixels high with such a margin, from 0 to 1."""
    rows, columns = (np.flatnonzero((digit > 20).any(axis=axis)) for axis in (1, 0))
    cropped = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    size = (8 * cropped.shape[1], 8 * cropped.shape[0])
    large = np.asarray(Image.fromarray(cropped).resize(size, Image.Resampling.BICUBIC)) / 255
    sharp = ((large - 0.35) / 0.3).clip(0, 1)
    rows, columns = (np.flatnonzero((sharp > 0.5).any(axis=axis)) for axis in (1, 0))
    sharp = sharp[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.pad(sharp, margin)


def lines(shape, step, width, across=True, down=False, slope=0.0):
    """Return ruled lines, from 0 to 1, ``step`` pixels apart."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    found = np.zeros(shape)
    if across:
        found[(y + slope * x) % step < width] = 1
    if down:
        found[(x - slope * y) % step < width] = 1
    return found


def grey(strokes, paper=245, ink=20):
    return np.rint(paper * (1 - strokes) + ink * strokes).astype(np.uint8)


def dark_border(strokes, sides):
    image = grey(strokes)
    for side in sides:
        {"top": image[:5], "bottom": image[-7:], "left": image[:, :6], "right": image[:, -4:]}[
            side
        ][...] = 30
    return image


def turn(image, outside):
    return Image.fromarray(image).rotate(3, Image.Resampling.BILINEAR, fillcolor=outside)


def turned_on_a_table(strokes):
    """Paper turned by three degrees, on a darker table; with a camera's noise."""
    sheet = np.pad(grey(strokes, 215, 50), 15, constant_values=90)
    turned = np.asarray(turn(sheet, 90)).astype(float)
    noisy = turned + np.random.default_rng(0).normal(0, 3, turned.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def boxed(strokes, gap=18, width=3, level=0.8):
    """A box of a form around the digit."""
    found = strokes.copy()
    low, high = 40 - gap, gap - 40
    for offset in range(width):
        found[low + offset, low:high] = found[high - offset, low:high] = level
        found[low:high, low + offset] = found[low:high, high - offset] = level
    return grey(np.maximum(found, strokes))


def in_a_row_of_boxes(strokes):
    """Two lines across the image and two between them."""
    found = strokes.copy()
    found[12:15] = found[-15:-12] = 1
    found[12:-12, 14:16] = found[12:-12, -16:-14] = 1
    return grey(found)


def on_lines(strokes, step, width, level, **directions):
    return grey(np.maximum(strokes, level * lines(strokes.shape, step, width, **directions)))


def on_a_line(strokes):
    found = strokes.copy()
    bottom = len(strokes) - 41
    found[bottom - 1 : bottom + 2] = 0.9
    return grey(found)


def open_box(strokes, sides, gap=20, width=3):
    """Some sides of a box around the digit; two that face each other do not meet others."""
    found = strokes.copy()
    low, high = gap, -gap
    for side in sides:
        {
            "top": found[low : low + width, low:high],
            "bottom": found[high - width : high, low:high],
            "left": found[low:high, low : low + width],
            "right": found[low:high, high - width : high],
        }[side][...] = 0.9
    return grey(found)


def circled(strokes):
    found = np.pad(strokes, 40)
    found = np.pad(found, [((max(found.shape) - side) // 2,) for side in found.shape])
    y, x = (
        axis - side / 2 for axis, side in zip(np.indices(found.shape), found.shape, strict=True)
    )
    found[np.abs(np.hypot(y, x) - min(found.shape) / 2 + 8) < 2] = 1
    return grey(found)


def with_holes(strokes):
    """The two holes of a sheet from a folder."""
    found = np.pad(strokes, ((0, 0), (60, 0)))
    y, x = np.indices(found.shape)
    for row in (60, 180):
        found[np.hypot(y - row, x - 30) < 12] = 1
    noise = np.random.default_rng(0).normal(0, 2, found.shape)
    return (grey(found, 235) + noise).clip(0, 255).astype(np.uint8)


CONDITIONS = {
    "dark border": lambda strokes: dark_border(strokes, ("top", "bottom", "left", "right")),
    "dark border on three sides": lambda strokes: dark_border(strokes, ("top", "bottom", "left")),
    "dark border on one side": lambda strokes: dark_border(strokes, ("left",)),
    "light border": lambda strokes: 255 - dark_border(strokes, ("top", "bottom", "left", "right")),
    "box": boxed,
    "thick box": lambda strokes: boxed(strokes, width=6, level=1),
    "row of boxes": in_a_row_of_boxes,
    "box without a top": lambda strokes: open_box(strokes, ("left", "bottom", "right")),
    "corner of a box": lambda strokes: open_box(strokes, ("left", "bottom")),
    "underlined": lambda strokes: open_box(np.pad(strokes, ((0, 0), (50, 50))), ("bottom",)),
    "circled": circled,
    "holes of a folder": with_holes,
    "ruled": lambda strokes: on_lines(strokes, 33, 3, 0.9),
    "ruled, sloping": lambda strokes: on_lines(strokes, 33, 3, 0.9, slope=0.04),
    "squared": lambda strokes: on_lines(strokes, 29, 2, 0.8, down=True),
    "squared, sloping": lambda strokes: on_lines(strokes, 29, 3, 0.8, down=True, slope=0.03),
    "ruled in grey": lambda strokes: on_lines(strokes, 25, 2, 0.4),
    "on a line": on_a_line,
    "light strokes on squared paper": lambda strokes: (
        255 - on_lines(strokes, 29, 2, 0.8, down=True)
    ),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_surrounds_or_crosses_a_digit_is_left_out(originals, condition):
    found = [
        likeness(as_digit(CONDITIONS[condition](drawing(digit))), as_digit(grey(drawing(digit))))
        for digit in originals.values()
    ]
    assert np.median(found) > 0.85
    assert min(found) > 0.6


def test_paper_on_a_table(originals):
    for digit in originals.values():
        clean = as_digit(np.asarray(turn(grey(drawing(digit)), 245)))
        assert likeness(as_digit(turned_on_a_table(drawing(digit))), clean) > 0.75


@pytest.mark.parametrize("noise", [0, 4])
@pytest.mark.parametrize("rim", [(0, 0), (0, 40), (40, 0)])
def test_strokes_may_touch_the_edge_of_the_image(originals, noise, rim):
    found = []
    for digit in originals.values():
        strokes = np.pad(drawing(digit, 0), (rim, rim))
        image = (
            grey(strokes, 220, 40) + np.random.default_rng(0).normal(0, 1, strokes.shape) * noise
        )
        found.append(
            likeness(as_digit(np.rint(image).astype(np.uint8)), as_digit(grey(drawing(digit))))
        )
    assert np.median(found) > 0.85
    assert min(found) > 0.6


def test_lines_that_are_all_there_is_are_no_digit():
    for image in (lines((200, 260), 30, 3), lines((200, 260), 30, 3, down=True)):
        with pytest.raises(ValueError, match="no digit found"):
            as_digit(grey(image))


def test_strokes_that_differ_in_hue_alone(originals):
    for digit in originals.values():
        strokes = drawing(digit)[..., None]
        image = strokes * np.array([230, 110, 120]) + (1 - strokes) * np.array([110, 170, 110])
        clean = as_digit(grey(drawing(digit)))
        assert likeness(as_digit(np.rint(image).astype(np.uint8)), clean) > 0.9
