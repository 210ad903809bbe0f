"""Split and Data: what they refuse, and that their figures are exact."""

import math
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpucnn.data import Data, Split, load
from gpucnn.data.assembly import assemble
from gpucnn.errors import DataError, DataWarning, SettingError


def split(count=10, shape=(3, 4, 5), seed=0, classes=4):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    return Split(images, rng.integers(0, classes, count))


def data(count=10, **options):
    return Data(split(count, **options), split(6, seed=1, **options), tuple("abcd"), "toy")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            np.zeros((2, 1, 3, 3)),
            np.zeros(2, np.int64),
            "images are float64, expected uint8",
        ),
        (
            np.zeros((2, 3, 3), np.uint8),
            np.zeros(2, np.int64),
            "images have shape (2, 3, 3), expected (N, C, H, W) with no axis of length 0",
        ),
        (
            np.zeros((0, 1, 3, 3), np.uint8),
            np.zeros(0, np.int64),
            "images have shape (0, 1, 3, 3), expected (N, C, H, W) with no axis of length 0",
        ),
        (
            np.zeros((2, 1, 3, 3), np.uint8),
            np.zeros(2, np.int32),
            "labels are int32, expected int64",
        ),
        (
            np.zeros((2, 1, 3, 3), np.uint8),
            np.zeros((2, 1), np.int64),
            "labels have shape (2, 1), expected (N,) with no axis of length 0",
        ),
        (
            np.zeros((2, 1, 3, 3), np.uint8),
            np.zeros(3, np.int64),
            "2 images but 3 labels: expected one label for each image",
        ),
        ([[[[1]]]], np.zeros(1, np.int64), "images must be a NumPy array, got list"),
    ],
)
def test_a_split_refuses(images, labels, message):
    with pytest.raises(DataError) as caught:
        Split(images, labels)
    assert str(caught.value) == message


def numbers(labels, classes=(), **options):
    images = np.zeros((len(labels), 1, 3, 3), np.uint8)
    made = Split(images, np.asarray(labels))
    return Data(made, options.pop("test", made), classes, "toy", **options)


def test_labels_that_are_floats_are_numbers_to_predict():
    one, two = numbers([0.5, 3]), numbers(np.float32([[1, 2], [3, 2]]), targets=("x", "y"))
    assert (one.is_regression, one.targets, one.outputs) == (True, ("target",), 1)
    assert repr(one.train) == "<Split: 2 images of shape (1, 3, 3), targets 0.5 to 3>"
    assert two.train.labels.dtype == np.float64
    assert two.train.target_statistics() == ((2, 2), (1, 1)), "1 for the constant target"
    assert one.train.targets.shape == (2, 1)
    rest, held = numbers(np.arange(9) / 2).hold_out(3, seed=0)
    assert sorted([*rest.train.labels, *held.labels]) == [k / 2 for k in range(9)]
    assert one.fingerprint() != numbers([0.5, 3 + 1e-15]).fingerprint()
    with pytest.raises(DataError, match="labels are classes"):
        _ = data().train.targets


def test_statistics_of_huge_numbers_to_predict_are_finite():
    mean, std = numbers([1e300, -1e300, 1e300, -1e300]).train.target_statistics()
    assert (mean, std) == ((0,), (1e300,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: numbers([0.5, np.nan]), r"labels\[1\] is nan, expected a finite number"),
        (lambda: numbers([[1.0, np.inf]]), r"labels\[0, 1\] is inf, expected a finite number"),
        (lambda: numbers(np.zeros((2, 1, 1))), r"shape \(2, 1, 1\), expected \(N,\) or \(N, K\)"),
        (lambda: numbers([0.5, 1], tuple("ab")), "numbers to predict .*there are 2 classes"),
        (lambda: numbers([0.5, 1], targets=("x", "y")), "have 1 number for each image, expected 2"),
        (lambda: numbers([[1.0, 2]], targets=("x", "x")), "must be different names, got x, x"),
        (lambda: numbers([0, 1], ("a", "b"), targets=("x",)), "targets are names of numbers"),
        (
            lambda: numbers([0.5], test=numbers([0], "a").train),
            "training labels are numbers to predict, test labels classes: they must be alike",
        ),
    ],
)
def test_data_refuse_other_numbers_to_predict(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_a_split_is_contiguous_and_read_only_and_leaves_its_arrays_alone():
    images, labels = np.zeros((5, 4, 3, 2), np.uint8), np.zeros(2, np.int64)
    made = Split(images.transpose(3, 2, 1, 0), labels)
    assert made.images.flags.c_contiguous
    for array in (made.images, made.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 1
    images[0, 0, 0, 0] = labels[0] = 1
    assert len(made) == 2


def test_limit_takes_the_first():
    whole = data()
    limited = whole.limit(3)
    np.testing.assert_array_equal(limited.train.images, whole.train.images[:3])
    np.testing.assert_array_equal(limited.train.labels, whole.train.labels[:3])
    assert np.shares_memory(limited.train.images, whole.train.images)
    assert limited.test is whole.test
    assert (limited.classes, limited.name) == (whole.classes, whole.name)
    assert len(whole.limit(10).train) == 10


@pytest.mark.parametrize("n", [0, -1, 11])
def test_limit_out_of_range(n):
    for limited in (data(), data().train):
        with pytest.raises(SettingError) as caught:
            limited.limit(n)
        assert str(caught.value) == f"limit is {n}, expected 1 to 10, the number of images"


def test_the_shape_of_the_images():
    made = data()
    assert (made.channels, made.size, made.input_shape) == (3, (4, 5), (3, 4, 5))


def test_data_refuses():
    train, test = split(), split(6)
    with pytest.raises(DataError, match="training images are 3x4x5, test images 1x4x5"):
        Data(train, split(6, shape=(1, 4, 5)), tuple("abcd"), "toy")
    with pytest.raises(DataError, match="toy has no classes: a data set needs at least one"):
        Data(train, test, (), "toy")


@pytest.mark.parametrize("name", ["training", "test"])
@pytest.mark.parametrize("wrong", [4, -1])
def test_a_label_outside_the_classes(name, wrong):
    labels = np.array([0, 3, wrong, 1, 9])
    bad = Split(np.zeros((5, 3, 4, 5), np.uint8), labels)
    with pytest.raises(DataError) as caught:
        Data(*((bad, split()) if name == "training" else (split(), bad)), tuple("abcd"), "toy")
    assert str(caught.value) == f"{name} label 2 is {wrong}, expected 0 to 3 (4 classes)"


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0, 1], 2),
        ([0, 9], 10),  # of ten classes any may be empty
        ([0, 10], None),
        ([0, 1, 2, 3, 4, 11], 12),  # of more, half must have images
        ([0, 1, 2, 3, 4, 12], None),
        (range(1 << 16), 1 << 16),
        (range((1 << 16) + 1), None),
    ],
)
def test_labels_that_leave_classes_empty(labels, classes):
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    both = [(images, np.array(labels))] * 2
    if classes is not None:
        assert len(assemble("set", "set", *both).classes) == classes
    else:
        with pytest.raises(
            DataError, match=f"set: training label {len(labels) - 1} is {labels[-1]}"
        ):
            assemble("set", "set", *both)


# --- repr ---------------------------------------------------------------------------------------


def test_reprs_fit_on_a_line():
    few = Split(np.zeros((4, 3, 8, 9), np.uint8), np.array([2, 1, 3, 1]))
    classes = ("cat", "dog", "horse", "x" * 40, "zebra")
    made = Data(few, few.limit(1), classes, "pets")
    assert repr(few) == "<Split: 4 images of shape (3, 8, 9), labels 1 to 3>"
    assert repr(made) == (
        "<Data 'pets': 4 training and 1 test images of shape (3, 8, 9), 5 classes"
        " ('cat', 'dog', 'horse', 'xxxxxxxxxxxx...xxxxxxxxxxxxx', ...)>"
    )


# --- hold_out -----------------------------------------------------------------------------------


def rows(part):
    """Every image with its label, as a list that can be compared and counted."""
    return [
        (image.tobytes(), int(label)) for image, label in zip(part.images, part.labels, strict=True)
    ]


@pytest.mark.parametrize("n", [1, 4, 9])
def test_hold_out_parts_the_training_images(n):
    whole = data()
    rest, held = whole.hold_out(n, seed=3)
    assert (len(rest.train), len(held)) == (10 - n, n)
    assert sorted(rows(rest.train) + rows(held)) == sorted(rows(whole.train))
    # The original order is kept.
    order = rows(whole.train)
    for part in (rows(rest.train), rows(held)):
        assert part == [row for row in order if row in part]
    assert rest.test is whole.test


def test_hold_out_is_a_function_of_the_seed():
    whole, other = data(100), data(100)
    assert rows(whole.hold_out(30, 5)[1]) == rows(other.hold_out(30, 5)[1])
    assert rows(whole.hold_out(30, 5)[1]) != rows(whole.hold_out(30, 6)[1])
    # A smaller set drawn with the same seed is a subset.
    assert set(rows(whole.hold_out(10, 5)[1])) < set(rows(whole.hold_out(30, 5)[1]))


def ten():
    """Ten images with the pixels and labels 0 to 9."""
    split = Split(np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), np.arange(10))
    return Data(split, split, tuple("0123456789"), "ten")


def test_hold_out_is_the_same_in_every_version():
    assert ten().hold_out(4, seed=3)[1].labels.tolist() == [0, 1, 5, 9]


@pytest.mark.parametrize("n", [0, -2, 10, 11])
def test_hold_out_out_of_range(n):
    with pytest.raises(SettingError) as caught:
        data().hold_out(n, 0)
    assert str(caught.value) == f"cannot hold out {n} of 10 training images, expected 1 to 9"


def test_hold_out_with_a_negative_seed():
    with pytest.raises(SettingError, match="seed must be an integer >= 0, got -1"):
        data().hold_out(3, -1)


# --- statistics ---------------------------------------------------------------------------------


@given(
    st.integers(1, 5), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(0, 99)
)
def test_statistics_are_exact(count, channels, height, width, seed):
    made = split(count, (channels, height, width), seed)
    means, stds = Data(made, made, tuple("abcd"), "toy").statistics()
    for channel in range(channels):
        pixels = [Fraction(int(pixel), 255) for pixel in made.images[:, channel].ravel()]
        mean = sum(pixels) / len(pixels)
        variance = sum((pixel - mean) ** 2 for pixel in pixels) / len(pixels)
        assert math.isclose(means[channel], mean, rel_tol=1e-15)
        wanted = math.sqrt(variance) if variance else 1.0
        assert math.isclose(stds[channel], wanted, rel_tol=1e-15)


def test_statistics_of_more_than_one_chunk():
    images = np.zeros((300, 1, 40, 40), np.uint8)
    images[::3] = 255
    made = Split(images, np.zeros(300, np.int64))
    mean, std = Data(made, made, ("a",), "toy").statistics()
    assert mean == (1 / 3,)
    assert math.isclose(std[0], math.sqrt(2) / 3, rel_tol=1e-15)


def test_a_constant_channel_has_std_one():
    images = np.zeros((4, 2, 3, 3), np.uint8)
    images[:, 1] = 51
    made = Split(images, np.zeros(4, np.int64))
    assert Data(made, made, ("a",), "toy").statistics() == ((0.0, 0.2), (1.0, 1.0))


# --- fingerprint --------------------------------------------------------------------------------


def test_the_fingerprint_is_of_the_training_split():
    whole = data()
    changed_test = Data(whole.train, split(6, seed=9), whole.classes, "other")
    assert changed_test.fingerprint() == whole.fingerprint()
    images, labels = whole.train.images.copy(), whole.train.labels.copy()
    images[-1, -1, -1, -1] ^= 1
    labels[-1] = (labels[-1] + 1) % 4
    for train in (Split(images, whole.train.labels), Split(whole.train.images, labels)):
        assert Data(train, whole.test, whole.classes, "toy").fingerprint() != whole.fingerprint()


def test_the_fingerprint_is_the_same_in_every_version():
    assert ten().fingerprint() == (
        "f890e96ed07127ef7acaf05ce675eab72e4483966c08d6a6c14be4a3b8e0e5de"
    )


def test_importing_it_reads_nothing_else():
    code = (
        "import sys, gpucnn.data; "
        "print([name for name in ('PIL', 'zipfile', 'gzip', 'cupy') if name in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"


def test_load_warns_with_the_notes_of_a_data_set(monkeypatch, tmp_path):
    (tmp_path / "set.npz").touch()
    noted = replace(data(), notes=("one", "two"))
    monkeypatch.setattr("gpucnn.data.formats.npz.read_npz", lambda *arguments: noted)
    with pytest.warns(DataWarning) as caught:
        assert load(tmp_path / "set.npz").notes == ("one", "two")
    assert [(str(warning.message), warning.filename) for warning in caught] == [
        ("one", __file__),
        ("two", __file__),
    ]


def test_a_validation_split_is_checked_as_the_others():
    whole = replace(data(), validation=split(5, seed=2))
    assert len(whole.validation) == 5
    with pytest.raises(DataError, match="training images are 3x4x5, validation images 3x4x6"):
        replace(data(), validation=split(5, shape=(3, 4, 6)))
    with pytest.raises(DataError, match="validation label 0 is 4, expected 0 to 3"):
        replace(data(), validation=Split(split(5).images, np.full(5, 4)))


def test_names_of_classes_are_composed():
    names = ("cafe\u0301", "b", "c", "d")
    assert replace(data(), classes=names).classes == ("caf\u00e9", "b", "c", "d")


def test_class_weights_make_all_classes_count_alike() -> None:
    """A class without images has the weight 1."""
    labels = np.array([0, 0, 0, 1, 3, 3, 3, 3])
    images = np.zeros((8, 1, 2, 2), np.uint8)
    data = Data(Split(images, labels), Split(images, labels), tuple("abcd"), "unequal")
    assert data.class_weights() == pytest.approx((8 / 9, 8 / 3, 1.0, 2 / 3))
