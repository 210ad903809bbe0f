"""The IDX reader: valid files in every spelling, and the exact message for every fault."""

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from peak import peak_memory

import gpucnn.data
from gpucnn.data import load, mnist
from gpucnn.data.formats.idx import read_idx_folder
from gpucnn.data.formats.idx_file import read_idx
from gpucnn.errors import DataError, SettingError

PIXELS = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
NUMBERS = np.array([7, 0, 3], dtype=np.uint8)


def pack(array, kind=8, order=">"):
    """An array as the bytes of an IDX file, its magic number and sides in the byte order given."""
    magic = kind << 8 | array.ndim
    return struct.pack(f"{order}{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def write_set(folder, prefix="", test="t10k", dot="-", squeeze=False, labels=NUMBERS):
    """Write the four files of a set: test is train without its first item."""
    folder.mkdir(exist_ok=True)
    for part, start in (("train", 0), (test, 1)):
        for kind, array in (("images-idx3", PIXELS), ("labels-idx1", labels)):
            name = f"{prefix}{part}-{kind.replace('-', dot)}-ubyte"
            data = pack(array[start:])
            if squeeze:
                name, data = f"{name}.gz", gzip.compress(data)
            (folder / name).write_bytes(data)
    return folder


def refusal(path, content, ndim=3):
    """Return the message with which this content is refused, without the folder's name."""
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path, ndim)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message.replace(str(path), "FILE")


# Good files


@pytest.mark.parametrize("squeeze", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("test", ["t10k", "test"])
@pytest.mark.parametrize("prefix", ["", "emnist-letters-"])
def test_a_set_in_every_spelling(tmp_path, squeeze, dot, test, prefix):
    data = load(write_set(tmp_path / "digits", prefix, test, dot, squeeze))
    np.testing.assert_array_equal(data.train.images[:, 0], PIXELS)
    np.testing.assert_array_equal(data.test.images[:, 0], PIXELS[1:])
    np.testing.assert_array_equal(data.train.labels, NUMBERS)
    np.testing.assert_array_equal(data.test.labels, NUMBERS[1:])
    assert data.name == (prefix[:-1] or "digits")
    assert data.classes == tuple("0123456789")
    assert data.input_shape == (1, 4, 5)


def test_gzip_is_recognised_by_content_not_by_name(tmp_path):
    (tmp_path / "plain.gz").write_bytes(pack(PIXELS))
    (tmp_path / "packed").write_bytes(gzip.compress(pack(PIXELS)))
    for name in ("plain.gz", "packed"):
        pixels = read_idx(tmp_path / name, 3)
        np.testing.assert_array_equal(pixels, PIXELS)
        assert not pixels.flags.writeable


def test_of_an_unpacked_and_a_packed_file_the_unpacked_is_read(tmp_path):
    folder = write_set(tmp_path / "set")
    for path in list(folder.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(b"never read")
    np.testing.assert_array_equal(load(folder).train.images[:, 0], PIXELS)


def test_the_longest_side(tmp_path):
    line = np.zeros((1, 16384, 1), np.uint8)
    (tmp_path / "f").write_bytes(pack(line))
    np.testing.assert_array_equal(read_idx(tmp_path / "f", 3), line)


def test_gzip_of_two_members_is_one_file(tmp_path):
    data = pack(PIXELS)
    (tmp_path / "f").write_bytes(gzip.compress(data[:30]) + gzip.compress(data[30:]))
    np.testing.assert_array_equal(read_idx(tmp_path / "f", 3), PIXELS)


@pytest.mark.parametrize("squeeze", [False, True])
def test_the_labels_of_qmnist(tmp_path, squeeze):
    """Rows of eight integers: the digit, then the writer, the form and so on."""
    folder = write_set(tmp_path, "qmnist-", "test", squeeze=squeeze)
    suffix = ".gz" if squeeze else ""
    for part, numbers in (("train", NUMBERS), ("test", NUMBERS[1:])):
        rows = np.full((len(numbers), 8), 3_000_000, ">i4")
        rows[:, 0] = numbers
        data = pack(rows, 0x0C)
        (folder / f"qmnist-{part}-labels-idx1-ubyte{suffix}").unlink()
        (folder / f"qmnist-{part}-labels-idx2-int{suffix}").write_bytes(
            gzip.compress(data) if squeeze else data
        )
    data = load(folder)
    assert data.name == "qmnist"
    np.testing.assert_array_equal(data.train.labels, NUMBERS)
    np.testing.assert_array_equal(data.test.labels, NUMBERS[1:])


@pytest.mark.parametrize(
    ("rows", "cut", "message"),
    [
        (np.zeros((3, 7), ">i4"), None, "FILE has rows of 7 integers, expected 8 as QMNIST's"),
        (
            np.zeros((3, 8), ">i4"),
            -1,
            "FILE is truncated: its header declares 3x8x4 = 96 bytes, but only 95 follow",
        ),
        (np.full((3, 8), -1, ">i4"), None, "FOLDER: training label 0 is -1, expected 0 to 9"),
    ],
)
def test_damaged_labels_of_qmnist(tmp_path, rows, cut, message):
    folder = write_set(tmp_path)
    (folder / "train-labels-idx1-ubyte").unlink()
    path = folder / "train-labels-idx2-int"
    path.write_bytes(pack(rows, 0x0C)[:cut])
    with pytest.raises(DataError) as caught:
        load(folder)
    assert message in str(caught.value).replace(str(path), "FILE").replace(str(folder), "FOLDER")


def test_labels_from_1_to_26_make_27_classes(tmp_path):
    letters = np.arange(1, 27, dtype=np.uint8)
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(pack(np.ones((26, 2, 2), np.uint8)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(pack(letters))
    data = load(tmp_path)
    assert len(data.classes) == 27
    assert data.classes[26] == "26"


def test_one_of_several_sets_by_its_prefix(tmp_path):
    folder = write_set(tmp_path / "gzip", "emnist-letters-", "test")
    write_set(folder, "emnist-balanced-", "test", labels=NUMBERS + 1)
    for name, first in (("emnist-letters", 7), ("emnist-balanced", 8)):
        data = load(folder / name)
        assert data.train.labels[0] == first
        assert data.name == name
    with pytest.raises(DataError) as caught:
        load(folder)
    assert str(caught.value) == (
        f"{folder} holds 2 data sets (emnist-balanced, emnist-letters):"
        f" give one as {folder}/emnist-balanced"
    )
    with pytest.raises(DataError) as caught:
        load(folder / "emnist-leters")
    assert str(caught.value) == (
        f"{folder}/emnist-leters does not exist: did you mean {folder}/emnist-letters?"
    )


def test_of_several_sets_the_one_without_a_prefix_is_read(tmp_path):
    folder = write_set(tmp_path / "both")
    write_set(folder, "old-", labels=NUMBERS + 1)
    assert load(folder).train.labels[0] == 7
    assert load(folder / "old").train.labels[0] == 8


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("train-images-idx3", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        ("train-labels-idx1", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        ("t10k-images-idx3", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        ("t10k-labels-idx1", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ],
)
def test_the_files_of_mnist_are_its_authors(name, digest):
    path = Path(gpucnn.data.__file__).parent / "mnist" / f"{name}-ubyte.gz"
    assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == digest


def test_mnist_is_mnist():
    data = mnist()
    assert (len(data.train), len(data.test), data.name) == (60_000, 10_000, "mnist")
    assert data.input_shape == (1, 28, 28)
    assert data.builtin
    assert data.train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    # The usual figures, for example in PyTorch's MNIST example.
    assert [round(value[0], 4) for value in data.statistics()] == [0.1307, 0.3081]


# Faults 1 to 8: one file


def test_a_web_page_saved_as_gz(tmp_path):
    page = b"<!DOCTYPE html><html><head><title>404</title>"
    assert refusal(tmp_path / "train-images-idx3-ubyte.gz", page) == (
        "FILE is neither gzip data nor an IDX file: it begins with b'<!DOCTYPE html><html><he'"
    )


def test_a_little_endian_header_has_axes(tmp_path):
    content = b"\0\x08" + bytes(14)
    assert refusal(tmp_path / "f", content) == (
        f"FILE is neither gzip data nor an IDX file: it begins with {content!r}"
    )


def test_a_web_page_packed_by_gzip(tmp_path):
    assert refusal(tmp_path / "f.gz", gzip.compress(b"<!DOCTYPE html><html>")) == (
        "FILE is not an IDX file: it begins with b'<!DOCTYPE html><'"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "FILE is empty: download it again"),
        (b"\0\0\x08", "FILE is truncated: 3 bytes, expected an IDX header"),
        (pack(PIXELS)[:13], "FILE is truncated: its header ends after 13 bytes"),
        (pack(PIXELS[:0]), "FILE has count 0 in its header: it holds no items"),
        (pack(PIXELS[:, :0]), "FILE has rows 0 in its header: it holds no items"),
        (pack(PIXELS[:, :, :0]), "FILE has columns 0 in its header: it holds no items"),
        (
            struct.pack(">4I", 2051, 3, 4, 2**31 + 99),
            "FILE has columns 2147483747 in its header, more than 16384",
        ),
        (
            struct.pack(">I", 2051) + struct.pack("<3I", 3, 28, 28),
            "FILE has rows 469762048 in its header, more than 16384 (is it little-endian, for 28?)",
        ),
        (
            pack(PIXELS)[:-7],
            "FILE is truncated: its header declares 3x4x5 = 60 bytes, but only 53 follow",
        ),
        (pack(PIXELS) + b"12345", "FILE has 5 bytes after the last of its 3 items"),
        (
            struct.pack(">4I", 2051, 2**32 - 1, 28, 28),
            "FILE is truncated: its header declares 4294967295x28x28 = 3367254359280 bytes, but"
            " only 0 follow",
        ),
        (
            pack(NUMBERS),
            "FILE holds labels (magic 2049), expected images (magic 2051): are two files swapped?",
        ),
        (
            pack(PIXELS[None]),
            "FILE holds items of 4 axes (magic 2052), expected images (magic 2051):"
            " are two files swapped?",
        ),
        (
            pack(PIXELS, order="<"),
            "FILE has a little-endian header (03 08 00 00): IDX is big-endian",
        ),
        (
            pack(PIXELS.astype(">f4"), kind=0x0D),
            "FILE holds 32-bit floats (type 0x0d), expected unsigned bytes (type 0x08)",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
@pytest.mark.parametrize("squeeze", [False, True])
def test_a_wrong_header_or_size(tmp_path, content, message, squeeze):
    if squeeze and content:
        content = gzip.compress(content)
        # Compressed, an absurd count is refused by the size of the file.
        if "4294967295" in message:
            message = (
                "FILE (4294967295x28x28) declares 3367254359280 unpacked bytes, but"
                f" {len(content)} packed bytes hold at most {200 * len(content)}:"
                " the file is damaged"
            )
    assert refusal(tmp_path / "file", content) == message


@pytest.mark.parametrize(
    ("dtype", "kind", "name"),
    [
        ("i1", 0x09, "signed bytes"),
        (">i2", 0x0B, "16-bit integers"),
        (">i4", 0x0C, "32-bit integers"),
        (">f8", 0x0E, "64-bit floats"),
    ],
)
def test_every_other_type(tmp_path, dtype, kind, name):
    assert refusal(tmp_path / "file", pack(PIXELS.astype(dtype), kind=kind)) == (
        f"FILE holds {name} (type {kind:#04x}), expected unsigned bytes (type 0x08)"
    )


def test_images_given_as_labels(tmp_path):
    assert refusal(tmp_path / "file", pack(PIXELS), ndim=1) == (
        "FILE holds images (magic 2051), expected labels (magic 2049): are two files swapped?"
    )


def noisy_gzip():
    rng = np.random.default_rng(0)
    return gzip.compress(pack(rng.integers(0, 256, (50, 8, 8), dtype=np.uint8)), mtime=0)


@pytest.mark.parametrize("left_out", [1, 8, 100])
def test_a_truncated_gzip_file(tmp_path, left_out):
    assert refusal(tmp_path / "file", noisy_gzip()[:-left_out]) == (
        "FILE is truncated: its gzip data is incomplete"
    )


def test_a_flipped_bit_in_the_checksum_or_the_data(tmp_path):
    whole = bytearray(noisy_gzip())
    for position in (-8, -4, -100):
        flipped = whole.copy()
        flipped[position] ^= 16
        message = refusal(tmp_path / "file", bytes(flipped))
        assert message.startswith("FILE is damaged: ")
        assert message.endswith("; download it again")
    assert "CRC check failed" in message


def test_every_flipped_bit_is_detected(tmp_path):
    whole, path = noisy_gzip(), tmp_path / "file"
    path.write_bytes(whole)
    wanted = read_idx(path, 3)
    rng = np.random.default_rng(1)
    for bit in rng.integers(10 * 8, len(whole) * 8, 100):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        # Refused, or harmless: deflate's padding has no meaning.
        try:
            np.testing.assert_array_equal(read_idx(path, 3), wanted)
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017


def gzip_zeros(header, megabytes):
    """Return gzip data of a header and zeros: one compressed block repeated, no valid checksum."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    start = packer.compress(header) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return gzip.compress(b"", mtime=0)[:10] + start + block * megabytes + b"\3\0" + bytes(8)


@pytest.mark.parametrize(
    ("count", "side", "megabytes", "message"),
    [
        (1, 28, 100, "FILE has more than 67108864 bytes after the last of its 1 items"),
        (10**9, 28, 100, "FILE (1000000000x28x28) declares 784000000000 unpacked bytes, but HINT"),
        (400 << 10, 32, 400, "FILE (409600x32x32) declares 419430400 unpacked bytes, but HINT"),
    ],
    ids=["more than declared", "less than declared", "as declared"],
)
def test_a_gzip_bomb_takes_no_memory(tmp_path, count, side, megabytes, message):
    # Nobody unpacks it to the end, where its checksum is wrong.
    bomb = gzip_zeros(struct.pack(">4I", 2051, count, side, side), megabytes)
    found, peak = peak_memory(refusal, tmp_path / "file", bomb)
    hint = f"{len(bomb)} packed bytes hold at most {200 * len(bomb)}: the file is damaged"
    assert found == message.replace("HINT", hint)
    assert peak < 8_000_000


def test_memory_follows_the_data_and_not_the_header(tmp_path):
    # 1 MB of noise where the header declares 200 MB: possible by the ratio alone.
    noise = np.random.default_rng(0).bytes(1 << 20)
    content = gzip.compress(struct.pack(">4I", 2051, 200, 1024, 1024) + noise)
    message, peak = peak_memory(refusal, tmp_path / "file", content)
    assert peak < 8_000_000
    assert message == (
        "FILE is truncated: its header declares 200x1024x1024 = 209715200 bytes, but only 1048576"
        " follow"
    )


# Faults 9 to 11: four files


def test_images_and_labels_that_differ_in_number(tmp_path):
    folder = write_set(tmp_path / "set")
    (folder / "train-labels-idx1-ubyte").write_bytes(pack(NUMBERS[:2]))
    with pytest.raises(DataError) as caught:
        load(folder)
    assert str(caught.value) == (
        f"{folder}/train-images-idx3-ubyte holds 3 images but train-labels-idx1-ubyte 2 labels:"
        " expected one label for each image"
    )


def test_a_test_label_outside_the_classes(tmp_path):
    folder = write_set(tmp_path / "set")
    (folder / "t10k-labels-idx1-ubyte").write_bytes(pack(np.array([3, 10], dtype=np.uint8)))
    with pytest.raises(DataError) as caught:
        load(folder)
    assert str(caught.value) == (f"{folder}: test label 1 is 10, expected 0 to 9 (10 classes)")


def test_a_training_label_far_beyond_the_others(tmp_path):
    folder = write_set(tmp_path / "set")
    (folder / "train-labels-idx1-ubyte").write_bytes(pack(np.array([3, 200, 1], dtype=np.uint8)))
    with pytest.raises(DataError) as caught:
        load(folder)
    assert str(caught.value) == (
        f"{folder}: training label 1 is 200, but only 3 different labels occur:"
        " number the classes from 0 to 2"
    )


def test_test_images_of_another_size(tmp_path):
    folder = write_set(tmp_path / "set")
    (folder / "t10k-images-idx3-ubyte").write_bytes(pack(PIXELS[1:, :, :3]))
    with pytest.raises(DataError, match="training images are 1x4x5, test images 1x4x3 "):
        load(folder)


@pytest.mark.parametrize(
    ("lost", "wanted"),
    [
        ("train-images-idx3-ubyte", "train-images-idx3-ubyte (or .gz)"),
        ("train-labels-idx1-ubyte", "train-labels-idx1-ubyte (or .gz)"),
        ("t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte (or .gz, or test-...)"),
        ("t10k-labels-idx1-ubyte", "t10k-labels-idx1-ubyte (or .gz, or test-...)"),
    ],
)
def test_a_missing_file_of_the_four(tmp_path, lost, wanted):
    folder = write_set(tmp_path / "set")
    (folder / lost).unlink()
    names = ", ".join(sorted(path.name for path in folder.iterdir()))
    with pytest.raises(DataError) as caught:
        load(folder)
    assert str(caught.value) == f"{folder} lacks {wanted}; found: {names}"


def test_no_file_of_the_test_split(tmp_path):
    folder = write_set(tmp_path / "set")
    for path in folder.glob("t10k-*"):
        path.unlink()
    with pytest.raises(DataError) as caught:
        load(folder)
    assert str(caught.value) == (
        f"{folder} lacks t10k-images-idx3-ubyte (or .gz, or test-...); found:"
        " train-images-idx3-ubyte, train-labels-idx1-ubyte"
    )


def test_a_folder_in_place_of_a_file(tmp_path):
    folder = write_set(tmp_path / "set")
    (folder / "train-labels-idx1-ubyte").unlink()
    (folder / "train-labels-idx1-ubyte").mkdir()
    with pytest.raises(DataError) as caught:
        load(folder)
    assert str(caught.value) == (f"{folder}/train-labels-idx1-ubyte cannot be read: Is a directory")


def test_a_file_and_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    folder = write_set(tmp_path / "set")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.open", refuse)
        with pytest.raises(DataError, match=r"labels-idx1-ubyte cannot be read: Permission denied"):
            load(folder)
    for call in ("iterdir", "stat"):
        with monkeypatch.context() as patch:
            patch.setattr(f"pathlib.Path.{call}", refuse)
            with pytest.raises(DataError) as caught:
                load(folder)
        assert str(caught.value) == f"{folder} cannot be read: Permission denied"


def test_a_folder_without_any_of_the_files(tmp_path):
    with pytest.raises(DataError) as caught:
        read_idx_folder(tmp_path)
    assert str(caught.value) == f"{tmp_path} lacks train-images-idx3-ubyte (or .gz); found: none"


# load


def test_one_file_of_the_set_is_not_the_set(tmp_path):
    folder = write_set(tmp_path / "set")
    with pytest.raises(DataError) as caught:
        load(folder / "train-images-idx3-ubyte")
    assert str(caught.value) == (
        f"{folder}/train-images-idx3-ubyte is one of the four IDX files: give their folder,"
        f" {folder}"
    )


def test_a_path_that_does_not_exist(tmp_path):
    write_set(tmp_path / "digits")
    for name, rest in (
        ("digit", f": did you mean {tmp_path}/digits?"),
        ("zzz", ""),
        ("no/zzz", f", nor does the folder {tmp_path}/no"),
    ):
        with pytest.raises(DataError) as caught:
            load(tmp_path / name)
        assert str(caught.value) == f"{tmp_path}/{name} does not exist{rest}"


def test_a_file_that_is_not_a_data_set(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(
        DataError, match=r"notes\.txt is not a data set: expected an \.npz, \.csv or \.parquet file"
    ):
        load(tmp_path / "notes.txt")


@pytest.mark.parametrize("which", ["set", "set/emnist-letters"])
def test_resize_is_refused(tmp_path, which):
    write_set(tmp_path / "set", "emnist-letters-")
    with pytest.raises(
        SettingError,
        match="resize is for folders of images and Parquet files only: remove it to read",
    ):
        load(tmp_path / which, resize=(8, 8))
