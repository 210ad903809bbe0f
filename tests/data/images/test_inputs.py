"""Image files of every kind, and their conversion to a model's input."""

import numpy as np
import pytest

from gpucnn.data.images.inputs import (
    as_digit,
    as_input,
    is_grey,
    read_image,
    shifted,
    to_grey,
)
from gpucnn.data.images.opening import open_image, upright_size
from gpucnn.errors import DataError, SettingError

Image = pytest.importorskip("PIL.Image")

# --- read_image ---------------------------------------------------------------------------------


def read_back(tmp_path, image, name="image.png", **options):
    """Save an image, and return its pixels after checking them against the header's shape."""
    path = tmp_path / name
    image.save(path, **options)
    with open_image(path) as image:
        channels, size = 1 if is_grey(image) else 3, upright_size(image)
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (tuple(size) if channels == 1 else (*size, 3))
    return pixels


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
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
def test_every_mode(tmp_path, mode, value, expected):
    image = Image.new(mode, (3, 2), value)
    if mode == "P":
        image.putpalette([10, 20, 30])
        expected = (10, 20, 30)
    pixels = read_back(tmp_path, image)
    assert pixels.shape == ((2, 3) if isinstance(expected, int) else (2, 3, 3))
    assert (pixels == np.array(expected)).all()


def test_a_jpeg_in_cmyk_and_a_pgm_of_16_bits(tmp_path):
    pixels = read_back(tmp_path, Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "image.jpg")
    assert pixels[4, 4].argmin() == 0
    (tmp_path / "deep.pgm").write_bytes(b"P5 2 1 65535 \x12\x34\xff\x00")
    assert read_image(tmp_path / "deep.pgm").tolist() == [[0x12, 0xFF]]


@pytest.mark.parametrize(
    ("bits", "name"), [(8, "image.png"), (8, "image.tif"), (10, "image.png"), (12, "image.png")]
)
def test_fewer_bits_in_a_file_of_16(tmp_path, bits, name):
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    image = Image.fromarray(levels << (bits - 8))
    np.testing.assert_array_equal(read_back(tmp_path, image, name), levels)


def test_white_strokes_on_a_transparent_background_show_on_black(tmp_path):
    alpha = np.zeros((6, 5), np.uint8)
    alpha[2:4, 1:4] = 255
    pixels = np.full((6, 5, 4), 255, np.uint8)
    pixels[..., 3] = alpha
    image = read_back(tmp_path, Image.fromarray(pixels))
    np.testing.assert_array_equal(image, np.stack([alpha] * 3, axis=-1))


@pytest.mark.parametrize(("value", "expected"), [(-300, 0), (0x4D12, 0x4D), (1 << 20, 255)])
def test_integers_beyond_16_bits_are_clipped(tmp_path, value, expected):
    assert (read_back(tmp_path, Image.new("I", (3, 2), value), "image.tif") == expected).all()


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (3, 2), 0)
    image.putpalette([10, 20, 30])
    assert (read_back(tmp_path, image, transparency=0) == 255).all()


def test_dark_strokes_on_a_transparent_background(tmp_path):
    alpha = np.zeros((6, 5), np.uint8)
    alpha[2:4, 1:4] = 255
    pixels = np.zeros((6, 5, 4), np.uint8)
    pixels[..., 3] = alpha
    image = read_back(tmp_path, Image.fromarray(pixels))
    np.testing.assert_array_equal(image, np.stack([255 - alpha] * 3, axis=-1))


@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
def test_exif_rotates_an_image(tmp_path, name):
    image = Image.new("L", (6, 4), 0)
    image.paste(255, (0, 0, 3, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = read_back(tmp_path, image, name, exif=exif)
    assert pixels.shape == (6, 4)
    # Rotated clockwise: the left half is now the upper one.
    assert pixels[:2].min() > 240
    assert pixels[-2:].max() < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_from_5_on_swap_the_sides(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read_back(tmp_path, Image.new("L", (6, 4)), exif=exif)
    assert pixels.shape == ((6, 4) if orientation >= 5 else (4, 6))


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"no\.png cannot be read: No such file or directory"):
        read_image(tmp_path / "no.png")
    Image.new("F", (2, 2), 0.5).save(tmp_path / "f.tif")
    with pytest.raises(DataError, match=r"f\.tif has 32-bit float pixels: save it with 8 or 16"):
        read_image(tmp_path / "f.tif")


# --- as_input -----------------------------------------------------------------------------------


def test_as_input_converts_and_resizes():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(as_input(grey, 1, (3, 4)), grey[None])
    np.testing.assert_array_equal(as_input(grey, 3, (3, 4)), np.stack([grey] * 3))
    colour = np.zeros((3, 4, 3), np.uint8)
    colour[..., 1] = 200
    np.testing.assert_array_equal(as_input(colour, 3, (3, 4)), colour.transpose(2, 0, 1))
    # The weight of green in grey is 0.587.
    assert (as_input(colour, 1, (3, 4)) == 117).all()
    resized = as_input(colour, 3, (9, 5))
    assert resized.shape == (3, 9, 5)
    assert resized.flags.c_contiguous
    assert (resized[1] == 200).all()


@pytest.mark.parametrize(
    ("channels", "size", "message"),
    [
        (2, (3, 3), "the model takes 2 channels: an image has 1 or 3"),
        (1, (0, 3), "size is 0x3: both sides must be 1 or more"),
    ],
)
def test_as_input_refuses(channels, size, message):
    with pytest.raises(SettingError) as caught:
        as_input(np.zeros((3, 3), np.uint8), channels, size)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((28, 28)), r"float64 \(28, 28\)"),
        (np.zeros((4, 28, 28), np.uint8), r"uint8 \(4, 28, 28\)"),
        (np.zeros((0, 3), np.uint8), r"uint8 \(0, 3\)"),
    ],
    ids=["dtype", "channels first", "empty"],
)
def test_an_array_that_is_not_an_image(image, found):
    for convert in (as_digit, lambda image: as_input(image, 1, (28, 28))):
        with pytest.raises(DataError, match=rf"uint8 \(H, W\) or \(H, W, 3\), got {found}"):
            convert(image)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_to_a_size_that_suffices(tmp_path, orientation):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    small.resize((800, 600)).save(path, exif=exif, quality=95)
    whole = read_image(path)
    assert whole.shape == ((600, 800, 3) if orientation == 1 else (800, 600, 3))
    for at_least, factor in (((30, 30), 8), ((30, 140), 2), ((400, 10), 1)):
        reduced = read_image(path, at_least)
        assert reduced.shape == (whole.shape[0] // factor, whole.shape[1] // factor, 3)
        difference = as_input(reduced, 3, (24, 24)) - as_input(whole, 3, (24, 24)).astype(float)
        assert np.abs(difference).mean() < 1
    # Other formats cannot be decoded to a smaller size.
    small.resize((800, 600)).save(tmp_path / "photo.png")
    assert read_image(tmp_path / "photo.png", (30, 40)).shape == (600, 800, 3)


@pytest.mark.parametrize(("rows", "columns", "factor"), [(28, 28, 3), (20, 30, 7), (8, 9, 10)])
def test_an_image_enlarged_by_repeated_pixels_is_read_in_its_own_size(rows, columns, factor):
    rng = np.random.default_rng(rows)
    image = np.full((rows, columns), 240, np.uint8)
    image[2:-2, 3:-3] = rng.integers(0, 100, (rows - 4, columns - 6))
    enlarged = np.kron(image, np.ones((factor, factor), np.uint8))
    np.testing.assert_array_equal(as_digit(enlarged), as_digit(image))
    enlarged[0, 0] = 0  # one pixel that is not repeated
    assert to_grey(enlarged).shape == enlarged.shape


def test_a_drawing_of_few_edges_keeps_pixels_enough():
    """Its edges are 50 pixels apart, but a digit of 4 x 4 pixels could not be read."""
    bar = np.full((200, 200), 255, np.uint8)
    bar[50:150, 100:150] = 0
    assert to_grey(bar).shape == (8, 8)
    assert to_grey(np.full((60, 90), 7, np.uint8)).shape == (10, 15)


def test_shifts_are_by_one_pixel_to_each_side():
    digits = np.random.default_rng(0).integers(1, 256, (2, 1, 4, 5)).astype(np.uint8)
    same, up, down, left, right = shifted(digits)
    np.testing.assert_array_equal(same, digits)
    np.testing.assert_array_equal(up[:, :, :-1], digits[:, :, 1:])
    np.testing.assert_array_equal(down[:, :, 1:], digits[:, :, :-1])
    np.testing.assert_array_equal(left[..., :-1], digits[..., 1:])
    np.testing.assert_array_equal(right[..., 1:], digits[..., :-1])
    for moved, edge in (
        (up, np.s_[:, :, -1]),
        (down, np.s_[:, :, 0]),
        (left, np.s_[..., -1]),
        (right, np.s_[..., 0]),
    ):
        assert not moved[edge].any()
