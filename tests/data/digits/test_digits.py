"""as_digit: whatever a digit is drawn on, the result looks like MNIST's digits."""

import numpy as np
import pytest
from likeness import likeness

from gpucnn.data import mnist
from gpucnn.data.images.inputs import as_digit
from gpucnn.errors import DataError, SettingError

Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")

# Strokes of digits in a square of side 1.
DIGITS = {
    "one": [[(0.5, 0.0), (0.45, 1.0)]],
    "two": [[(0.1, 0.2), (0.4, 0.0), (0.7, 0.25), (0.0, 1.0), (0.8, 1.0)]],
    "four": [[(0.4, 0.0), (0.0, 0.6), (0.8, 0.6)], [(0.6, 0.3), (0.6, 1.0)]],
    "seven": [[(0.0, 0.0), (0.7, 0.0), (0.2, 1.0)]],
    "eight": [
        [(0.3, 0.45), (0.0, 0.2), (0.3, 0.0), (0.6, 0.2), (0.3, 0.45), (0.7, 0.8), (0.3, 1.0)],
        [(0.3, 1.0), (0.0, 0.8), (0.3, 0.45)],
    ],
    "wide": [[(0.0, 0.0), (1.0, 0.2)]],
}


def draw(digit, size=(300, 300), at=(80, 70), side=150, width=14):
    """Return strokes from 0 to 1; size, corner ``at`` and side are pixels, (width, height)."""
    image = Image.new("L", size, 0)
    pen = ImageDraw.Draw(image)
    for stroke in DIGITS[digit]:
        points = [(at[0] + side * x, at[1] + side * y) for x, y in stroke]
        pen.line(points, fill=255, width=width, joint="curve")
    return np.asarray(image) / 255


def draw_large(digit):
    """Return strokes in an image so large that it is searched twice."""
    return draw(digit, (500, 400), (210, 125), 150, 13)


def render(strokes, paper=255.0, pen=0.0, light=1.0, noise=0.0):
    """Return an image of these strokes on paper, in that light, with that noise of a camera."""
    levels = (paper * (1 - strokes) + pen * strokes) * light
    levels = levels + np.random.default_rng(0).normal(0, 1, strokes.shape) * noise
    return levels.clip(0, 255).astype(np.uint8)


def slope(shape, least):
    """Return light that falls from 1 in one corner to ``least`` in the opposite one."""
    y, x = np.mgrid[0 : 1 : shape[0] * 1j, 0 : 1 : shape[1] * 1j]
    return 1 - (1 - least) * (0.6 * x + 0.4 * y)


def centre(digit):
    """Return (row, column) of the centre of mass, in pixels."""
    mass = digit.astype(np.float64)
    at = np.arange(len(digit))
    return mass.sum(1) @ at / mass.sum(), mass.sum(0) @ at / mass.sum()


def sides(digit):
    """Return height and width of the bounding box of all pixels that are not 0."""
    return [int(np.ptp(np.flatnonzero(digit.any(axis=axis)))) + 1 for axis in (1, 0)]


def check(digit, size=28):
    assert (digit.shape, digit.dtype) == ((size, size), np.uint8)
    assert abs(max(sides(digit)) - 20 * size / 28) <= 1
    for middle in centre(digit):
        assert abs(middle - size // 2) <= 0.51  # half a pixel, and the rounding to uint8
    assert digit.max() >= 250
    # Most of the background is exactly 0.
    assert np.count_nonzero(digit == 0) > 0.4 * digit.size


# --- drawings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1, 4, 14, 30])
def test_a_drawn_digit(digit, dark, width):
    levels = {"paper": 0, "pen": 255} if dark else {}
    check(as_digit(render(draw(digit, width=width), **levels)))


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize(
    ("size", "at", "side", "width"),
    [
        ((1000, 800), (650, 500), 250, 20),
        ((1000, 800), (30, 20), 60, 5),
        ((800, 1000), (100, 100), 600, 6),
        ((40, 60), (8, 10), 26, 4),
        ((14, 14), (4, 3), 8, 2),
    ],
    ids=["off centre", "small in a corner", "thin", "small image", "tiny image"],
)
def test_a_digit_anywhere_in_an_image_of_any_size(digit, size, at, side, width):
    check(as_digit(render(draw(digit, size, at, side, width))))


def test_thin_strokes_are_thickened_and_thick_ones_are_not():
    thin, mid, thick = (as_digit(render(draw("seven", width=width))) for width in (1, 12, 40))
    mass = [digit.sum() / 255 for digit in (thin, mid, thick)]
    # One pixel of 150 is 0.13 of 20: without thickening, the mass would be about 5.
    assert 30 < mass[0] < 80
    assert abs(mass[0] - mass[1]) < 0.3 * mass[1]
    assert mass[2] > 2 * mass[1]


@pytest.mark.parametrize("size", [8, 27, 56])
def test_another_size_than_mnist(size):
    check(as_digit(render(draw("two")), size), size)


def test_proportions_are_kept():
    height, width = sides(as_digit(render(draw("one", side=200, width=10))))
    assert (height, width) == (20, 2)
    height, width = sides(as_digit(render(draw("wide", side=150, width=15))))
    assert width == 20
    assert 5 <= height <= 7


def test_a_stroke_of_less_than_a_pixel_stays_visible():
    image = np.full((60, 60), 255, np.uint8)
    image[10:46, 30] = 0
    assert sides(as_digit(image, 8)) == [6, 1]


def test_a_digit_with_all_its_mass_at_one_end_is_not_cut():
    image = np.full((240, 240), 255, np.uint8)
    image[20:60, 100:140] = 0
    image[60:220, 115:125] = 170  # a pale stroke: most of the mass is in the block on top
    prepared = as_digit(image)
    assert sides(prepared)[0] == 20
    assert prepared[-1].any()


def test_colour_is_read_as_grey():
    grey = render(draw("two"))
    np.testing.assert_array_equal(as_digit(np.stack([grey] * 3, axis=-1)), as_digit(grey))
    blue = np.stack([grey, grey, np.full_like(grey, 255)], axis=-1)
    check(as_digit(blue))


# --- photos -------------------------------------------------------------------------------------


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize(
    ("paper", "pen"),
    [(220, 30), (230, 120), (150, 20), (45, 220)],
    ids=["pen", "pencil", "dim", "chalk"],
)
@pytest.mark.parametrize("least", [1.0, 0.4])
def test_a_photo_is_like_the_drawing(digit, paper, pen, least):
    strokes = draw_large(digit)
    photo = render(strokes, paper, pen, slope(strokes.shape, least), noise=5)
    prepared = as_digit(photo)
    check(prepared)
    assert likeness(prepared, as_digit(render(strokes))) > 0.85


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize("column", [150, 450, 850])
def test_a_photo_with_the_edge_of_a_shadow(digit, column):
    strokes = draw(digit, (1000, 800), (420, 250), 300, 26)
    light = np.where(np.arange(1000) < column, 1.0, 0.5)
    prepared = as_digit(render(strokes, 220, 30, light, noise=4))
    check(prepared)
    assert likeness(prepared, as_digit(render(strokes))) > 0.75


def test_specks_and_the_edge_of_the_table_are_left_out():
    strokes = draw_large("four")
    alone = render(strokes, 220, 30, noise=3)
    littered = alone.copy()
    littered[:, 470:] = 60
    for row, column in ((30, 35), (350, 150), (250, 440), (45, 350)):
        littered[row : row + 4, column : column + 4] = 40
    assert likeness(as_digit(littered), as_digit(alone)) > 0.95


# --- MNIST's own digits -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def originals():
    return mnist().test.images[:100, 0]


@pytest.mark.parametrize("inverted", [False, True])
def test_mnist_is_nearly_unchanged(originals, inverted):
    prepared = np.stack([as_digit(255 - digit if inverted else digit) for digit in originals])
    difference = np.abs(prepared.astype(int) - originals)
    assert difference.mean() < 0.1
    assert difference.mean(axis=(1, 2)).max() < 0.5
    for one, other in zip(prepared, originals, strict=True):
        np.testing.assert_allclose(centre(one), centre(other), atol=0.1)


def test_a_digit_one_pixel_short_is_moved_and_not_resampled(originals):
    digit = originals[0].copy()
    rows = np.flatnonzero(digit.any(axis=1))
    assert len(rows) == 20
    digit[rows[-1]] = 0
    prepared = as_digit(digit)
    assert sides(prepared)[0] == 19
    assert sorted(prepared[prepared > 0]) == pytest.approx(sorted(digit[digit > 0]), abs=2)


def test_a_photo_of_mnist_is_like_mnist(originals):
    found = []
    for index, digit in enumerate(originals[:16]):
        large = Image.fromarray(digit).resize((150, 150), Image.Resampling.BICUBIC)
        strokes = np.zeros((300, 400))
        strokes[100:250, 3 * index : 3 * index + 150] = np.asarray(large) / 255
        photo = render(strokes, 210, 40, slope(strokes.shape, 0.5), noise=4)
        found.append(likeness(as_digit(photo), digit))
    assert np.median(found) > 0.75
    assert min(found) > 0.4


# --- no digit -----------------------------------------------------------------------------------

UNIFORM = "the image is uniform"
NOISY = "no strokes stand out from the background"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.full((28, 28), 255, np.uint8), UNIFORM),
        (np.zeros((28, 28), np.uint8), UNIFORM),
        (np.full((500, 400), 90, np.uint8), UNIFORM),
        (np.full((1, 1), 90, np.uint8), UNIFORM),
        (render(np.zeros((300, 400)), 220, light=slope((300, 400), 0.3)), UNIFORM),
        (render(np.zeros((300, 400)), 220, noise=5), NOISY),
        (render(np.zeros((300, 400)), 220, light=slope((300, 400), 0.5), noise=5), NOISY),
    ],
    ids=["white", "black", "grey", "one pixel", "slope", "noise", "slope and noise"],
)
def test_no_digit(image, reason):
    with pytest.raises(DataError, match=f"^no digit found: {reason}$"):
        as_digit(image)


def test_a_size_too_small_for_a_digit():
    with pytest.raises(SettingError, match="size is 3: a digit needs 4 pixels or more"):
        as_digit(render(draw("two")), 3)
