"""Pictures for prediction: whatever a digit is drawn on, it comes out as MNIST's digits are."""

import itertools

import numpy as np
import pytest

from gpucnn.data import mnist
from gpucnn.data.images import as_digit, as_input, picture_shape, read_picture
from gpucnn.errors import DataError, SettingError

Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")

# strokes of digits in a square of side 1
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


def drawn(digit, size=(300, 300), at=(80, 70), side=150, width=14):
    """The ink of a digit, 0 to 1: size, corner ``at`` and side in pixels (width, height)."""
    image = Image.new("L", size, 0)
    pen = ImageDraw.Draw(image)
    for stroke in DIGITS[digit]:
        points = [(at[0] + side * x, at[1] + side * y) for x, y in stroke]
        pen.line(points, fill=255, width=width, joint="curve")
    return np.asarray(image) / 255


def shown(ink, paper=255.0, pen=0.0, light=1.0, noise=0.0):
    """A picture of that ink on paper, under that light, with that noise of the camera."""
    levels = (paper * (1 - ink) + pen * ink) * light
    levels = levels + np.random.default_rng(0).normal(0, 1, ink.shape) * noise
    return levels.clip(0, 255).astype(np.uint8)


def slope(shape, least):
    """Light that falls from 1 in one corner to ``least`` in the opposite one."""
    y, x = np.mgrid[0 : 1 : shape[0] * 1j, 0 : 1 : shape[1] * 1j]
    return 1 - (1 - least) * (0.6 * x + 0.4 * y)


def centre(digit):
    """(row, column) of the centre of mass, in pixels."""
    mass = digit.astype(np.float64)
    at = np.arange(len(digit))
    return mass.sum(1) @ at / mass.sum(), mass.sum(0) @ at / mass.sum()


def sides(digit):
    """Height and width of the box around all that is not 0."""
    return [int(np.ptp(np.flatnonzero(digit.any(axis=axis)))) + 1 for axis in (1, 0)]


def check(digit, size=28):
    assert (digit.shape, digit.dtype) == ((size, size), np.uint8)
    assert abs(max(sides(digit)) - 20 * size / 28) <= 1
    for middle in centre(digit):
        assert abs(middle - size // 2) <= 0.51  # the half pixel, and the rounding to uint8
    assert digit.max() >= 250
    # the ground is 0 exactly, and there is plenty of it
    assert np.count_nonzero(digit == 0) > 0.4 * digit.size


def likeness(one, other):
    """How far the ink of two digits is the same, 0 to 1, where they may be a pixel apart."""
    both = [
        (np.roll(one, shift, (0, 1)).astype(float), other.astype(float))
        for shift in itertools.product((-1, 0, 1), repeat=2)
    ]
    return max(np.minimum(*pair).sum() / np.maximum(*pair).sum() for pair in both)


# as_digit


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize("dark_ground", [False, True])
@pytest.mark.parametrize("width", [1, 4, 14, 30])
def test_a_drawn_digit(digit, dark_ground, width):
    levels = {"paper": 0, "pen": 255} if dark_ground else {}
    check(as_digit(shown(drawn(digit, width=width), **levels)))


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
    ids=["off centre", "small in a corner", "thin", "small picture", "tiny picture"],
)
def test_a_digit_anywhere_in_a_picture_of_any_size(digit, size, at, side, width):
    check(as_digit(shown(drawn(digit, size, at, side, width))))


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize(
    ("paper", "pen"),
    [(220, 30), (230, 120), (150, 20), (45, 220)],
    ids=["pen", "pencil", "dim", "chalk"],
)
@pytest.mark.parametrize("least", [1.0, 0.4])
def test_a_photo_is_like_the_drawing(digit, paper, pen, least):
    ink = drawn(digit, (1000, 800), (420, 250), 300, 26)
    photo = shown(ink, paper, pen, slope(ink.shape, least), noise=5)
    prepared = as_digit(photo)
    check(prepared)
    assert likeness(prepared, as_digit(shown(ink))) > 0.85


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize("column", [150, 450, 850])
def test_a_photo_with_the_edge_of_a_shadow(digit, column):
    ink = drawn(digit, (1000, 800), (420, 250), 300, 26)
    light = np.where(np.arange(1000) < column, 1.0, 0.5)
    prepared = as_digit(shown(ink, 220, 30, light, noise=4))
    check(prepared)
    assert likeness(prepared, as_digit(shown(ink))) > 0.75


def test_specks_and_the_edge_of_the_table_are_left_out():
    ink = drawn("four", (1000, 800), (420, 250), 300, 26)
    alone = shown(ink, 220, 30, noise=3)
    littered = alone.copy()
    littered[:, 940:] = 60
    for row, column in ((60, 70), (700, 300), (500, 880), (90, 700)):
        littered[row : row + 8, column : column + 8] = 40
    assert likeness(as_digit(littered), as_digit(alone)) > 0.95


def test_thin_strokes_are_thickened_and_thick_ones_are_not():
    thin, mid, thick = (as_digit(shown(drawn("seven", width=width))) for width in (1, 12, 40))
    mass = [digit.sum() / 255 for digit in (thin, mid, thick)]
    # a pixel of 150 is 0.13 of 20: left alone, thin would have about 5
    assert 30 < mass[0] < 80
    assert abs(mass[0] - mass[1]) < 0.3 * mass[1]
    assert mass[2] > 2 * mass[1]


@pytest.mark.parametrize("size", [8, 27, 56])
def test_another_size_than_mnist(size):
    check(as_digit(shown(drawn("two")), size), size)


def test_proportions_are_kept():
    height, width = sides(as_digit(shown(drawn("one", side=200, width=10))))
    assert (height, width) == (20, 2)
    height, width = sides(as_digit(shown(drawn("wide", side=150, width=15))))
    assert width == 20
    assert 5 <= height <= 7


def test_colour_is_read_as_grey():
    grey = shown(drawn("two"))
    np.testing.assert_array_equal(as_digit(np.stack([grey] * 3, axis=-1)), as_digit(grey))
    blue = np.stack([grey, grey, np.full_like(grey, 255)], axis=-1)
    check(as_digit(blue))


def test_mnist_comes_through_nearly_unchanged():
    digits = mnist().test.images[:200, 0]
    for turned in (digits, 255 - digits):
        prepared = np.stack([as_digit(digit) for digit in turned])
        apart = np.abs(prepared.astype(int) - digits)
        assert apart.mean() < 0.1
        assert apart.mean(axis=(1, 2)).max() < 0.5
        for one, other in zip(prepared, digits, strict=True):
            np.testing.assert_allclose(centre(one), centre(other), atol=0.1)


def test_a_digit_one_pixel_short_is_moved_and_not_blurred():
    digit = mnist().test.images[0, 0].copy()
    rows = np.flatnonzero(digit.any(axis=1))
    assert len(rows) == 20
    digit[rows[-1]] = 0
    prepared = as_digit(digit)
    assert sides(prepared)[0] == 19
    assert sorted(prepared[prepared > 0]) == pytest.approx(sorted(digit[digit > 0]), abs=2)


def test_mnist_photographed_comes_back():
    kept = []
    for index, digit in enumerate(mnist().test.images[:16, 0]):
        large = Image.fromarray(digit).resize((300, 300), Image.Resampling.BICUBIC)
        ink = np.zeros((600, 800))
        ink[200:500, 5 * index : 5 * index + 300] = np.asarray(large) / 255
        photo = shown(ink, 210, 40, slope(ink.shape, 0.5), noise=4)
        kept.append(likeness(as_digit(photo), digit))
    assert np.median(kept) > 0.75
    assert min(kept) > 0.4


@pytest.mark.parametrize(
    "picture",
    [
        np.full((28, 28), 255, np.uint8),
        np.zeros((28, 28), np.uint8),
        np.full((500, 400), 90, np.uint8),
        np.full((1, 1), 90, np.uint8),
        shown(np.zeros((300, 400)), 220, light=slope((300, 400), 0.3)),
        shown(np.zeros((300, 400)), 220, noise=5),
        shown(np.zeros((300, 400)), 220, light=slope((300, 400), 0.5), noise=5),
    ],
    ids=["white", "black", "grey", "one pixel", "slope", "noise", "slope and noise"],
)
def test_nothing_is_drawn(picture):
    with pytest.raises(DataError, match=r"^nothing is drawn: "):
        as_digit(picture)


def test_what_is_no_picture():
    for bad in (np.zeros((28, 28)), np.zeros((4, 28, 28), np.uint8), np.zeros((0, 3), np.uint8)):
        with pytest.raises(
            DataError, match=r"a picture must be uint8 \(H, W\) or \(H, W, 3\), not"
        ):
            as_digit(bad)
    with pytest.raises(SettingError, match="size is 3: a digit needs 4 pixels or more"):
        as_digit(shown(drawn("two")), 3)


# read_picture


def saved(tmp_path, image, name="p.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    shape = picture_shape(path)
    pixels = read_picture(path)
    assert pixels.dtype == np.uint8
    # the header promised what was read
    assert pixels.shape == (shape[1:] if shape[0] == 1 else (*shape[1:], 3))
    return pixels


def test_a_digit_on_a_transparent_ground(tmp_path):
    ink = drawn("two")
    pixels = np.zeros((*ink.shape, 4), np.uint8)
    pixels[..., 3] = ink * 255
    picture = saved(tmp_path, Image.fromarray(pixels))
    np.testing.assert_array_equal(picture[..., 0], shown(ink))
    check(as_digit(picture))


@pytest.mark.parametrize(
    ("mode", "value", "wanted"),
    [
        ("1", 1, 255),
        ("L", 77, 77),
        ("LA", (100, 255), 100),
        ("LA", (100, 0), 255),
        ("LA", (0, 128), 127),
        ("I;16", 0x4D12, 0x4D),
        ("P", 0, None),
        ("RGB", (9, 8, 7), (9, 8, 7)),
        ("RGBA", (9, 8, 7, 255), (9, 8, 7)),
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
    ],
)
def test_every_mode(tmp_path, mode, value, wanted):
    image = Image.new(mode, (3, 2), value)
    if mode == "P":
        image.putpalette([10, 20, 30])
        wanted = (10, 20, 30)
    pixels = saved(tmp_path, image)
    assert pixels.shape == ((2, 3) if isinstance(wanted, int) else (2, 3, 3))
    assert (pixels == np.array(wanted)).all()


def test_a_jpeg_in_cmyk_and_a_pgm_of_16_bits(tmp_path):
    pixels = saved(tmp_path, Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "p.jpg")
    assert pixels[4, 4].argmin() == 0
    (tmp_path / "deep.pgm").write_bytes(b"P5 2 1 65535 \x12\x34\xff\x00")
    assert read_picture(tmp_path / "deep.pgm").tolist() == [[0x12, 0xFF]]


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (3, 2), 0)
    image.putpalette([10, 20, 30])
    assert (saved(tmp_path, image, transparency=0) == 255).all()


def test_exif_turns_a_picture(tmp_path):
    image = Image.new("L", (6, 4), 0)
    image.paste(255, (0, 0, 3, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("p.png", "p.jpg"):
        pixels = saved(tmp_path, image, name, exif=exif)
        assert pixels.shape == (6, 4)
        # turned clockwise: what was on the left is on top
        assert pixels[:2].min() > 240
        assert pixels[-2:].max() < 15


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"no\.png cannot be read: No such file or directory"):
        read_picture(tmp_path / "no.png")
    Image.new("F", (2, 2), 0.5).save(tmp_path / "f.tif")
    with pytest.raises(DataError, match=r"f\.tif has pixels of 32-bit floats"):
        read_picture(tmp_path / "f.tif")


# as_input


def test_as_input_converts_and_resizes():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(as_input(grey, 1, (3, 4)), grey[None])
    np.testing.assert_array_equal(as_input(grey, 3, (3, 4)), np.stack([grey] * 3))
    colour = np.zeros((3, 4, 3), np.uint8)
    colour[..., 1] = 200
    np.testing.assert_array_equal(as_input(colour, 3, (3, 4)), colour.transpose(2, 0, 1))
    # green weighs 0.587 in grey
    assert (as_input(colour, 1, (3, 4)) == 117).all()
    resized = as_input(colour, 3, (9, 5))
    assert resized.shape == (3, 9, 5)
    assert resized.flags.c_contiguous
    assert (resized[1] == 200).all()


@pytest.mark.parametrize(
    ("channels", "size", "message"),
    [
        (2, (3, 3), "the model takes 2 channels: a picture has 1 or 3"),
        (1, (0, 3), "size is 0x3: both sides must be 1 or more"),
    ],
)
def test_as_input_refuses(channels, size, message):
    with pytest.raises(SettingError) as caught:
        as_input(np.zeros((3, 3), np.uint8), channels, size)
    assert str(caught.value) == message
