"""What users of other libraries bring as arrays: what is understood, and what is refused.

Every form of the same images and labels must give the same data set, bit for bit.
"""

import re

import numpy as np
import pytest
from converting import converted
from hypothesis import given
from hypothesis import strategies as st

from gpucnn.data import from_arrays, load
from gpucnn.data.arrays.build import find_roles
from gpucnn.errors import DataError, DataWarning, SettingError

RNG = np.random.default_rng(3)
# Every value of a byte occurs, and none of the sides is equal to another or to a square.
IMAGES = RNG.permutation(np.arange(40 * 6 * 5) % 256).astype(np.uint8).reshape(40, 6, 5)
SQUARE = RNG.permutation(np.arange(40 * 36) % 256).astype(np.uint8).reshape(40, 6, 6)
COLOUR = RNG.permutation(np.arange(40 * 3 * 6 * 5) % 256).astype(np.uint8).reshape(40, 3, 6, 5)
LABELS = np.arange(40) % 4
NAMES = np.array(["ant", "bee", "cat", "élan"])


def saved(folder, x, y, name="set.npz", test=10):
    """A file of the images and labels; the first ``test`` are the test images."""
    path = folder / name
    np.savez(path, x_train=x[test:], y_train=y[test:], x_test=x[:test], y_test=y[:test])
    return path


def noted(path):
    """Load a data set that has one note; return both."""
    with pytest.warns(DataWarning) as caught:
        data = load(path)
    assert [str(one.message) for one in caught] == list(data.notes)
    (note,) = data.notes
    assert "\n" not in note
    assert note.startswith(f"{path} was read as follows: ")
    return data, note.partition(": ")[2]


FORMS_OF_IMAGES = {
    "0 to 1": (IMAGES / 255, "pixels from 0 to 1 were multiplied by 255"),
    "0 to 1, float32": (IMAGES / np.float32(255), "multiplied by 255"),
    "0 to 1, float16": ((IMAGES / 255).astype(np.float16), "multiplied by 255"),
    "0 to 1, big-endian": ((IMAGES / 255).astype(">f4"), "multiplied by 255"),
    "0 to 1, Fortran order": (np.asfortranarray(IMAGES / 255), "multiplied by 255"),
    "-1 to 1": (IMAGES / 127.5 - 1, "pixels from -1 to 1 were scaled to 0 to 255"),
    "-1 to 1, float16": ((IMAGES / 127.5 - 1).astype(np.float16), "pixels from -1 to 1"),
    "floats to 255": (IMAGES.astype(np.float32), "pixels are floats from 0 to 255"),
    "floats to 255 with noise": (IMAGES + 0.2 * (IMAGES < 255), "rounded to integers"),
    "integers": (IMAGES.astype(np.int64), None),
    "16 bits": (IMAGES.astype(">u2"), None),
    "an axis of one channel": (IMAGES[..., None] / 255, "multiplied by 255"),
    "uint8": (IMAGES, None),
}


@pytest.mark.parametrize("name", FORMS_OF_IMAGES)
def test_images_in_every_form_are_equal(tmp_path, name):
    images, text = FORMS_OF_IMAGES[name]
    path = saved(tmp_path, images, LABELS)
    data, note = noted(path) if text else (load(path), "")
    assert (text or "") in note
    np.testing.assert_array_equal(data.train.images[:, 0], IMAGES[10:])
    np.testing.assert_array_equal(data.test.images[:, 0], IMAGES[:10])
    assert data.fingerprint() == load(saved(tmp_path, IMAGES, LABELS)).fingerprint()


def test_rows_of_pixels_are_square_images(tmp_path):
    for flat in (SQUARE.reshape(40, 36), SQUARE.reshape(40, 36, 1), SQUARE.reshape(40, 1, 36)):
        data, note = noted(saved(tmp_path, flat, LABELS))
        np.testing.assert_array_equal(data.train.images[:, 0], SQUARE[10:])
        assert note == "rows of 36 pixels are grey images of 6x6"


def test_channels_last_and_first(tmp_path):
    for images in (COLOUR, COLOUR.transpose(0, 2, 3, 1)):
        np.testing.assert_array_equal(
            load(saved(tmp_path, images, LABELS)).train.images, COLOUR[10:]
        )


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float64])
def test_black_and_white_images(tmp_path, dtype):
    data, note = noted(saved(tmp_path, (IMAGES > 99).astype(dtype), LABELS))
    np.testing.assert_array_equal(data.train.images[:, 0], 255 * (IMAGES[10:] > 99))
    assert note == "pixels from 0 to 1 were multiplied by 255"


@pytest.mark.parametrize(("low", "high", "factor"), [(-1e-7, 1 + 1e-6, 255), (-1e-4, 255.0001, 1)])
def test_what_rounding_adds_to_a_range_is_not_another_range(tmp_path, low, high, factor):
    images = SQUARE / factor
    images[images == images.min()], images[images == images.max()] = low, high
    data, _ = noted(saved(tmp_path, images, LABELS))
    np.testing.assert_array_equal(data.train.images[:, 0], SQUARE[10:])


def test_bytes_of_few_levels_are_remarked_on(tmp_path):
    data, note = noted(saved(tmp_path, SQUARE // 16, LABELS))
    assert note == "pixels reach only 15 of 255 and are used as they are"
    np.testing.assert_array_equal(data.train.images[:, 0], SQUARE[10:] // 16)


FORMS_OF_LABELS = {
    "one-hot floats": (np.eye(4)[LABELS], "labels are one-hot rows"),
    "one-hot bytes": (np.eye(4, dtype=np.uint8)[LABELS], "labels are one-hot rows"),
    "one-hot booleans": (np.eye(4)[LABELS] > 0, "labels are one-hot rows"),
    "column": (LABELS[:, None], None),
    "floats": (LABELS.astype(np.float32), None),
    "half precision": (LABELS.astype(np.float16), None),
    "floats as text": (LABELS.astype(float).astype(str), "labels are numbers stored as text"),
    "text": (LABELS.astype(str), "labels are numbers stored as text"),
    "bytes": (LABELS.astype("S"), "labels are numbers stored as text"),
    "column of text": (LABELS.astype(str)[:, None], "labels are numbers stored as text"),
}


@pytest.mark.parametrize("name", FORMS_OF_LABELS)
def test_labels_in_every_form_are_equal(tmp_path, name):
    labels, text = FORMS_OF_LABELS[name]
    path = saved(tmp_path, IMAGES, labels)
    data, note = noted(path) if text else (load(path), "")
    assert note == (text or "")
    np.testing.assert_array_equal(data.train.labels, LABELS[10:])
    np.testing.assert_array_equal(data.test.labels, LABELS[:10])
    assert data.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize("encode", [False, True])
def test_labels_that_are_names(tmp_path, encode):
    labels = np.strings.encode(NAMES, "utf-8")[LABELS] if encode else NAMES[LABELS]
    data, note = noted(saved(tmp_path, IMAGES, labels))
    assert note == "labels are the names of 4 classes"
    assert data.classes == tuple(NAMES)
    np.testing.assert_array_equal(data.train.labels, LABELS[10:])


def test_one_hot_rows_keep_classes_without_images(tmp_path):
    data, _ = noted(saved(tmp_path, IMAGES, np.eye(7)[LABELS]))
    assert len(data.classes) == 7


@pytest.mark.parametrize(
    "names",
    [
        ("X_train", "y_train", "X_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("trainX", "trainY", "testX", "testY"),
        ("images-train", "labels-train", "images-test", "labels-test"),
        ("Training.Data", "Training.Targets", "Testing.Data", "Testing.Targets"),
        ("arr_0", "arr_1", "arr_2", "arr_3"),
    ],
)
def test_names_of_the_arrays(tmp_path, names):
    arrays = (IMAGES[10:], LABELS[10:], IMAGES[:10], LABELS[:10])
    np.savez(tmp_path / "set.npz", **dict(zip(names, arrays, strict=True)))
    data, note = noted(tmp_path / "set.npz")
    assert note == "{} and {} for training, {} and {} for testing".format(*names)
    np.testing.assert_array_equal(data.train.images[:, 0], IMAGES[10:])
    np.testing.assert_array_equal(data.test.labels, LABELS[:10])


def test_arrays_without_names_in_other_orders(tmp_path):
    np.savez(tmp_path / "set.npz", IMAGES[10:], IMAGES[:10], np.eye(4)[LABELS[10:]], LABELS[:10])
    data, note = noted(tmp_path / "set.npz")
    assert note.startswith("arr_0 and arr_2 for training, arr_1 and arr_3 for testing")
    np.testing.assert_array_equal(data.train.labels, LABELS[10:])


def test_medmnist(tmp_path):
    parts = {"train": slice(0, 25), "val": slice(25, 31), "test": slice(31, 40)}
    arrays = {f"{part}_images": IMAGES[chosen] for part, chosen in parts.items()}
    arrays |= {f"{part}_labels": LABELS[chosen, None] for part, chosen in parts.items()}
    np.savez(tmp_path / "bloodmnist.npz", **arrays)
    data, note = noted(tmp_path / "bloodmnist.npz")
    assert "val_images and val_labels for validation" in note
    assert [len(split) for split in (data.train, data.validation, data.test)] == [25, 6, 9]
    np.testing.assert_array_equal(data.validation.images[:, 0], IMAGES[25:31])
    np.testing.assert_array_equal(data.validation.labels, LABELS[25:31])


def test_without_test_images_some_are_held_out_by_their_pixels(tmp_path):
    def split(order):
        np.savez(tmp_path / "all.npz", X=IMAGES[order], y=LABELS[order])
        data, note = noted(tmp_path / "all.npz")
        held = {
            image.tobytes(): label for image, label in zip(*vars(data.test).values(), strict=True)
        }
        assert f"{len(held)} of 40 images, chosen by their pixels, are held out for testing" in note
        assert len(held) + len(data.train) == 40
        for image, label in held.items():
            assert LABELS[[one.tobytes() for one in IMAGES].index(image)] == label
        return held

    first = split(np.arange(40))
    assert 2 <= len(first) <= 16
    assert split(RNG.permutation(40)) == first


@pytest.mark.filterwarnings("ignore::gpucnn.errors.DataWarning")
@pytest.mark.parametrize("seed", range(3))
def test_every_class_has_training_and_test_images(seed):
    """As in folders of images; a class of one image has no test image."""
    images = np.random.default_rng(seed).integers(0, 256, (21, 5, 5), dtype=np.uint8)
    data = from_arrays(images, np.arange(21) // 2)
    assert set(data.train.labels) == set(range(11))
    assert set(data.test.labels) == set(range(10))


WORDS = ["x", "y", "train", "test", "val", "images", "labels", "0"]


@given(st.lists(st.sampled_from(WORDS), max_size=4))
def test_no_name_is_taken_for_two_things(words):
    roles = find_roles(["_".join(words)])
    assert len(roles) <= 1
    if any(word.isdigit() for word in words):
        assert not roles


def refusal(path):
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize(
    ("images", "text", "expected"),
    [
        (SQUARE // 16, "hold values from 0 to 15, expected 0 to 255", np.rint(SQUARE // 16 * 17.0)),
        (SQUARE * 257.0, "hold values from 0 to 65535", SQUARE),
        (SQUARE / 255 - 0.5, "hold values from -0.5 to 0.5", SQUARE),
        ((SQUARE / 255 - 0.13) / 0.31, "hold values from -0.419355 to 2.80645", SQUARE),
        (SQUARE / 255 / 255, "hold values from 0 to 0.00392157", SQUARE),
    ],
    ids=["sklearn", "16 bits", "centred", "standardised", "scaled twice"],
)
def test_the_line_that_scales_other_ranges(tmp_path, images, text, expected):
    images = images.astype(np.int64) if text.startswith("hold values from 0 to 15,") else images
    path = saved(tmp_path, images, LABELS, "my 'set' 😀.npz")
    message = refusal(path)
    assert f"x_train and x_test {text}" in message
    np.testing.assert_array_equal(converted(message, tmp_path).train.images[:, 0], expected[10:])


def test_the_line_for_dark_images_of_255_levels(tmp_path):
    message = refusal(saved(tmp_path, SQUARE // 4 * 1.0, LABELS, "my 'set' 😀.npz"))
    assert "hold values from 0 to 63" in message
    data = converted(message[message.index(" -- if 255 is white, run: ") :], tmp_path)
    np.testing.assert_array_equal(data.train.images[:, 0], SQUARE[10:] // 4)


def test_the_lines_for_flattened_colour_images(tmp_path):
    images = COLOUR[:, :, :5]
    for flat, line in ((images, 0), (images.transpose(0, 2, 3, 1), 1)):
        path = saved(tmp_path, flat.reshape(40, -1), LABELS, "my 'set' 😀.npz")
        message = refusal(path)
        assert "could be colour images of 5x5 in two orders" in message
        start = [i for i in range(len(message)) if message.startswith("python -c", i)][line]
        data = converted(message[start:], tmp_path)
        np.testing.assert_array_equal(data.train.images, images[10:])


@pytest.mark.parametrize(("labels", "line"), [(np.stack(3 * [LABELS + 2], 1), 0), (None, 1)])
def test_the_lines_for_labels_in_several_columns(tmp_path, labels, line):
    labels = np.eye(4)[LABELS] * 0.9 + 0.025 if labels is None else labels
    message = refusal(saved(tmp_path, IMAGES, labels, "my 'set' 😀.npz"))
    start = [i for i in range(len(message)) if message.startswith("python -c", i)][line]
    data = converted(message[start:], tmp_path)
    np.testing.assert_array_equal(data.train.labels, LABELS[10:] + (0 if line else 2))


def test_the_line_that_names_arrays(tmp_path):
    path = tmp_path / "my 'set' 😀.npz"
    np.savez(path, a=IMAGES[10:], b=LABELS[10:], c=IMAGES[:10], d=LABELS[:10])
    message = refusal(path)
    assert "has the keys a, b, c, d: expected x_train, y_train, x_test, y_test" in message
    assert len(converted(message, tmp_path).train) == 30


def test_the_line_that_moves_the_axis_of_the_images(tmp_path):
    path = tmp_path / "my 'set' 😀.npz"
    np.savez(path, x_train=IMAGES.transpose(1, 2, 0), y_train=LABELS, x_test=IMAGES, y_test=LABELS)
    data = converted(refusal(path), tmp_path)
    np.testing.assert_array_equal(data.train.images[:, 0], IMAGES)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.where(IMAGES == 7, np.nan, IMAGES / 255), LABELS, "holds NaN or infinity, first in"),
        (np.where(IMAGES == 7, np.inf, IMAGES), LABELS, "holds NaN or infinity, first in image"),
        (IMAGES, np.eye(4)[LABELS] + np.eye(4)[0], "its rows are not one-hot"),
        (IMAGES, np.eye(4)[LABELS] * 0.9 + 0.025, "if they are probabilities, run: "),
        (IMAGES, (np.eye(4)[LABELS] + np.eye(4)[3]) > 0, "several labels for an image are not"),
        (IMAGES, np.eye(4)[LABELS] * (LABELS != 2)[:, None], "has 0 classes: expected one-hot"),
        (IMAGES, np.where(LABELS == 1, "", "a"), "is empty, expected the name of a class"),
        (IMAGES, np.where(LABELS == 1, b"\xff", b"a"), "holds bytes that are not UTF-8"),
        (IMAGES, LABELS.astype("M8[s]"), "is datetime64[s], expected class numbers"),
        (np.stack(4 * [IMAGES], -1), LABELS, "To drop the fourth channel, run: python -c"),
        (np.stack(5 * [IMAGES], -1)[..., None], LABELS, "expected (N, H, W)"),
    ],
)
def test_what_is_not_certain_is_refused(tmp_path, x, y, message):
    assert message in refusal(saved(tmp_path, x, y))


def test_networks_are_not_data_sets(tmp_path):
    np.savez(tmp_path / "w.npz", **{"conv1.weight": IMAGES, "conv1.bias": LABELS})
    assert "holds the weights of a network (conv1.weight, ...), not a data set" in refusal(
        tmp_path / "w.npz"
    )
    import gpucnn

    gpucnn.save_model(gpucnn.models.mlp(), tmp_path / "model.npz")
    assert "is a checkpoint of gpucnn, a network and not a data set" in refusal(
        tmp_path / "model.npz"
    )


# from_arrays


def test_python_arrays_give_the_same_data_as_files(tmp_path):
    with pytest.warns(DataWarning, match=r"^mine was read as follows: pixels from 0 to 1 were"):
        data = from_arrays(
            (IMAGES[10:] / 255).tolist(),
            LABELS[10:].astype(object),
            IMAGES[:10] / 255,
            LABELS[:10].tolist(),
            x_val=IMAGES[:3] / 255,
            y_val=LABELS[:3],
            classes=list(NAMES),
            name="mine",
        )
    assert data.fingerprint() == load(saved(tmp_path, IMAGES, LABELS)).fingerprint()
    assert (data.classes, data.name, len(data.validation)) == (tuple(NAMES), "mine", 3)


def test_classes_give_the_order_of_names():
    order = ["cat", "élan", "fox", "bee", "ant"]
    names = [str(NAMES[k]) for k in LABELS]
    with pytest.warns(DataWarning):
        data = from_arrays(IMAGES, names, IMAGES, names, classes=order)
    assert [data.classes[k] for k in data.train.labels] == names
    assert data.classes == tuple(order)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((IMAGES, LABELS, IMAGES), SettingError, "x_test and y_test belong together"),
        ((IMAGES, [object()] * 40), DataError, "y_train holds objects of type object"),
        (([[1, 2], [3]], [0, 1]), DataError, "x_train is not an array: "),
        ((5, LABELS), DataError, r"x_train has shape \(\), dtype int64: it is empty"),
        ((IMAGES[:1], LABELS[:1]), DataError, "1 images are too few to hold some out"),
    ],
)
def test_wrong_arguments(arguments, kind, message):
    with pytest.raises(kind, match=message):
        from_arrays(*arguments)


def test_wrong_classes():
    with pytest.raises(DataError, match="classes has 2 names, but there are labels up to 3"):
        from_arrays(IMAGES, LABELS, IMAGES, LABELS, classes=["a", "b"])
    with pytest.raises(DataError, match="classes has the name 'a' more than once"):
        from_arrays(IMAGES, LABELS, IMAGES, LABELS, classes=list("abca"))
    with pytest.raises(DataError, match="classes has the name 'é' more than once"):
        from_arrays(IMAGES, LABELS, IMAGES, LABELS, classes=["a", "é", "b", "e\u0301"])


def test_the_line_that_converts_python_arrays():
    arrays = {"x_train": SQUARE // 16 * 1.0, "x_test": SQUARE // 16 * 1.0}
    with pytest.raises(DataError) as caught:
        from_arrays(arrays["x_train"], LABELS, arrays["x_test"], LABELS)
    line = str(caught.value).partition("is white, run: ")[2].partition(" -- if")[0]
    exec(line, arrays)
    assert re.match(r"x_train = \(x_train \* ", line)
    np.testing.assert_array_equal(arrays["x_test"], SQUARE // 16 * 17)


def test_the_line_that_converts_probabilities_in_python():
    arrays = {"y_train": np.eye(4)[LABELS] * 0.9 + 0.025}
    with pytest.raises(DataError) as caught:
        from_arrays(IMAGES, arrays["y_train"], IMAGES, LABELS)
    exec(str(caught.value).rpartition("run: ")[2], arrays)
    np.testing.assert_array_equal(arrays["y_train"], LABELS)
