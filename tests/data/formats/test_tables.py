"""Tables of pixels: Kaggle's and other layouts, and what is said of those that are not images."""

import warnings

import numpy as np
import pytest
from converting import converted
from handwriting import as_data, digits, emnist_digits, transposed
from peak import peak_memory

from gpucnn.data import load
from gpucnn.errors import DataError, DataWarning, SettingError

RNG = np.random.default_rng(8)
IMAGES = RNG.integers(0, 256, (30, 5, 5), dtype=np.uint8)
LABELS = np.arange(30) % 3
KAGGLE = ["label", *(f"pixel{k}" for k in range(25))]


def write(path, images=IMAGES, labels=LABELS, header=KAGGLE, separator=",", last=False):
    """Write a table: the label first or ``last``; None leaves labels or the header out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [] if header is None else [list(header)]
    for index, image in enumerate(images):
        row = [str(value) for value in image.ravel()]
        label = [] if labels is None else [str(labels[index])]
        lines.append(row + label if last else label + row)
    path.write_text("".join(separator.join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def pair(folder, train="mnist_train.csv", test="mnist_test.csv", **options):
    """Write a table of training images and one of test images."""
    write(folder / train, IMAGES[8:], LABELS[8:], **options)
    write(folder / test, IMAGES[:8], LABELS[:8], **options)
    return folder / train


def quietly(path, **options):
    """Load a data set; return it with its notes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return load(path, **options)


def refusal(path, **options):
    with pytest.raises(DataError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path), "FILE")


def check(data, name="mnist"):
    np.testing.assert_array_equal(data.train.images[:, 0], IMAGES[8:])
    np.testing.assert_array_equal(data.train.labels, LABELS[8:])
    np.testing.assert_array_equal(data.test.images[:, 0], IMAGES[:8])
    np.testing.assert_array_equal(data.test.labels, LABELS[:8])
    assert (data.name, data.classes) == (name, ("0", "1", "2"))


LAYOUTS = {
    "kaggle": {},
    "rows and columns": {"header": ["label", *(f"{a}x{b}" for a in "12345" for b in "12345")]},
    "no header": {"header": None},
    "label last": {"header": [*KAGGLE[1:], "class"], "last": True},
    "another name": {"header": ["letter", *KAGGLE[1:]]},
    "pandas' numbers": {"header": list(map(str, range(26)))},
    "pandas' names of a row": {"header": ["0", *(f"0.{k}" for k in range(1, 25)), "7"]},
    "quotes": {"header": [f'"{name}"' for name in KAGGLE]},
    "semicolons": {"separator": ";"},
    "tabs": {"separator": "\t"},
    "spaces": {"separator": ", "},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(tmp_path, layout):
    data = quietly(pair(tmp_path, **LAYOUTS[layout]))
    check(data)
    (note,) = data.notes
    assert "rows of 25 pixels are grey images of 5x5" in note


def test_names_of_the_two_files(tmp_path):
    names = [
        ("train.csv", "test.csv", None),
        ("sign_mnist_train.csv", "sign_mnist_test.csv", "sign_mnist"),
        ("emnist-digits-train.csv", "emnist-digits-test.csv", "emnist-digits"),
        ("Train.CSV", "Test.CSV", None),
        ("a_train/a_train.csv", "a_test/a_test.csv", "a"),
        ("b_train.csv/b_train.csv", "b_test.csv/b_test.csv", "b"),
    ]
    for number, (train, test, name) in enumerate(names):
        folder = tmp_path / f"set{number}"
        check(quietly(pair(folder, train, test)), name or folder.name)
        check(quietly(folder), name or folder.name)


def test_kaggles_digits_hold_a_part_out_for_testing(tmp_path):
    write(tmp_path / "digit-recognizer" / "train.csv")
    write(tmp_path / "digit-recognizer" / "test.csv", labels=None, header=KAGGLE[1:])
    write(tmp_path / "digit-recognizer" / "sample_submission.csv", header=["ImageId", "Label"])
    data = quietly(tmp_path / "digit-recognizer")
    assert data.name == "digit-recognizer"
    assert len(data.train) + len(data.test) == 30
    (note,) = data.notes
    assert "test.csv has no labels and is not used" in note
    assert f"so {len(data.test)} of 30 images, chosen by their pixels, are held out" in note
    assert quietly(tmp_path / "digit-recognizer" / "train.csv").fingerprint() == data.fingerprint()
    assert "FILE belongs to the training images in" in refusal(
        tmp_path / "digit-recognizer" / "test.csv"
    )


def test_a_table_without_labels(tmp_path):
    path = write(tmp_path / "pixels.csv", labels=None, header=KAGGLE[1:])
    assert refusal(path) == (
        "FILE has columns of pixels but none of labels, so it can neither train nor test a"
        " network: give the table with a column named label, such as train.csv, or name the"
        " columns of numbers to predict with --targets"
    )


def test_validation_images(tmp_path):
    pair(tmp_path)
    write(tmp_path / "mnist_val.csv", IMAGES[:3], LABELS[:3])
    data = quietly(tmp_path / "mnist_train.csv")
    check(data)
    np.testing.assert_array_equal(data.validation.images[:, 0], IMAGES[:3])


def test_a_column_of_numbers_is_not_a_pixel(tmp_path):
    for name in ("id", "", "Unnamed: 0", "ImageId"):
        images = np.concatenate([np.arange(30)[:, None] + 500, IMAGES.reshape(30, 25)], 1)
        path = write(tmp_path / "a.csv", images, header=["label", name, *KAGGLE[1:]])
        data = quietly(path)
        held = {image.tobytes() for image in (*data.train.images, *data.test.images)}
        assert held == {image.tobytes() for image in IMAGES}


def test_labels_that_are_names(tmp_path):
    write(tmp_path / "a.csv", labels=np.array(["cat", '"dog"', "élan"])[LABELS])
    data = quietly(tmp_path / "a.csv")
    assert data.classes == ("cat", "dog", "élan")


def test_a_byte_order_mark_and_line_ends_of_windows(tmp_path):
    path = pair(tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    check(quietly(path))


def test_pixels_from_0_to_1(tmp_path):
    write(tmp_path / "a_train.csv", (IMAGES / 255)[8:], LABELS[8:])
    write(tmp_path / "a_test.csv", (IMAGES / 255)[:8], LABELS[:8])
    data = quietly(tmp_path / "a_train.csv")
    check(data, "a")
    assert "pixels from 0 to 1 were multiplied by 255" in data.notes[0]


def test_more_rows_than_are_read_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("gpucnn.data.formats.rows._BLOCK", 300)
    check(quietly(pair(tmp_path)))
    images = IMAGES.astype(float)
    images[:9] = images[:9].round() // 2
    images[20, 0, 0] = 0.5  # the first block holds integers, a later one does not
    data = quietly(write(tmp_path / "b.csv", images))
    assert "rounded to integers" in data.notes[0]


def test_the_same_data_as_from_arrays(tmp_path):
    split = digits(60)
    names = ["label", *(f"pixel{k}" for k in range(784))]
    write(tmp_path / "a_train.csv", split.images, split.labels, header=names)
    write(tmp_path / "a_test.csv", split.images, split.labels, header=names)
    data = quietly(tmp_path / "a_train.csv")
    assert data.fingerprint() == as_data(split).fingerprint()
    assert data.preparation == "digit"


def test_emnists_tables_lie_transposed(tmp_path):
    split = transposed(emnist_digits(100))
    for part in ("train", "test"):
        path = tmp_path / f"emnist-digits-{part}.csv"
        write(path, split.images, split.labels, header=None)
    data = quietly(tmp_path / "emnist-digits-train.csv")
    np.testing.assert_array_equal(data.train.images, emnist_digits(100).images)
    assert "are stored transposed" in data.notes[1]


def test_the_line_that_converts(tmp_path):
    path = write(tmp_path / "my 'set' 😀.csv", IMAGES // 16, np.array(["cat", "a b", "c"])[LABELS])
    message = refusal(path)
    assert "pixels holds values from 0 to 15" in message
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        data = converted(message.replace("FILE", str(path)), tmp_path)
    held = {image.tobytes() for image in (*data.train.images, *data.test.images)}
    assert held == {image.tobytes() for image in IMAGES // 16 * 17}
    assert data.classes == ("a b", "c", "cat")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "FILE is empty: expected a row for each image"),
        (lambda text: text.partition("\n")[0], "FILE has a header and no rows: expected a row"),
        (
            lambda text: text.replace("\n", ",3\n").replace(",3", "", 1),
            "FILE, line 2 has 27 columns, expected 26 as in the first line",
        ),
        (lambda text: text[:400], "columns, expected 26 as in the first line"),
        (
            lambda text: text + "1" + 25 * ",x" + "\n",
            "FILE, line 32, column 2: 'x' is not a number",
        ),
        (lambda text: text + "1" + 25 * "," + "\n", "FILE, line 32, column 2: '' is not a number"),
        (lambda text: text + "1" + 25 * ",nan" + "\n", "holds NaN or infinity, first in image 30"),
        (lambda text: text + "1" + 25 * ",-1" + "\n", "holds values from -1 to 255, expected 0"),
        (lambda text: text + 26 * "\0," + "\n", "FILE, line 32 has 27 columns"),
        (lambda text: "name,age\nx,3\n", "FILE has 2 columns, 2 of them without the label"),
        (lambda text: text.encode("utf-16"), "FILE is not text in UTF-8"),
        (lambda text: text.encode() + b"\xff", "FILE is not text in UTF-8"),
        (lambda text: "PK\x03\x04", "FILE has 1 columns, 1 of them without the label"),
    ],
)
def test_what_is_refused(tmp_path, change, message):
    path = write(tmp_path / "a.csv")
    content = change(path.read_text())
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refusal(path)


def test_an_endless_line_takes_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("gpucnn.data.formats.rows._MAX_LINE", 1 << 16)
    path = tmp_path / "a.csv"
    path.write_bytes(b"1," * (1 << 22))
    message, peak = peak_memory(refusal, path)
    assert message == "FILE, line 1 has more than 65536 characters"
    assert peak < 4_000_000


def test_a_long_label_takes_little_memory(tmp_path):
    """An array of text has the length of the longest one for every row."""
    path = write(tmp_path / "a.csv", np.zeros((4000, 4, 4), np.uint8), ["a"] * 4000, None)
    with path.open("a") as file:
        file.write(",".join(["b" * 20_000, *["0"] * 16]) + "\n")
    message, peak = peak_memory(refusal, path)
    assert message == ("FILE, line 4001 has a label of 20000 characters, expected at most 256")
    assert peak < 20_000_000


def test_tables_that_are_not_images_do_not_hide_folders_of_images(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for k, name in enumerate("ab" * 6):
        (tmp_path / name).mkdir(exist_ok=True)
        image.fromarray(IMAGES[k]).save(tmp_path / name / f"{k}.png")
    (tmp_path / "labels.csv").write_text("file,class\n0.png,a\n")
    assert quietly(tmp_path).classes == ("a", "b")


def test_several_tables(tmp_path):
    for name in ("a", "b"):
        pair(tmp_path, f"{name}_train.csv", f"{name}_test.csv")
    message = refusal(tmp_path)
    assert "FILE holds several tables: a_train.csv, b_train.csv. Give the one" in message
    (tmp_path / "b_train.csv").rename(tmp_path / "a_train.tsv")
    assert "FILE holds several tables: a_train.csv, a_train.tsv. Give the one" in refusal(tmp_path)
    with pytest.raises(
        SettingError, match="resize is for folders of images and Parquet files only"
    ):
        load(tmp_path / "a_train.csv", resize=(3, 3))


def number_table(path, headings=("id", "x", "y", "label")):
    """A table of 12 images of 5 by 5 pixels, with columns of numbers that count in halves."""
    lines = [",".join([*headings, *KAGGLE[1:]])]
    columns = {"id": 1, "x": 0.5, "y": -1}
    for row in range(12):
        numbers = [
            str(columns[name] * row if name in columns else row // 2 / 2) for name in headings
        ]
        lines.append(",".join([*numbers, *map(str, IMAGES[row].ravel())]))
    path.write_text("\n".join(lines) + "\n")
    return path


def all_labels(data):
    return sorted([*data.train.labels.tolist(), *data.test.labels.tolist()])


def test_named_columns_are_numbers_to_predict(tmp_path):
    data = quietly(number_table(tmp_path / "set.csv"), targets=["y", "x"])
    assert data.targets == ("y", "x")
    assert all_labels(data) == sorted([-float(row), row / 2] for row in range(12))
    assert data.train.images.shape[1:] == (1, 5, 5), "the label is not a pixel"


def test_with_regression_labels_are_numbers_and_without_it_classes(tmp_path):
    path = number_table(tmp_path / "set.csv", headings=("id", "label"))
    data = quietly(path, regression=True)
    assert (data.targets, all_labels(data)) == (("label",), [row // 2 / 2 for row in range(12)])
    with pytest.warns(DataWarning, match=r"6 classes \(if they are numbers.*--regression\)"):
        classes = load(path)
    assert len(classes.classes) == 6


@pytest.mark.parametrize(
    ("old", "new", "targets", "message"),
    [
        ("2.5,-5", "nan,-5", ["x"], "FILE, line 7, column x is 'nan', expected a finite number"),
        ("2.5,-5", "2.5,1e999", ["x", "y"], "FILE, line 7, column y is '1e999', expected a fin"),
        ("2.5,-5", "red,-5", ["x"], "FILE, line 7, column x is 'red', expected a finite number"),
        ("id", "id", ["z"], "FILE has no column named 'z': the names without a number are id, x"),
        ("id,x,y", "x,x,y", ["x"], "FILE has 2 columns named 'x': give each column a name"),
    ],
)
def test_columns_that_are_no_numbers_to_predict(tmp_path, old, new, targets, message):
    path = number_table(tmp_path / "set.csv")
    path.write_text(path.read_text().replace(old, new, 1))
    assert refusal(path, targets=targets).startswith(message)


def test_columns_need_a_header_and_names(tmp_path):
    path = number_table(tmp_path / "set.csv")
    for targets in ("x", [], ["x", "x"], [1]):
        with pytest.raises(SettingError, match="targets"):
            load(path, targets=targets)
    path.write_text(path.read_text().partition("\n")[2])
    assert refusal(path, targets=["x"]) == "FILE has no header, so no column is named 'x'"
