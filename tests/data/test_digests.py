"""Digests of images, and what they find: images that two splits share."""

from dataclasses import replace

import numpy as np
import pytest
from small import blobs, small_data

import gpucnn
from gpucnn.data import Data, Split, digests
from gpucnn.data.digests import remarks, seen_digests


def joined(*splits):
    return Split(
        np.concatenate([split.images for split in splits]),
        np.concatenate([split.labels for split in splits]),
    )


def part(split, *indices):
    return Split(split.images[list(indices)], split.labels[list(indices)])


def test_a_digest_depends_on_the_pixels_only():
    split = blobs(5)
    found = digests.digests(split)
    assert (found.dtype, found.shape, len(set(found.tolist()))) == (np.uint64, (5,), 5)
    reversed_split = Split(split.images[::-1], (split.labels + 1) % 4)
    np.testing.assert_array_equal(digests.digests(reversed_split), found[::-1])
    changed = split.images.copy()
    changed[2, 0, 7, 7] ^= 1
    assert (digests.digests(Split(changed, split.labels)) != found).tolist() == [
        index == 2 for index in range(5)
    ]


def test_digests_are_the_same_in_every_version():
    split = Split(np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4), np.zeros(2, np.int64))
    assert digests.digests(split).tolist() == [16903989052985087732, 15712234560039968438]


def test_a_run_keeps_digests_of_training_and_validation_images_up_to_a_limit(monkeypatch):
    data = replace(small_data(50), validation=blobs(9, seed=5))
    everything = np.concatenate(
        [digests.digests(data.train), digests.digests(data.validation)]
    ).tolist()
    assert seen_digests(data).tolist() == sorted(everything)
    monkeypatch.setattr(digests, "MAX_KEPT", 20)
    assert seen_digests(data).tolist() == sorted(everything)[:20]


@pytest.mark.parametrize("values", [3, 50, 2**64 - 1])
def test_digests_of_many_images_are_compared_in_parts(monkeypatch, values):
    monkeypatch.setattr(digests, "_PART", 7)
    monkeypatch.setattr(digests, "MAX_KEPT", 12)
    rng = np.random.default_rng(0)
    for sizes in rng.integers(0, 40, (50, 3)):
        one, two, three = (rng.integers(0, values, size, np.uint64, True) for size in sizes)
        np.testing.assert_array_equal(digests.are_in(one, two), np.isin(one, two))
        kept = digests._smallest(digests._smallest(digests._smallest(one[:0], one), two), three)
        expected = np.unique(np.concatenate([one, two, three]))[:12]
        np.testing.assert_array_equal(kept, expected)


def test_images_that_two_splits_share_are_counted():
    data = small_data()
    validation = blobs(9, seed=5)
    assert remarks(replace(data, validation=validation)) == ()
    test = joined(data.test, part(data.train, 3, 60))
    assert remarks(replace(data, test=test)) == (
        "2 of 42 test images are also training images (the first is test image 40): the test"
        " accuracy will be too high; remove them from one of the two",
    )
    shared = replace(data, validation=joined(part(data.test, 0), validation, part(data.train, 1)))
    found = [note.partition(" (")[0] for note in remarks(shared)]
    assert found == [
        "1 of 40 test images are also validation images",
        "1 of 11 validation images are also training images",
    ]


def test_the_built_in_test_images_are_no_training_images():
    # remarks relies on it.
    data = gpucnn.data.mnist()
    assert not np.isin(digests.digests(data.test), digests.digests(data.train)).any()


@pytest.mark.parametrize("classes", [("a",), ("a", "b", "c")])
def test_a_single_class_is_remarked_on(classes):
    split = blobs(6)
    one = Split(split.images, np.full(6, len(classes) // 2))
    found = remarks(Data(one, blobs(1, seed=3, classes=1), classes, "one"))
    assert [note.partition(":")[0] for note in found] == [
        f"every training image is of class {classes[len(classes) // 2]!r}"
    ]


def test_classes_without_training_images_are_remarked_on():
    def found(labels):
        classes = tuple(map(str, range(10)))
        split = blobs(6)
        return remarks(Data(Split(split.images, np.array(labels)), blobs(1, seed=3), classes, "x"))

    assert found([1, 2, 3, 4, 5, 6])[0] == (
        "4 of 10 classes have no training images: '0', '7', '8', '9'"
    )
    assert found([0, 9, 0, 9, 0, 9])[0].endswith(": '1', '2', '3', '4', '5', ...")


def test_labels_that_count_from_one_are_remarked_on():
    split = blobs(6)
    data = Data(Split(split.images, np.array([1, 2, 3] * 2)), blobs(1, seed=3), tuple("0123"), "x")
    assert remarks(data) == (
        "1 of 4 classes have no training images: '0' (if the labels count from 1, subtract 1 from "
        "all)",
    )
