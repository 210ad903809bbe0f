"""The .npz reader: every accepted layout, and the message for every fault."""

import io
import struct
import zipfile

import numpy as np
import pytest
from peak import peak_memory

from gpucnn.data import load
from gpucnn.errors import DataError, SettingError

RNG = np.random.default_rng(0)
# (N, C, H, W) with sides that no other axis has
COLOUR = RNG.integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)
GREY = COLOUR[:, :1]
NUMBERS = np.array([0, 2, 1, 0, 1, 2])


def members(images=GREY, labels=NUMBERS, **others):
    """The arrays of a valid file, some of them replaced; None leaves one out."""
    arrays = {"x_train": images, "y_train": labels, "x_test": images[:4], "y_test": labels[:4]}
    arrays |= others
    return {key: array for key, array in arrays.items() if array is not None}


def saved(folder, save=np.savez, **others):
    path = folder / "shapes.npz"
    save(path, **members(**others))
    return path


def refusal(path):
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.replace(str(path), "FILE")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (GREY[:, 0], GREY),
        (GREY, GREY),
        (COLOUR, COLOUR),
        (GREY.transpose(0, 2, 3, 1), GREY),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
        (np.asfortranarray(COLOUR), COLOUR),
    ],
    ids=["NHW", "N1HW", "N3HW", "NHW1", "NHW3", "fortran"],
)
def test_every_layout_of_the_images(tmp_path, save, stored, wanted):
    data = load(saved(tmp_path, save, images=stored))
    np.testing.assert_array_equal(data.train.images, wanted)
    np.testing.assert_array_equal(data.test.images, wanted[:4])
    np.testing.assert_array_equal(data.train.labels, NUMBERS)
    assert data.train.images.flags.c_contiguous
    assert data.train.labels.dtype == np.int64
    assert (data.name, data.classes) == ("shapes", ("0", "1", "2"))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions_of_the_array_format(tmp_path, version):
    path = saved(tmp_path)

    def write_again(_):
        file = io.BytesIO()
        np.lib.format.write_array(file, GREY, version)
        return file.getvalue()

    rewrite(path, "x_train.npy", write_again)
    if version == (3, 0):
        assert refusal(path) == (
            "FILE: x_train is of .npy version (3, 0), expected (1, 0) or (2, 0)"
        )
    else:
        np.testing.assert_array_equal(load(path).train.images, GREY)


@pytest.mark.parametrize("dtype", ["u1", "i1", ">i2", "u4", "i8", "u8"])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_every_kind_of_labels(tmp_path, dtype, shape):
    data = load(saved(tmp_path, labels=NUMBERS.astype(dtype).reshape(shape)))
    np.testing.assert_array_equal(data.train.labels, NUMBERS)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            {"y_test": None, "extra": NUMBERS},
            "FILE has the keys extra, x_test, x_train, y_train:"
            " expected x_train, y_train, x_test, y_test",
        ),
        (
            {"x_train": GREY / np.float32(255)},
            "FILE: x_train holds values up to 0.976471, but x_test up to 249: scale both alike",
        ),
        (
            {"x_test": GREY[:4].astype(str)},
            "FILE: x_test is <U3, expected numbers (pixels from 0 to 255)",
        ),
        (
            {"x_test": GREY[:4] * 1j},
            "FILE: x_test is complex128, expected numbers (pixels from 0 to 255)",
        ),
        (
            {"y_train": NUMBERS + 0.5},
            "FILE: y_train[0] is 0.5, expected a class number (numbers to predict: add"
            " --regression, or regression=True)",
        ),
        (
            {"y_train": NUMBERS * 1j},
            "FILE: y_train is complex128, expected class numbers, names or one-hot rows",
        ),
        (
            {"y_train": np.array(list("abcdef"))},
            "FILE: y_test[0] is '0', which is not among the labels of y_train",
        ),
        (
            {"x_train": np.array(5, np.uint8)},
            "FILE: x_train has shape (), dtype uint8: it is empty",
        ),
        (
            {"x_train": GREY[:, 0, 0]},
            "FILE: x_train has shape (6, 5): rows of 5 values are not square images. Expected"
            " (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3, or (N, H*W)",
        ),
        (
            {"x_train": RNG.integers(0, 9, (6, 4, 5, 2), dtype=np.uint8)},
            "FILE: x_train has shape (6, 4, 5, 2), expected (N, H, W), (N, H, W, C) or (N, C, H, W)"
            " with C 1 or 3, or (N, H*W)",
        ),
        (
            {"x_train": COLOUR[:, :, :, :3]},
            "FILE: x_train has shape (6, 3, 4, 3), where axis 1 and axis 3 could both be"
            " the channels",
        ),
        (
            {"y_train": np.zeros((6, 2, 2))},
            "FILE: y_train has shape (6, 2, 2), expected (N,), (N, 1) or one-hot rows (N, classes)",
        ),
        (
            {"x_test": COLOUR[:4]},
            "FILE: training images are 1x4x5, test images 3x4x5"
            " (channels x height x width): they must be equal",
        ),
        (
            {"y_train": NUMBERS[:4]},
            "FILE: x_train holds 6 images but y_train 4 labels: expected one label for each image",
        ),
        (
            {"y_test": np.array([0, 1, 3, 0])},
            "FILE: test label 2 is 3, expected 0 to 2 (3 classes)",
        ),
        (
            {"y_test": np.array([0, 1, 2**64 - 1, 0], dtype=np.uint64)},
            "FILE: test label 2 is 18446744073709551615, expected 0 to 2 (3 classes)",
        ),
        (
            {"y_train": NUMBERS - 1},
            "FILE: training label 0 is -1, expected 0 to 1 (2 classes)",
        ),
        (
            {"y_train": NUMBERS * 10**9},
            "FILE: training label 1 is 2000000000, but only 3 different labels occur:"
            " number the classes from 0 to 2",
        ),
        (
            {"x_train": GREY[:0]},
            "FILE: x_train has shape (0, 1, 4, 5), dtype uint8: it is empty",
        ),
        (
            {"y_train": NUMBERS.astype(object)},
            "FILE: y_train holds pickled objects, which are never loaded:"
            " save it as an array of numbers",
        ),
    ],
)
def test_wrong_keys_dtypes_shapes_and_labels(tmp_path, others, message):
    assert refusal(saved(tmp_path, **others)) == message


class Bomb:
    """Creates a file if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_is_never_run(tmp_path):
    labels = np.array([Bomb(tmp_path / "trace")] * 6, dtype=object)
    path = saved(tmp_path, labels=labels)
    assert "y_train holds pickled objects" in refusal(path)
    assert not (tmp_path / "trace").exists()


def test_a_bare_pickle_under_the_name(tmp_path):
    path = saved(tmp_path)
    rewrite(path, "y_train.npy", lambda data: b"\x80\x04K\x01.")
    assert refusal(path).startswith("FILE: y_train is not a NumPy array: ")


def rewrite(path, name, change, **options):
    """Write the archive again with one member changed."""
    with zipfile.ZipFile(path) as archive:
        content = {info: archive.read(info) for info in archive.namelist()}
    content[name] = change(content[name])
    with zipfile.ZipFile(path, "w", **options) as archive:
        for key, data in content.items():
            archive.writestr(key, data)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>not a zip</html>", b"PK\x05\x06" + bytes(10)],
    ids=["empty", "web page", "cut"],
)
def test_not_a_zip_file(tmp_path, content):
    path = tmp_path / "f.npz"
    path.write_bytes(content)
    assert refusal(path) == ("FILE is not an .npz file, or is damaged: File is not a zip file")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_truncated_file(tmp_path, kept, save):
    path = saved(tmp_path, save)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert refusal(path).startswith("FILE is not an .npz file, or is damaged: ")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_in_the_pixels(tmp_path, save):
    path = saved(tmp_path, save, images=RNG.integers(0, 256, (6, 40, 40), dtype=np.uint8))
    whole = bytearray(path.read_bytes())
    whole[1000] ^= 4
    path.write_bytes(whole)
    assert refusal(path).startswith("FILE is not an .npz file, or is damaged: ")


def test_no_flipped_bit_raises_anything_else(tmp_path):
    path = saved(tmp_path, np.savez_compressed)
    whole = path.read_bytes()
    for bit in np.random.default_rng(2).integers(0, len(whole) * 8, 100):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        # A flip in a time stamp is harmless; any other must be a DataError of one line.
        try:
            load(path)
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_a_header_that_does_not_fit_its_member(tmp_path):
    path = saved(tmp_path)
    rewrite(path, "x_train.npy", lambda data: data[:-5])
    assert refusal(path) == (
        "FILE: x_train has shape (6, 1, 4, 5), dtype uint8: 120 bytes, but 115 follow its header"
    )
    path = saved(tmp_path)
    rewrite(path, "x_train.npy", lambda data: data.replace(b"(6, 1, 4, 5)", b"(-6,1, 4,-5)"))
    assert refusal(path).startswith("FILE: x_train has shape (-6, 1, 4, -5), dtype uint8: ")


def test_a_member_that_ends_early_with_a_valid_checksum(tmp_path):
    path = saved(tmp_path)
    rewrite(path, "x_train.npy", lambda data: data[:-5], compression=zipfile.ZIP_DEFLATED)
    data, size = path.read_bytes(), struct.pack("<I", 128 + 120 - 5)
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, struct.pack("<I", 128 + 120)))
    assert refusal(path) == "FILE: x_train is truncated: 115 of 120 bytes"


def test_a_compression_method_that_numpy_does_not_write(tmp_path):
    path = saved(tmp_path)
    rewrite(path, "x_train.npy", lambda data: data, compression=zipfile.ZIP_LZMA)
    assert refusal(path) == (
        "FILE: x_train is compressed by zip's method 14, expected 0 (stored) or 8 (deflated), as"
        " numpy.savez writes"
    )


@pytest.mark.parametrize("honest", [True, False])
def test_a_zip_bomb_takes_no_memory(tmp_path, honest):
    # 3 GB according to the directory of the zip file, in 12 kB, or in what it declares as 2 GB.
    path = saved(tmp_path, np.savez_compressed, images=np.zeros((6, 1000, 2000), np.uint8))
    with zipfile.ZipFile(path) as archive:
        packed = archive.getinfo("x_train.npy").compress_size
    data, sizes = path.read_bytes(), struct.pack("<II", packed, 6 * 1000 * 2000 + 128)
    declared = packed if honest else 1 << 31
    at = data.rindex(sizes)  # the directory is at the end
    changed = struct.pack("<II", declared, 3_000_000_128)
    path.write_bytes(data[:at] + changed + data[at + len(changed) :])
    packed = packed if honest else len(data)
    message, peak = peak_memory(refusal, path)
    assert peak < 4_000_000
    assert message == (
        f"FILE: x_train declares 3000000128 unpacked bytes, but {packed} packed bytes hold"
        f" at most {200 * packed}: the file is damaged"
    )


def test_a_zip_bomb_that_hides_its_size_takes_no_memory(tmp_path):
    # 16 MB of zeros of which the directory and the array's own header declare 78 kB.
    path = saved(tmp_path, np.savez_compressed, images=np.zeros((6, 28, 28), np.uint8))
    with zipfile.ZipFile(path) as archive:
        header = archive.read("x_train.npy")[:128].replace(b"(6, 28, 28), }  ", b"(100, 28, 28), }")
    rewrite(
        path,
        "x_train.npy",
        lambda _: header + bytes(1 << 24),
        compression=zipfile.ZIP_DEFLATED,
    )
    data = path.read_bytes()
    size = struct.pack("<I", 128 + (1 << 24))
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, struct.pack("<I", 128 + 100 * 28 * 28)))
    message, peak = peak_memory(refusal, path)
    assert peak < 4_000_000
    assert message == "FILE is not an .npz file, or is damaged: Bad CRC-32 for file 'x_train.npy'"


def test_an_absurd_shape_takes_no_memory(tmp_path):
    path = saved(tmp_path)
    shape = b"(6000000, 100, 4, 5), }"
    rewrite(path, "x_train.npy", lambda data: data.replace(b"(6, 1, 4, 5), }" + b" " * 8, shape))
    assert refusal(path) == (
        "FILE: x_train has shape (6000000, 100, 4, 5), dtype uint8: 12000000000 bytes, but 120"
        " follow its header"
    )


def test_a_name_in_capitals(tmp_path):
    path = saved(tmp_path).rename(tmp_path / "SHAPES.NPZ")
    data = load(path)
    assert (data.name, data.builtin) == ("SHAPES", False)


def test_an_unreadable_file(tmp_path, monkeypatch):
    path = saved(tmp_path)

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.open", refuse)
        assert refusal(path) == "FILE cannot be read: Permission denied"


def test_resize_is_refused(tmp_path):
    with pytest.raises(
        SettingError,
        match=r"resize is for folders of images and Parquet files only: remove it to read .*npz",
    ):
        load(saved(tmp_path), resize=(8, 8))
