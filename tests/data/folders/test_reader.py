"""Folders of images: classes, splits, modes and sizes, and the message for every fault."""

import os
import socket
import sys
import threading
import unicodedata
import warnings

import numpy as np
import pytest

from gpucnn.data import load
from gpucnn.data.folders import decoding, parallel
from gpucnn.errors import DataError, DataWarning, SettingError

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


def note(path, **options):
    """Load a data set that warns once; return it and the warning."""
    with pytest.warns(DataWarning) as caught:
        data = load(path, **options)
    assert [str(warning.message) for warning in caught] == list(data.notes)
    (message,) = data.notes
    assert "\n" not in message
    return data, message.replace(str(path), "DIR")


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


def test_a_fifth_is_for_testing_and_every_class_is_on_both_sides(tmp_path):
    write_set(tmp_path, {"a": 100, "b": 100, "c": 2, "d": 2, "e": 3, "f": 1})
    data = load(tmp_path)
    train, test = (np.bincount(split.labels, minlength=6) for split in (data.train, data.test))
    assert (train + test).tolist() == [100, 100, 2, 2, 3, 1]
    assert (train > 0).all()
    assert (test[:5] > 0).all()
    assert 25 <= test[:2].sum() <= 55
    assert sorted(greys(data.train) + greys(data.test)) == list(range(208))


def test_an_image_stays_on_its_side(tmp_path):
    """Whatever is added, removed or renamed, and whichever class it is in."""
    folder = write_set(tmp_path / "set", {"a": 40, "b": 40})
    before = load(folder)
    write_set(folder, {"c": 30}, start=100)
    for value in range(130, 170):
        draw(folder / f"a/{value - 100:03}-more.png", value)
    for value in (1, 7, 12, 45, 66):
        (folder / f"{'ab'[value // 40]}/{value % 40:03}.png").unlink()
    (folder / "a/002.png").rename(folder / "a/zzz.png")
    (folder / "a/003.png").rename(folder / "c/000000.png")
    (folder / "b").rename(folder / "renamed")
    after = load(folder)
    removed = {1, 7, 12, 45, 66}
    assert set(greys(before.train)) - removed < set(greys(after.train))
    assert set(greys(before.test)) - removed < set(greys(after.test))
    assert len(after.train) + len(after.test) == 145


def test_the_drawn_split_is_a_function_of_content_and_seed(tmp_path):
    one = write_set(tmp_path / "one", {"a": 40, "b": 40})
    two = write_set(tmp_path / "two", {"z": 80})
    tests = [
        set(greys(load(folder, seed=seed).test))
        for folder, seed in ((one, 0), (one, 0), (two, 0), (one, 1))
    ]
    assert tests[0] == tests[1] == tests[2]
    assert tests[0] != tests[3]
    with pytest.raises(SettingError, match="seed"):
        load(one, seed=-1)


def test_identical_files_are_on_one_side(tmp_path):
    for name in ("set/a", "set/a/x", "set/a/y", "set/b"):
        write_set(tmp_path, {name: 30})
    data, _ = note(tmp_path / "set")
    train, test = set(greys(data.train)), set(greys(data.test))
    assert train | test == set(range(30))
    assert not train & test
    for name in "xy":
        write_set(tmp_path / "same", {name: 1})
        draw(tmp_path / f"same/{name}/copy.png", 0)
    assert refusal(tmp_path / "same") == (
        "DIR has one different image in each class: add more, some are for testing"
    )


def test_what_is_not_an_image_is_counted(tmp_path):
    write_set(tmp_path, {"a": 5, "b": 5})
    hidden = ".DS_Store", "a/.hidden.png", "a/notes.txt", "readme.md", "b/Thumbs.db"
    for name in hidden:
        (tmp_path / name).write_text("not an image")
    (tmp_path / ".git").mkdir()
    draw(tmp_path / "__MACOSX/a/._x.png")
    draw(tmp_path / "b/UPPER.PNG", 99)
    data, message = note(tmp_path)
    assert sorted(greys(data.train) + greys(data.test)) == [*range(10), 99]
    assert message == "DIR: 7 files were skipped: not images"


def test_images_are_recognised_by_their_content(tmp_path):
    """With the suffix of another format, of none, or without a suffix."""
    names = "photo.jfif", "scan", "drawing.txt", "wrong.png", "x.data"
    formats = "JPEG", "PNG", "GIF", "JPEG", "TIFF"
    for index, (name, kind) in enumerate(zip(names, formats, strict=True)):
        draw(tmp_path / f"a/{name}", 50 * index, size=(16, 16), format=kind)
        draw(tmp_path / f"b/{name}", 50 * index + 20, size=(16, 16), format=kind)
    data = load(tmp_path)
    found = sorted(greys(data.train) + greys(data.test))
    np.testing.assert_allclose(found, sorted([*range(0, 250, 50), *range(20, 250, 50)]), atol=2)


def test_sub_folders_of_a_class_belong_to_it(tmp_path):
    write_set(tmp_path, {"a": 5, "b/deep/er": 5, "b/x.png": 1})
    data, message = note(tmp_path)
    assert data.classes == ("a", "b")
    assert sorted(greys(data.train) + greys(data.test)) == list(range(11))
    assert np.bincount([*data.train.labels, *data.test.labels]).tolist() == [5, 6]
    assert message == (
        "DIR: 6 images in sub-folders of a class belong to that class, for example"
        " b/deep/er/000.png"
    )
    (tmp_path / "b/deep/loop").symlink_to(tmp_path / "b")
    with pytest.warns(DataWarning) as caught:
        assert len(load(tmp_path).train) == len(data.train)
    assert "b/deep/loop is a link to a folder that it is in" in str(caught[1].message)


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_a_validation_folder_next_to_train_and_test(tmp_path, name):
    write_set(tmp_path / "train", {"a": 3, "b": 3})
    write_set(tmp_path / "test", {"a": 1, "b": 1}, start=50)
    write_set(tmp_path / name, {"a": 2, "b": 1}, start=100)
    data, message = note(tmp_path)
    assert message == f"DIR/{name} holds the validation images"
    assert (greys(data.validation), data.validation.labels.tolist()) == ([100, 101, 102], [0, 0, 1])
    assert greys(data.test) == [50, 51]
    assert sorted(greys(data.train)) == list(range(6))


def test_train_and_val_without_test(tmp_path):
    write_set(tmp_path / "train", {"a": 3, "b": 3})
    write_set(tmp_path / "val", {"a": 2, "b": 1}, start=100)
    data, message = note(tmp_path)
    assert message == "DIR/val holds the test images, as there is no test/"
    assert data.validation is None
    assert greys(data.test) == [100, 101, 102]


def test_what_lies_outside_the_splits_and_classes_is_named(tmp_path):
    for part in ("Training", "Testing"):
        write_set(tmp_path / part, {"a": 2, "b": 2})
    write_set(tmp_path / "unlabelled", {"x": 1})
    draw(tmp_path / "Training/stray.png")
    (tmp_path / "labels.csv").write_text("a,b")
    data, message = note(tmp_path)
    assert (len(data.train), len(data.test)) == (4, 4)
    assert message == (
        "DIR: 2 files were not read: unlabelled is outside train/, test/ and val/;"
        " Training/stray.png is outside the folders of the classes; 1 other file was skipped:"
        " not images"
    )


def test_a_class_named_train(tmp_path):
    write_set(tmp_path, {"train": 4, "bus": 4})
    assert load(tmp_path).classes == ("bus", "train")


def test_a_folder_around_the_data_set(tmp_path):
    write_set(tmp_path / "archive", {"a": 4, "b": 4})
    assert (
        refusal(tmp_path) == "DIR holds one folder, archive, which holds 2 (a, b): give DIR/archive"
    )


def test_names_of_classes_in_two_unicode_forms(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    write_set(tmp_path / "set/train", {composed: 2, "tea": 2})
    write_set(tmp_path / "set/test", {decomposed: 1, "tea": 1}, start=10)
    data = load(tmp_path / "set")
    assert data.classes == (composed, "tea")
    assert greys(data.test) == [10, 11]
    write_set(tmp_path / "set/test", {composed: 1}, start=20)
    message = refusal(tmp_path / "set")
    assert "have the same name in two Unicode forms" in message
    assert r"'cafe\u0301'" in message
    assert r"'caf\xe9'" in message


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


@pytest.mark.parametrize(
    ("high", "expected", "message"),
    [
        (255, [3, 80, 200, 255], "below 256, so they are read as 8-bit"),
        (4000, [0, 5, 200, 250], "below 4,096, so they are read as 12-bit"),
        (40_000, [0, 0, 156, 200], None),
    ],
)
def test_files_of_16_bits_are_scaled_alike(tmp_path, high, expected, message):
    """Else dark images would be as bright as the others."""
    for part, values in (("train", (3, 200)), ("test", (80, high))):
        for name, value in zip("ab", values, strict=True):
            (tmp_path / part / name).mkdir(parents=True)
            kind = np.uint8 if value == 200 else np.uint16
            Image.fromarray(np.full((5, 6), value, kind)).save(tmp_path / part / name / "x.png")
    if message:
        data, found = note(tmp_path)
        assert found == f"DIR: the values of all 16-bit files are {message}"
    else:
        data = load(tmp_path)
    assert sorted(greys(data.train) + greys(data.test)) == expected


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
        Image.fromarray(stripes[index:]).save(tmp_path / f"a/{index}.png")
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
        f"2x1x{side}x{side} bytes of pixels do not fit in memory: choose a smaller size with"
        " resize=(H, W) or --resize HxW, or pack them: gpucnn pack SOURCE FOLDER"
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
    assert refusal(tmp_path) == (
        "DIR holds train/ but no test/ or val/: give DIR/train itself, then a fifth of it is held"
        " out for testing"
    )


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
def test_a_damaged_image_is_named(tmp_path, kept, suffix):
    write_set(tmp_path, {"a": 4})
    noise = np.random.default_rng(0).integers(0, 256, (5, 600), dtype=np.uint8)
    broken = tmp_path / f"a/x.{suffix}"
    Image.fromarray(noise).resize((6, 5)).save(broken)
    Image.fromarray(noise).save(broken)
    broken.write_bytes(broken.read_bytes()[:kept])
    data, message = note(tmp_path, resize=(5, 6))
    assert sorted(greys(data.train) + greys(data.test)) == list(range(4))
    assert message.startswith(f"DIR: 1 file was not read: a/x.{suffix} ")


def test_damaged_images_among_many(tmp_path):
    """The others keep their places, and the splits are those without them."""
    write_set(tmp_path, {"a": 40, "b": 40})
    kept = load(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (5, 600), dtype=np.uint8)
    for index in range(5):
        path = tmp_path / f"{'ab'[index % 2]}/{index:03}-broken.png"
        Image.fromarray(noise).crop((0, 0, 6, 5)).save(path)
        path.write_bytes(path.read_bytes()[: -30 - index])
    data, message = note(tmp_path)
    for one, other in ((data.train, kept.train), (data.test, kept.test)):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
    assert message.startswith("DIR: 5 files were not read: a/000-broken.png cannot be read: ")
    assert message.endswith("; 2 more")
    assert message.count("broken") == 3


def test_a_class_of_damaged_images(tmp_path):
    write_set(tmp_path, {"a": 4})
    (tmp_path / "b").mkdir()
    (tmp_path / "b/x.png").write_text("<html>")
    assert refusal(tmp_path) == (
        "DIR/b holds no images that can be read (b/x.png is not an image, or is damaged): every"
        " folder next to it is a class; expected CLASS/IMAGE, or train/CLASS/IMAGE and"
        " test/CLASS/IMAGE"
    )


def test_heic_names_the_package_that_reads_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    write_set(tmp_path, {"a": 4})
    (tmp_path / "a/IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    assert note(tmp_path)[1] == (
        "DIR: 1 file was not read: a/IMG_1.HEIC is a HEIC image, which needs: pip install"
        " pillow-heif"
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_pipes_sockets_devices_and_empty_folders_are_not_opened(tmp_path, monkeypatch):
    write_set(tmp_path, {"a": 4})
    os.mkfifo(tmp_path / "a/p.png")
    (tmp_path / "a/d.png").symlink_to("/dev/zero")
    (tmp_path / "a/gone.png").symlink_to("nowhere")
    (tmp_path / "a/x.png").mkdir()
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a/s.png")
        monkeypatch.setattr("gpucnn.data.folders.listing._NAMED", 9)
        _, message = note(tmp_path)
    assert message == (
        "DIR: 5 files were not read: a/d.png is a device, not a file; a/gone.png cannot be read:"
        " No such file or directory; a/p.png is a named pipe, not a file; a/s.png is a socket, not"
        " a file; a/x.png is an empty folder, not a file"
    )


@pytest.mark.parametrize("factor", [1, 3])
def test_an_image_of_too_many_pixels(tmp_path, monkeypatch, factor):
    write_set(tmp_path, {"a": 4})
    draw(tmp_path / "a/x.png", size=(60 * factor, 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert note(tmp_path, resize=(5, 6))[1] == (
        "DIR: 1 file was not read: a/x.png has more than 2000 pixels"
    )
    # The warning filters of the caller are unchanged.
    with pytest.warns(UserWarning, match="still heard"):
        warnings.warn("still heard", stacklevel=1)


def test_pixels_do_not_depend_on_the_number_of_threads(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for index in range(20):
        image = Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8))
        (tmp_path / "ab"[index % 2]).mkdir(exist_ok=True)
        image.save(tmp_path / "ab"[index % 2] / f"{index}.jpg")
    prints = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(parallel, "default_threads", lambda threads=threads: threads)
        data = load(tmp_path, resize=(9, 12))
        prints.append((data.fingerprint(), data.test.images.tobytes()))
    assert prints[0] == prints[1] == prints[2]


@pytest.mark.parametrize(("largest", "most"), [(29, 1), (30, 4)])
def test_large_images_are_decoded_one_at_a_time(tmp_path, monkeypatch, largest, most):
    write_set(tmp_path, {"a": 12})
    decode, lock, running = decoding.decode, threading.Lock(), []
    peaks = []

    def watched(image, bits):
        with lock:
            running.append(image)
            peaks.append(len(running))
            if most > 1 and len(peaks) == most:
                together.set()
        together.wait(0.05 if most == 1 else 60)
        with lock:
            running.remove(image)
        return decode(image, bits)

    together = threading.Event()
    monkeypatch.setattr(decoding, "decode", watched)
    monkeypatch.setattr(decoding, "_LARGE", largest)
    monkeypatch.setattr(parallel, "default_threads", lambda: 4)
    load(tmp_path)
    assert max(peaks) == most


def test_progress_counts_the_files(tmp_path):
    write_set(tmp_path, {"a": 4})
    calls = []
    load(tmp_path, on_progress=lambda *call: calls.append(call))
    assert ("examined", 4, 4) in calls
    assert calls[-1] == ("read", 4, 4)


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
