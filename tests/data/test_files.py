"""Opening files, and limits on unpacking."""

import os
import unicodedata

import pytest

from gpucnn.data import load
from gpucnn.data.files import check_packing, list_folder, open_file
from gpucnn.data.images.inputs import read_image
from gpucnn.errors import DataError

LARGE = 1 << 28


@pytest.mark.parametrize(
    ("unpacked", "packed", "most"),
    [
        (1032 * 1000, 1000, None),  # as far as deflate goes
        (1032 * 1000 + 1, 1000, 1032 * 1000),
        (LARGE, LARGE // 1032 + 1, None),
        (LARGE + 1, LARGE // 1032 + 1, 200 * (LARGE // 1032 + 1)),
        (LARGE + 1, LARGE // 200 + 1, None),
        (400 * LARGE, 2 * LARGE, None),
        (400 * LARGE + 1, 2 * LARGE, 400 * LARGE),
    ],
)
def test_the_ratio_of_unpacked_to_packed_bytes(unpacked, packed, most):
    if most is None:
        check_packing("FILE", unpacked, packed)
        return
    with pytest.raises(DataError) as caught:
        check_packing("FILE", unpacked, packed)
    assert str(caught.value) == (
        f"FILE declares {unpacked} unpacked bytes, but {packed} packed bytes hold at most {most}:"
        " the file is damaged"
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_a_pipe_or_a_device_is_not_opened(tmp_path):
    """Without a writer opening a pipe would wait forever; a device may never end."""
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        os.mkfifo(tmp_path / name)
        (tmp_path / name.replace("train", "t10k")).touch()
    for reader, path, kind in (
        (load, tmp_path / "pipe.npz", "named pipe"),
        (load, tmp_path, "named pipe"),
        (read_image, tmp_path / "pipe.npz", "named pipe"),
        (read_image, "/dev/zero", "device"),
        (open_file, "/dev/null", "device"),
    ):
        with pytest.raises(DataError, match=rf" is a {kind}, not a file$"):
            reader(path)


def test_the_order_of_files_does_not_depend_on_the_unicode_form(tmp_path):
    orders = []
    for form in ("NFC", "NFD"):
        (tmp_path / form).mkdir()
        for name in ("caf\u00e9", "cafes", "caff", "cage"):
            (tmp_path / form / unicodedata.normalize(form, name)).touch()
        listed = list_folder(tmp_path / form)
        orders.append([unicodedata.normalize("NFC", path.name) for path in listed])
    assert orders[0] == orders[1] == ["cafes", "caff", "caf\u00e9", "cage"]
