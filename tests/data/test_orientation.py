"""EMNIST's files, which are stored transposed, and its classes."""

import string
import warnings

import numpy as np
import pytest
from handwriting import as_data, digits, emnist_digits, transposed, write_idx

from gpucnn.data import Split, load
from gpucnn.data.orientation import upright
from gpucnn.errors import DataWarning


def letters(first=1):
    """Images in EMNIST's geometry, in 26 classes."""
    images = emnist_digits().images
    return Split(images, np.arange(len(images)) % 26 + first)


def test_emnist_digits_are_turned_and_named(tmp_path):
    write_idx(tmp_path, transposed(emnist_digits()), prefix="emnist-digits-")
    with pytest.warns(
        DataWarning, match=r"^the images of emnist-digits are stored transposed, .*rows"
    ):
        data = load(tmp_path)
    np.testing.assert_array_equal(data.train.images, emnist_digits().images)
    np.testing.assert_array_equal(data.test.images, emnist_digits().images)
    assert (data.preparation, data.classes) == ("digit", tuple(string.digits))


def test_digits_without_emnists_name_are_turned_by_their_content(tmp_path):
    write_idx(tmp_path / "mine", transposed(emnist_digits()))
    with pytest.warns(DataWarning, match="as the mean images of the digits show"):
        data = load(tmp_path / "mine")
    np.testing.assert_array_equal(data.train.images, emnist_digits().images)


def test_upright_digits_with_emnists_name_stay(tmp_path):
    write_idx(tmp_path, emnist_digits(), prefix="emnist-digits-")
    data = load(tmp_path)
    assert data.notes == ()
    np.testing.assert_array_equal(data.train.images, emnist_digits().images)


def test_letters_from_1_become_26_classes_with_names():
    data = upright(as_data(letters(), tuple(map(str, range(27))), "emnist-letters"), None)
    assert data.classes == tuple(string.ascii_uppercase)
    np.testing.assert_array_equal(data.train.labels, np.arange(300) % 26)
    np.testing.assert_array_equal(data.test.images, transposed(letters()).images)
    assert data.preparation == "digit"
    assert [note.split()[:2] for note in data.notes] == [["the", "labels"], ["the", "images"]]


def test_inverted_letters_are_not_prepared_as_digits():
    inverted = Split(255 - letters().images, letters().labels)
    data = upright(as_data(inverted, tuple(map(str, range(27))), "emnist-letters"), None)
    assert (data.preparation, len(data.classes)) == (None, 26)


def test_letters_with_labels_from_0_stay_as_they_are():
    data = upright(as_data(letters(0), tuple(map(str, range(26))), "emnist-letters"), None)
    np.testing.assert_array_equal(data.train.labels, letters(0).labels)


@pytest.mark.parametrize(
    ("name", "count", "last"),
    [
        ("emnist-byclass", 62, "z"),
        ("emnist-bymerge", 47, "t"),
        ("emnist-balanced", 47, "t"),
        ("my-balanced", 47, "46"),
        ("femnist-balanced", 47, "46"),
        ("emnist-mnist", 10, "9"),
    ],
)
def test_names_of_the_classes(name, count, last):
    labels = np.arange(300) % count
    data = as_data(Split(digits().images, labels), tuple(map(str, range(count))), name)
    assert upright(data, None).classes[-1] == last
    assert len(upright(data, None).classes) == count


def test_false_reads_everything_as_it_is_stored(tmp_path):
    write_idx(tmp_path, letters(), prefix="emnist-letters-")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load(tmp_path, transpose=False)
    np.testing.assert_array_equal(data.train.images, letters().images)
    assert (data.train.labels.max(), len(data.classes), data.notes) == (26, 27, ())


def test_true_turns_any_images(tmp_path):
    images = np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4).repeat(2, 0)
    write_idx(tmp_path / "set", Split(images, np.array([0, 1])))
    with pytest.warns(DataWarning, match="are stored transposed, rows and columns were exchanged$"):
        data = load(tmp_path / "set", transpose=True)
    np.testing.assert_array_equal(data.train.images, images.transpose(0, 1, 3, 2))
