"""Folders as torchvision, Kaggle and others lay them out."""

import shutil

import numpy as np
import pytest
from handwriting import digits, write_idx

from gpucnn.data import load
from gpucnn.errors import DataError

SET = digits(40)


def check(path, name):
    data = load(path)
    np.testing.assert_array_equal(data.train.images, SET.images)
    np.testing.assert_array_equal(data.test.labels, SET.labels)
    assert (data.name, data.preparation) == (name, "digit")


def test_torchvisions_folders(tmp_path):
    write_idx(tmp_path / "data" / "MNIST" / "raw", SET)
    (tmp_path / "data" / "notes.txt").touch()
    for path in ("data", "data/MNIST", "data/MNIST/raw"):
        check(tmp_path / path, "MNIST")


def test_of_several_sets_in_torchvisions_folder_one_must_be_named(tmp_path):
    write_idx(tmp_path / "MNIST" / "raw", SET)
    write_idx(tmp_path / "KMNIST" / "raw", SET)
    with pytest.raises(
        DataError, match=r"several data sets \(KMNIST, MNIST\): give one as .*KMNIST"
    ):
        load(tmp_path)
    check(tmp_path / "MNIST", "MNIST")


def test_a_prefix_below_torchvisions_folder(tmp_path):
    write_idx(tmp_path / "EMNIST" / "raw", SET, prefix="emnist-digits-")
    write_idx(tmp_path / "EMNIST" / "raw", SET, prefix="emnist-mnist-")
    for path in ("EMNIST/raw/emnist-mnist", "EMNIST/emnist-mnist"):
        check(tmp_path / path, "emnist-mnist")


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("dot", [True, False])
def test_each_file_in_a_folder_of_its_own_name(tmp_path, keep, dot):
    folder = write_idx(tmp_path / "archive", SET)
    for path in list(folder.iterdir()):
        inside = folder / f"{path.name}.unpacking"
        inside.mkdir()
        shutil.copy(path, inside / path.name)
        if keep and dot:
            path.rename(folder / path.name.replace("-idx", ".idx"))
        elif not keep:
            path.unlink()
        if not (folder / path.name).exists():
            inside.rename(folder / path.name)
    check(folder, "archive")


def test_an_empty_folder_in_place_of_a_file_is_named(tmp_path):
    folder = write_idx(tmp_path / "archive", SET)
    (folder / "train-labels-idx1-ubyte").unlink()
    (folder / "train-labels-idx1-ubyte").mkdir()
    with pytest.raises(DataError, match="train-labels-idx1-ubyte cannot be read"):
        load(folder)


def test_a_folder_with_one_archive(tmp_path):
    arrays = {"x": SET.images, "y": SET.labels}
    np.savez(
        tmp_path / "mnist.npz",
        **{
            f"{letter}_{part}": array
            for letter, array in arrays.items()
            for part in ("train", "test")
        },
    )
    check(tmp_path, "mnist")


def test_the_folder_of_a_run_is_not_a_data_set(tmp_path):
    (tmp_path / "checkpoint.npz").touch()
    with pytest.raises(
        DataError, match="is the folder of a run, which holds a network, not a data"
    ):
        load(tmp_path)


@pytest.mark.parametrize("name", ["digit-recognizer.zip", "train.csv.gz", "emnist.TAR"])
def test_a_packed_file_must_be_unpacked(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"is not a data set: expected .* Unpack it first$"):
        load(tmp_path / name)


def test_a_path_with_a_nul():
    with pytest.raises(DataError, match="cannot be read"):
        load("a\0b")


def test_the_same_images_have_the_same_fingerprint_in_every_format(tmp_path):
    folder = write_idx(tmp_path / "idx", SET)
    arrays = {"x_train": SET.images[:, 0], "y_train": SET.labels}
    np.savez(tmp_path / "a.npz", x_test=SET.images, y_test=SET.labels, **arrays)
    rows = np.concatenate([SET.labels[:, None], SET.images.reshape(40, -1)], 1)
    for part in ("train", "test"):
        np.savetxt(tmp_path / f"{part}.csv", rows, fmt="%d", delimiter=",")
    paths = (folder, tmp_path / "a.npz", tmp_path / "train.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        assert len({load(path).fingerprint() for path in paths}) == 1
