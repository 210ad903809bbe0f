"""Hostile and unusual image files: refused or bounded, and the next image is read."""

from __future__ import annotations

import io
import os
import pickle
import signal
import zipfile
import zlib

import numpy as np
import pytest
from images import chunk, encoded, many_scans, png, seven
from PIL import Image

from gpucnn.data.images.preparing import Prepared
from gpucnn.errors import DataError
from gpucnn.web.decoders import Decoders
from gpucnn.web.uploads import MAX_BODY, MAX_PIXELS, Way

DIGIT = Way((1, 28, 28), "digit", None)
COLOURS = Way((3, 20, 30), "plain", ("a", "b"))


def prepare(decoders: Decoders, body: bytes, *ways: Way) -> list[Prepared]:
    assert len(body) <= MAX_BODY, "longer ones do not get here"
    return decoders.prepare(body, ways or [DIGIT])


def check_digit(decoders: Decoders) -> None:
    (found,) = prepare(decoders, seven())
    assert found.status == "digit"
    assert found.pixels is not None
    assert found.pixels.shape == (1, 28, 28)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("digit.png", seven())
    return file.getvalue()


NOT_IMAGES = {
    "text": b"hello",
    "zeros": bytes(10_000),
    "html": b"<html><script>alert(1)</script>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "pickle": pickle.dumps(print),
    "zip": zipped(),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
    "tiff": encoded(Image.new("L", (9, 9)), "TIFF"),
    "ico": encoded(Image.new("L", (16, 16)), "ICO"),
    "a damaged png": seven()[: len(seven()) // 2],
    "a damaged jpeg": encoded(Image.effect_noise((99, 99), 50), "JPEG")[:900],
    "a png without pixels": png(28, 28, b""),
    "a png of other pixels": png(28, 28, zlib.compress(bytes(10))),
    "a png of no size": png(0, 0, zlib.compress(b"")),
}


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_what_is_not_an_image_is_refused(name: str, decoders: Decoders) -> None:
    with pytest.raises(DataError, match="expected a PNG, JPEG, GIF, BMP, WEBP image"):
        prepare(decoders, NOT_IMAGES[name])
    check_digit(decoders)


@pytest.mark.parametrize(
    ("width", "height"), [(100_000, 100_000), (MAX_PIXELS // 1000 + 1, 1000), (1, 2**31 - 1)]
)
def test_too_many_pixels_are_refused_before_they_are_decoded(
    width: int, height: int, decoders: Decoders
) -> None:
    with pytest.raises(DataError, match=r"more than 16,777,216 pixels: reduce it"):
        prepare(decoders, png(width, height, zlib.compress(bytes(1000))))
    check_digit(decoders)


def test_a_bomb_of_four_gigapixels_in_a_packed_file_is_refused(decoders: Decoders) -> None:
    packed = zlib.compress(bytes(20_000_000))
    with pytest.raises(DataError, match="more than 16,777,216 pixels"):
        prepare(decoders, png(65_535, 65_535, packed))
    check_digit(decoders)


def test_a_text_that_unpacks_to_megabytes_is_refused(decoders: Decoders) -> None:
    packed = zlib.compress(bytes(20_000_000))
    text = chunk(b"zTXt", b"key\0\0" + packed)
    with pytest.raises(DataError, match="expected a PNG"):
        prepare(decoders, png(28, 28, zlib.compress(bytes(29 * 28)), text))
    check_digit(decoders)


def test_an_image_that_takes_too_long_ends_its_process_and_the_next_one_is_read() -> None:
    with Decoders([COLOURS], seconds=0.3, count=1) as decoders:
        prepare(decoders, seven(), COLOURS)
        before = decoders.processes()
        with pytest.raises(DataError, match=r"needs more than 0\.3 seconds or too much memory"):
            prepare(decoders, many_scans(2000, 1000), COLOURS)
        prepare(decoders, seven(), COLOURS)
        assert decoders.processes() != before


def test_a_process_that_was_killed_is_replaced_and_one_that_was_not_is_kept() -> None:
    with Decoders([COLOURS], seconds=0.3, count=1) as decoders:
        large = encoded(Image.new("L", (1500, 1500), 90))
        prepare(decoders, large, COLOURS)
        (process,) = decoders.processes()
        for _ in range(15):  # more processor time than one image may take
            prepare(decoders, large, COLOURS)
        assert decoders.processes() == [process]
        os.kill(process, signal.SIGKILL)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        prepare(decoders, large, COLOURS)


def test_of_an_animation_the_first_frame_is_read(decoders: Decoders) -> None:
    first, second = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (30, 20), "blue")
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"save_all": True, "append_images": [second] * 200}
        (found,) = prepare(decoders, encoded(first, kind, **options), COLOURS)
        assert found.pixels is not None
        red, green, blue = found.pixels.reshape(3, -1).mean(1)
        assert red > 240
        assert max(green, blue) < 15


def test_one_image_is_prepared_in_several_ways(decoders: Decoders) -> None:
    small = Way((1, 32, 32), "digit", tuple("0123456789"))
    first, second, third = prepare(decoders, seven(), DIGIT, COLOURS, small)
    assert [each.status for each in (first, second, third)] == ["digit", "image", "digit"]
    shapes = [np.shape(each.pixels) for each in (first, second, third)]
    assert shapes == [(1, 28, 28), (3, 20, 30), (1, 32, 32)]


def test_an_empty_image_has_no_input(decoders: Decoders) -> None:
    (found,) = prepare(decoders, encoded(Image.new("L", (280, 280), 255)))
    assert (found.status, found.pixels) == ("none", None)
    assert found.reason
