"""Packing: from every source the data in memory, interrupted at any time, and its faults."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn import data, files
from gpucnn.data.arrays.targets import AUTO
from gpucnn.data.choice import Reading
from gpucnn.data.formats import rows
from gpucnn.data.packing import pack_source
from gpucnn.errors import DataError

RNG = np.random.default_rng(3)


def idx(folder: Path) -> Path:
    """IDX files, those for training in gzip."""
    folder.mkdir()
    for part, count, opened in (("train", 90, gzip.open), ("t10k", 20, open)):
        suffix = ".gz" if opened is gzip.open else ""
        pixels, labels = RNG.integers(0, 256, (count, 6, 5)), RNG.integers(0, 10, count)
        with opened(folder / f"{part}-images-idx3-ubyte{suffix}", "wb") as file:
            file.write(struct.pack(">4I", 2051, count, 6, 5) + pixels.astype("u1").tobytes())
        with opened(folder / f"{part}-labels-idx1-ubyte{suffix}", "wb") as file:
            file.write(struct.pack(">2I", 2049, count) + labels.astype("u1").tobytes())
    return folder


def npz(folder: Path) -> Path:
    """Compressed floats in colour, channels last, without test images."""
    folder.mkdir()
    images = RNG.random((90, 5, 6, 3)).astype("f4")
    np.savez_compressed(folder / "set.npz", x=images, y=np.eye(4)[RNG.integers(0, 4, 90)])
    return folder / "set.npz"


def numbers(folder: Path) -> Path:
    """Numbers to predict, with validation images, one array in Fortran order."""
    folder.mkdir()
    arrays: dict[str, Any] = {}
    for part in ("train", "test", "val"):
        arrays[f"x_{part}"] = RNG.integers(0, 256, (30, 5, 6), dtype=np.uint8)
        arrays[f"y_{part}"] = RNG.random((30, 2))
    arrays["x_test"] = np.asfortranarray(arrays["x_test"])
    np.savez(folder / "set.npz", **arrays)
    return folder / "set.npz"


def table(folder: Path) -> Path:
    """A table with a header and names of classes, and one of test images."""
    folder.mkdir()
    for part in ("train", "test"):
        with (folder / f"{part}.csv").open("w") as file:
            file.write("label," + ",".join(f"p{k}" for k in range(16)) + "\n")
            for row in RNG.integers(0, 256, (40, 16)):
                file.write(f"{'cat' if row[0] < 128 else 'dog'},{','.join(map(str, row))}\n")
    return folder / "train.csv"


def images(folder: Path) -> Path:
    """Image files of two sizes and colours, one of them damaged, and other files."""
    for number in range(60):
        path = folder / f"class {number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (7, 6, 3) if number == 4 else (6, 6)
        Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:60])
    (folder / "class 1" / "notes.txt").write_text("text")
    return folder


def parquet(folder: Path) -> Path:
    """A Parquet file of row groups of seven, without test images."""
    pa, writer = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder.mkdir()
    cells = []
    for image in RNG.integers(0, 256, (60, 6, 6), dtype=np.uint8):
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        cells.append(buffer.getvalue())
    rows = pa.table({"image": cells, "label": RNG.integers(0, 3, 60)})
    writer.write_table(rows, folder / "set.parquet", row_group_size=7)
    return folder / "set.parquet"


MAKERS = [idx, npz, numbers, table, images, parquet]


def pack(source: Path, folder: Path, on_progress: Any = None) -> tuple[str, ...]:
    resize = (6, 6) if source.is_dir() and not any(source.glob("train*")) else None
    how = Reading(resize, 0, on_progress, AUTO, None, lazy=True)
    return pack_source(source, folder, how, shard_bytes=30 * 16)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.filterwarnings("ignore::gpucnn.errors.DataWarning")
def test_every_source_is_packed_as_it_is_in_memory(tmp_path: Path, make: Any) -> None:
    source, folder = make(tmp_path / "source"), tmp_path / "packed {set} %s"
    notes = pack(source, folder)
    found = data.load(folder)
    expected = data.load(source, resize=(6, 6) if make is images else None)
    assert repr(found) == repr(expected)
    assert found.preparation == expected.preparation
    assert notes == expected.notes
    pairs = [(found.train, expected.train), (found.test, expected.test)]
    if expected.validation is not None:
        pairs.append((found.validation, expected.validation))
    for one, other in pairs:
        np.testing.assert_array_equal(one.images[:], other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.fingerprint() == other.fingerprint()
        assert one.statistics() == other.statistics()
    assert data.verify(folder)[0] == len(content(folder)) - 1


@pytest.mark.parametrize("make", MAKERS)
def test_an_interrupted_call_is_continued_where_it_was(tmp_path: Path, make: Any) -> None:
    source, folder = make(tmp_path / "source"), tmp_path / "packed"
    pack(source, tmp_path / "at once")
    calls: list[tuple[str, int, int]] = []

    def stop(*call: Any) -> None:
        calls.append(call)
        if call[0] == "packed" and call[1] >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(source, folder, stop)
    with pytest.raises(DataError, match="is not packed completely: continue with gpucnn pack"):
        data.load(folder)
    written = {path: path.stat().st_mtime_ns for path in folder.glob("train-images-*.npy")}
    assert written
    (folder / ".train-images-00009.npy.tmp").write_bytes(b"of a killed process")
    pack(source, folder)
    for path, time in written.items():
        assert path.stat().st_mtime_ns == time
    assert content(folder) == content(tmp_path / "at once")
    pack(source, folder)  # complete: nothing is done
    assert content(folder) == content(tmp_path / "at once")


def test_a_damaged_file_of_an_interrupted_call_is_written_again(tmp_path: Path) -> None:
    source, folder = table(tmp_path / "source"), tmp_path / "packed"
    pack(source, tmp_path / "at once")

    def stop(what: str, done: int, total: int) -> None:
        if what == "packed" and done > 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(source, folder, stop)
    path = folder / "train-images-00000.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    pack(source, folder)
    assert content(folder) == content(tmp_path / "at once")


@pytest.mark.parametrize("make", [npz, images])
def test_a_source_that_changed_is_not_continued(tmp_path: Path, make: Any) -> None:
    source, folder = make(tmp_path / "source"), tmp_path / "packed"

    def stop(what: str, done: int, total: int) -> None:
        if what == "packed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(source, folder, stop)
    changed = source if source.is_file() else source / "class 0" / "3.png"
    os.utime(changed, (1, 1))
    with pytest.raises(DataError, match=r"packed was begun before (set.npz|files) changed: remove"):
        pack(source, folder)
    other = npz(tmp_path / "other")
    with pytest.raises(DataError, match=r"packed was begun with source '.*', now it is '.*other"):
        pack(other, folder)


@pytest.mark.parametrize("make", [npz, images])
def test_a_source_that_changes_while_it_is_packed_is_named(tmp_path: Path, make: Any) -> None:
    source, folder = make(tmp_path / "source"), tmp_path / "packed"

    def change(what: str, done: int, total: int) -> None:
        if what != "packed" or done > 10:
            return
        for path in [source] if source.is_file() else source.glob("*/*.png"):
            path.write_bytes(path.read_bytes() + b"?")

    with pytest.raises(DataError, match=r"(set.npz|png) was changed while it was read"):
        pack(source, folder, change)
    assert not (folder / "dataset.json").exists()


def test_a_full_disk_leaves_what_can_be_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = table(tmp_path / "source"), tmp_path / "packed"
    sync, calls = files.sync, []

    def full(descriptor: int, path: Any) -> None:
        calls.append(path)
        if len([path for path in calls if "train-images" in os.fspath(path)]) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor, path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            pack(source, folder)
    assert caught.value.filename == os.fspath(folder / "train-images-00001.npy")
    pack(source, folder)
    pack(source, tmp_path / "at once")
    assert content(folder) == content(tmp_path / "at once")


def test_other_options_start_over_where_nothing_was_packed(tmp_path: Path) -> None:
    source, folder = images(tmp_path / "source"), tmp_path / "packed"
    with pytest.raises(DataError, match="--resize HxW"):
        pack_source(source, folder, Reading(None, 0, None, AUTO, lazy=True))
    assert list(folder.glob(".examined-*.npy"))
    pack(source, folder)


def test_folders_that_hold_something_else(tmp_path: Path) -> None:
    source = table(tmp_path / "source")
    with pytest.raises(DataError, match="source is not empty: give a new folder"):
        pack(source, source.parent)
    pack(source, tmp_path / "packed")
    with pytest.raises(DataError, match=r"holds a data set, packed with source '.*', now it is"):
        pack(npz(tmp_path / "other"), tmp_path / "packed")
    with pytest.raises(DataError, match="does not exist"):
        pack(tmp_path / "nothing", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("make", [npz, table, idx])
def test_a_source_that_changed_since_it_was_packed(tmp_path: Path, make: Any) -> None:
    source, folder = make(tmp_path / "source"), tmp_path / "packed"
    pack(source, folder)
    before = content(folder)
    changed = source if source.is_file() else source / "t10k-labels-idx1-ubyte"
    os.utime(changed, (1, 1))
    with pytest.raises(DataError, match=f"{changed.name} has changed since it was packed in"):
        pack(source, folder)
    changed.unlink()
    pack(source, folder)  # complete, whatever became of the source
    assert content(folder) == before


def test_a_folder_of_images_that_changed_since_it_was_packed(tmp_path: Path) -> None:
    source, folder = images(tmp_path / "source"), tmp_path / "packed"
    notes = pack(source, folder)
    assert pack(source, folder) == notes
    added = source / "class 1" / "new.png"
    for change in (
        lambda: shutil.copy(source / "class 1" / "1.png", added),
        lambda: added.rename(source / "class 2" / "new.png"),
        lambda: shutil.rmtree(source / "class 0"),
    ):
        change()
        with pytest.raises(DataError, match="source has changed since it was packed in"):
            pack(source, folder)
    shutil.rmtree(source)
    how = Reading((6, 6), 0, None, AUTO, None, lazy=True)
    assert pack_source(source, folder, how) == notes  # complete, whatever became of the source


def test_a_folder_of_images_by_its_relative_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = images(tmp_path / "source"), tmp_path / "packed"
    how = Reading((6, 6), 0, None, AUTO, None, lazy=True)
    for place, name in ((source, "."), (tmp_path, "source"), (tmp_path, source)):
        monkeypatch.chdir(place)
        notes = pack_source(name, folder, how)
        assert pack_source(source, folder, how) == notes  # the same files
        shutil.rmtree(folder)


def test_a_packed_folder_without_its_description_is_named(tmp_path: Path) -> None:
    pack(table(tmp_path / "source"), tmp_path / "packed")
    (tmp_path / "packed" / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"packed has lost its dataset.json: pack the data set"):
        data.load(tmp_path / "packed")


def test_a_table_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, parsed = table(tmp_path / "source"), []
    source.with_name("test.csv").unlink()  # test images are drawn, by their digests
    numbers = rows._numbers

    def counted(path: Path, block: list[tuple[int, str]], layout: Any) -> Any:
        parsed.extend(number for number, _ in block)
        return numbers(path, block, layout)

    monkeypatch.setattr(rows, "_numbers", counted)
    pack(source, tmp_path / "packed")
    assert parsed == list(range(2, 42))
    assert not [path for path in (tmp_path / "packed").iterdir() if path.suffix == ".tmp"]


def test_two_processes_do_not_pack_into_one_folder(tmp_path: Path) -> None:
    source, folder = table(tmp_path / "source"), tmp_path / "packed"

    def again(what: str, done: int, total: int) -> None:
        with pytest.raises(DataError, match="packed is being packed by another process"):
            pack(source, folder)

    pack(source, folder, again)
    assert len(data.load(folder).train) == 40
