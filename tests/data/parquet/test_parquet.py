"""Parquet files with image files in a column, as Hugging Face publishes them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn import data
from gpucnn.errors import DataError, SettingError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
RNG = np.random.default_rng(5)


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(count: int) -> Any:
    return RNG.integers(0, 256, (count, 6, 5), dtype=np.uint8)


def write(path: Path, images: Any, labels: Any, names: Any = None, kind: Any = None) -> Path:
    """Write a table with the columns image and label, and the names of classes as metadata."""
    metadata = None
    if names is not None:
        label = {"names": names, "_type": "ClassLabel"}
        features = {"image": {"_type": "Image"}, "label": label}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    fields = [("image", IMAGE), ("label", kind or pa.int64())]
    cells = [{"bytes": png(image), "path": f"{k}.png"} for k, image in enumerate(images)]
    table = pa.table({"image": cells, "label": labels}, schema=pa.schema(fields, metadata=metadata))
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=7)
    return path


@pytest.mark.parametrize("place", [".", "data"])
def test_files_for_training_and_testing(tmp_path: Path, place: str) -> None:
    train, test, more = pixels(20), pixels(9), pixels(4)
    names = ["cat", "dog"]
    folder = tmp_path / "pets" / place
    write(folder / "train-00000-of-00002.parquet", train[:15], [k % 2 for k in range(15)], names)
    write(folder / "train-00001-of-00002.parquet", train[15:], [1] * 5, names)
    write(folder / "test-00000-of-00001.parquet", test, [0] * 9, names)
    write(folder / "validation-00000-of-00001.parquet", more, [1] * 4, names)
    with pytest.warns(match="image of val is used for validation"):
        found = data.load(tmp_path / "pets")
    assert found.classes == ("cat", "dog")
    np.testing.assert_array_equal(found.train.images, train[:, None])
    np.testing.assert_array_equal(found.train.labels, [k % 2 for k in range(15)] + [1] * 5)
    np.testing.assert_array_equal(found.test.images, test[:, None])
    assert found.validation is not None
    np.testing.assert_array_equal(found.validation.images, more[:, None])
    with pytest.warns(match="validation"):
        one = data.load(folder / "train-00001-of-00002.parquet")
    assert one.fingerprint() == found.fingerprint()


def test_one_file_of_colour_images_with_names(tmp_path: Path) -> None:
    images: list[Any] = list(pixels(40))
    images[3] = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    labels = ["cat" if k % 3 else "dog" for k in range(40)]
    path = write(tmp_path / "pets.parquet", images, labels, kind=pa.string())
    with pytest.warns(match=r"labels are the names of 2 classes; there are no test images"):
        found = data.load(path)
    assert repr(found).startswith("<Data 'pets': 3")
    assert found.input_shape == (3, 6, 5)
    assert len(found.train) + len(found.test) == 40
    with pytest.warns(match="no test images"):
        assert data.load(path, resize=(3, 4)).input_shape == (3, 3, 4)


def test_numbers_to_predict(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pixels(30), np.linspace(0, 1, 30), kind=pa.float64())
    with pytest.warns(match="numbers to predict"):
        assert data.load(path).targets == ("target",)
    with pytest.warns(match="no test images"):
        assert data.load(path, targets=["label"]).targets == ("label",)


def test_files_that_are_not_understood_are_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pixels(8), [0, 1, None, 0, 1, 0, 1, 0])
    with pytest.raises(DataError, match=r"a.parquet, row 2 has no label: expected a label"):
        data.load(path)
    with pytest.raises(DataError, match=r"no column named 'size' \(columns: image, label\)"):
        data.load(path, targets=["size"])
    sizes = [*pixels(9), np.zeros((4, 4), np.uint8)]
    path = write(tmp_path / "b.parquet", sizes, [0] * 10)
    with pytest.raises(DataError, match=r"b.parquet, row 0 is 6x5 .*b.parquet, row 9 is 4x4"):
        data.load(path)
    cells = [{"bytes": None, "path": "x.png"}]
    table = pa.table(
        {"image": cells, "label": [0]}, schema=pa.schema([("image", IMAGE), ("label", pa.int64())])
    )
    parquet.write_table(table, tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"c.parquet, row 0 has no bytes of an image"):
        data.load(tmp_path / "c.parquet")
    parquet.write_table(pa.table({"label": [0]}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"no column of image files \(columns: label\)"):
        data.load(tmp_path / "d.parquet")
    path = write(tmp_path / "e.parquet", pixels(8), [0] * 8)
    content = path.read_bytes()
    for damaged in (b"", b"PAR1", content[:-20], content[:60] + b"?" * 40 + content[100:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"e.parquet"):
            data.load(path)
    write(tmp_path / "f" / "train.parquet", pixels(3), [0] * 3)
    write(tmp_path / "f" / "other.parquet", pixels(3), [0] * 3)
    with pytest.raises(DataError, match=r"other.parquet next to files named train"):
        data.load(tmp_path / "f")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", pixels(3), [0] * 3)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(SettingError, match=r"needs pyarrow: pip install 'gpucnn\[parquet\]'"):
        data.load(path)
