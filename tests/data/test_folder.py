"""Folders of images: classes, splits, modes and sizes, and the message for every fault."""

import sys
import warnings

import numpy as np
import pytest

from gpucnn.data import load
from gpucnn.errors import DataError, SettingError

Image = pytest.importorskip("PIL.Image")


def draw(path, value=0, size=(6, 5), mode="L", **options):
    """Write an image of one colour; ``size`` is (width, height), as in Pillow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)
    return path


def write_set(folder, counts, start=0):
    """Write images in sub-folders: the n-th of all has the grey level n, to identify it."""
    value = start
    for name, count in counts.items():
        for index in range(count):
            draw(folder / name / f"{index:03}.png", value)
            value += 1
    return folder


def greys(split):
    return split.images[:, 0, 0, 0].tolist()


def refusal(path, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path), "DIR")


def test_train_and_test_as_given(tmp_path):
    write_set(tmp_path / "pets/train", {"dog": 3, "cat": 2})
    write_set(tmp_path / "pets/test", {"dog": 1, "cat": 2}, start=100)
    data = load(tmp_path / "pets")
    assert (data.name, data.classes, data.input_shape) == ("pets", ("cat", "dog"), (1, 5, 6))
    pairs = zip(greys(data.train), data.train.labels.tolist(), strict=True)
    assert sorted(pairs) == [(0, 1), (1, 1), (2, 1), (3, 0), (4, 0)]
    assert greys(data.test) == [101, 102, 100]
    assert data.test.labels.tolist() == [0, 0, 1]


def test_the_first_training_images_are_of_every_class(tmp_path):
    write_set(tmp_path, {"a": 50, "b": 50})
    first = load(tmp_path).limit(20)
    assert set(first.train.labels.tolist()) == {0, 1}
    again = load(tmp_path).limit(20)
    assert first.fingerprint() == again.fingerprint()


def test_a_fifth_of_each_class_is_drawn_for_testing(tmp_path):
    write_set(tmp_path, {"a": 20, "b": 9, "c": 2, "d": 1})
    data = load(tmp_path)
    assert np.bincount(data.train.labels).tolist() == [16, 8, 1, 1]
    assert np.bincount(data.test.labels).tolist() == [4, 1, 1]
    assert sorted(greys(data.train) + greys(data.test)) == list(range(32))


def test_the_drawn_split_is_a_function_of_names_and_seed(tmp_path):
    one = write_set(tmp_path / "one", {"a": 40, "b": 40})
    two = write_set(tmp_path / "two", {"b": 40, "a": 40}, start=80)
    drawn = [
        [index % 40 for index in sorted(greys(load(folder, seed=seed).test))]
        for folder, seed in ((one, 0), (one, 0), (two, 0), (one, 1))
    ]
    assert drawn[0] == drawn[1]
    # the same names with other pixels: b's are first in the second folder
    assert drawn[0] == drawn[2][8:] + drawn[2][:8]
    assert drawn[0] != drawn[3]
    # each class has a draw of its own
    assert drawn[0][:8] != drawn[0][8:]


def test_hidden_files_and_other_suffixes_are_skipped(tmp_path):
    write_set(tmp_path, {"a": 5, "b": 5})
    for name in (".DS_Store", "a/.hidden.png", "a/notes.txt", "readme.md"):
        (tmp_path / name).write_text("not an image")
    (tmp_path / ".git").mkdir()
    draw(tmp_path / "b/UPPER.PNG", 99)
    data = load(tmp_path)
    assert sorted(greys(data.train) + greys(data.test)) == [*range(10), 99]


def test_every_suffix(tmp_path):
    suffixes = "png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp", "pgm", "ppm", "pnm"
    for index, suffix in enumerate(suffixes):
        mode = "RGB" if suffix in ("ppm", "webp") else "L"
        draw(tmp_path / f"a/{index}.{suffix}", 64 if mode == "L" else (64, 64, 64), mode=mode)
    draw(tmp_path / "a/bits.pbm", 1, mode="1")
    data = load(tmp_path)
    found = sorted(greys(data.train) + greys(data.test))
    # .gif has a palette and .webp no grey mode, so all are read in colour.
    assert data.channels == 3
    np.testing.assert_allclose(found, [64] * 11 + [255], atol=2)


def test_one_image_in_colour_makes_all_colour(tmp_path):
    write_set(tmp_path, {"a": 5, "b": 5})
    assert load(tmp_path).channels == 1
    draw(tmp_path / "a/red.png", (200, 10, 20), mode="RGB")
    data = load(tmp_path)
    assert data.channels == 3
    pixels = {tuple(image[:, 0, 0].tolist()) for image in (*data.train.images, *data.test.images)}
    assert pixels == {(200, 10, 20), *((grey, grey, grey) for grey in range(10))}


def test_images_of_different_sizes(tmp_path):
    write_set(tmp_path / "train", {"a": 2, "b": 2})
    write_set(tmp_path / "test", {"a": 1, "b": 0}, start=4)
    draw(tmp_path / "test/b/odd.png", size=(7, 9))
    assert refusal(tmp_path) == (
        "DIR/train/a/000.png is 5x6 pixels (height x width), but DIR/test/b/odd.png is 9x7:"
        " scale all to one size with resize=(H, W) or --resize HxW"
    )
    data = load(tmp_path, resize=(8, 4))
    assert data.input_shape == (1, 8, 4)
    # Uniform images keep their grey level.
    assert sorted(greys(data.train) + greys(data.test)) == [0, 0, 1, 2, 3, 4]


def test_resizing_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 200
    for index in range(2):
        draw(tmp_path / f"a/{index}.png")
        Image.fromarray(stripes).save(tmp_path / f"a/{index}.png")
    data = load(tmp_path, resize=(8, 8))
    np.testing.assert_allclose(data.train.images[:, :, :, 1:-1], 100, atol=3)


def test_an_image_rotated_by_exif(tmp_path):
    draw(tmp_path / "a/upright.jpg", size=(6, 5))
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(tmp_path / "a/turned.jpg", size=(5, 6), exif=exif)
    assert load(tmp_path).size == (5, 6)


@pytest.mark.parametrize("side", [10**9, 10**10])
def test_images_that_do_not_fit_in_memory(tmp_path, side):
    write_set(tmp_path, {"a": 2})
    assert refusal(tmp_path, resize=(side, side)) == (
        f"1x1x{side}x{side} bytes of pixels do not fit in memory: choose a smaller size with"
        " resize=(H, W) or --resize HxW"
    )


@pytest.mark.parametrize("resize", [(0, 5), (5, -1)])
def test_a_bad_resize(tmp_path, resize):
    write_set(tmp_path, {"a": 2})
    assert refusal(tmp_path, SettingError, resize=resize) == (
        f"resize is {resize[0]}x{resize[1]}: both sides must be 1 or more"
    )


def test_classes_that_differ(tmp_path):
    write_set(tmp_path / "train", {"a": 1, "b": 1})
    write_set(tmp_path / "test", {"a": 1, "c": 1})
    assert refusal(tmp_path) == (
        "DIR/train lacks the classes c of DIR/test: both need the same sub-folders"
    )
    write_set(tmp_path / "train", {"c": 1})
    assert refusal(tmp_path) == (
        "DIR/test lacks the classes b of DIR/train: both need the same sub-folders"
    )


def test_an_empty_class(tmp_path):
    write_set(tmp_path, {"a": 2})
    (tmp_path / "b").mkdir()
    (tmp_path / "b/notes.txt").write_text("nothing to see")
    assert refusal(tmp_path) == (
        "DIR/b holds no images: every folder next to it is a class;"
        " expected CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE"
    )


def test_train_without_test(tmp_path):
    write_set(tmp_path / "train", {"a": 2, "b": 2})
    assert refusal(tmp_path).startswith("DIR/train holds no images (but folders: a, b): ")


@pytest.mark.parametrize("name", ["readme.md", "image.png"])
def test_no_classes(tmp_path, name):
    (tmp_path / name).write_text("nothing")
    assert refusal(tmp_path) == (
        "DIR is not a data set: it holds neither IDX files nor a folder for each class"
    )


def test_one_image_in_each_class(tmp_path):
    write_set(tmp_path, {"a": 1, "b": 1})
    assert refusal(tmp_path) == ("DIR has one image in each class: add more, some are for testing")


@pytest.mark.parametrize("kept", [0, 10, 200])
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_a_damaged_image(tmp_path, kept, suffix):
    write_set(tmp_path, {"a": 4})
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    broken = tmp_path / f"a/x.{suffix}"
    Image.fromarray(noise).save(broken)
    broken.write_bytes(broken.read_bytes()[:kept])
    assert refusal(tmp_path, resize=(5, 6)).startswith(f"DIR/a/x.{suffix} ")


def test_text_in_a_file_named_as_an_image(tmp_path):
    write_set(tmp_path, {"a": 4})
    (tmp_path / "a/x.png").write_text("<html>")
    assert refusal(tmp_path) == "DIR/a/x.png is not an image, or is damaged"


def test_a_folder_named_as_an_image(tmp_path):
    write_set(tmp_path, {"a": 4})
    (tmp_path / "a/x.png").mkdir()
    assert refusal(tmp_path) == "DIR/a/x.png cannot be read: Is a directory"


@pytest.mark.parametrize("factor", [1, 3])
def test_an_image_of_too_many_pixels(tmp_path, monkeypatch, factor):
    write_set(tmp_path, {"a": 4})
    draw(tmp_path / "a/x.png", size=(60 * factor, 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert refusal(tmp_path) == "DIR/a/x.png has more than 2000 pixels"
    # The warning filters of the caller are unchanged.
    with pytest.warns(UserWarning, match="still heard"):
        warnings.warn("still heard", stacklevel=1)


def test_an_unreadable_folder(tmp_path, monkeypatch):
    from pathlib import Path

    write_set(tmp_path, {"a": 4})
    listed = Path.iterdir

    def refuse(path):
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert refusal(tmp_path) == "DIR/a cannot be read: Permission denied"


def test_a_folder_whose_entries_cannot_be_examined(tmp_path, monkeypatch):
    write_set(tmp_path, {"a": 4})

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.is_dir", refuse)
        assert refusal(tmp_path) == "DIR cannot be read: Permission denied"


def test_without_pillow(tmp_path, monkeypatch):
    write_set(tmp_path, {"a": 2})
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert refusal(tmp_path, SettingError) == (
        "reading images needs Pillow: pip install 'gpucnn[images]'"
    )
