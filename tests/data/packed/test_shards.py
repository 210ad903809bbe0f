"""Packed data sets: the same data as in memory, read a few images at a time."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packing import pack_data
from peak import peak_memory
from small import number_data, small_data

from gpucnn.data import Data, Split, load, verify
from gpucnn.data.digests import digests, seen_digests
from gpucnn.data.packed.arrays import DigestFile, Entry, read_array
from gpucnn.errors import DataError


def with_all(data: Data) -> Data:
    """The data with a validation split and a preparation."""
    from dataclasses import replace

    return replace(data, validation=data.test.limit(15), preparation="plain")


def assert_same(found: Split, expected: Split) -> None:
    assert found.on_disk
    assert not expected.on_disk
    np.testing.assert_array_equal(found.images[:], expected.images)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.fingerprint() == expected.fingerprint()
    assert found.statistics() == expected.statistics()
    np.testing.assert_array_equal(digests(found), digests(expected))


@pytest.mark.parametrize("data", [small_data(channels=3), number_data()])
def test_packed_data_are_the_data(tmp_path: Path, data: Data) -> None:
    data = with_all(data)
    found = pack_data(data, tmp_path / "set")
    assert repr(found) == repr(data)
    assert found.preparation == "plain"
    pairs = [(found.train, data.train), (found.test, data.test)]
    assert found.validation is not None
    assert data.validation is not None
    for one, other in (*pairs, (found.validation, data.validation)):
        assert_same(one, other)
    np.testing.assert_array_equal(seen_digests(found), seen_digests(data))


def test_numpy_maps_every_file(tmp_path: Path) -> None:
    data = with_all(small_data())
    pack_data(data, tmp_path)
    parts = [np.load(path, mmap_mode="r") for path in sorted(tmp_path.glob("train-images-*.npy"))]
    assert len(parts) == 7
    np.testing.assert_array_equal(np.concatenate(parts), data.train.images)
    np.testing.assert_array_equal(np.load(tmp_path / "train-labels.npy"), data.train.labels)


def test_parts_are_those_of_the_data(tmp_path: Path) -> None:
    data = with_all(small_data())
    found = pack_data(data, tmp_path)
    assert_same(found.train.limit(33), data.train.limit(33))
    (rest, held), (expected_rest, expected) = found.hold_out(12, 5), data.hold_out(12, 5)
    assert_same(rest.train, expected_rest.train)
    assert_same(held, expected)
    assert_same(held.limit(5), expected.limit(5))
    assert found.class_weights() == data.class_weights()


def test_images_are_taken_in_any_order(tmp_path: Path) -> None:
    data = with_all(small_data())
    images = pack_data(data, tmp_path).train.images
    rng = np.random.default_rng(0)
    for indices in ([69, 0, 0, 10, 9], rng.permutation(70), np.arange(70), [-1, 3], []):
        chosen = np.asarray(indices, np.int64)
        out = np.full((len(chosen), 1, 8, 8), 7, np.uint8)
        images.take(chosen, out)
        np.testing.assert_array_equal(out, data.train.images[chosen])
    np.testing.assert_array_equal(images[[2, 1], 0], data.train.images[[2, 1], 0])
    np.testing.assert_array_equal(images[3], data.train.images[3])
    np.testing.assert_array_equal(images[3, 0, 2:4], data.train.images[3, 0, 2:4])
    mask = rng.random(70) < 0.3
    np.testing.assert_array_equal(images[mask], data.train.images[mask])
    with pytest.raises(IndexError, match="70 images"):
        images.take([70])
    with pytest.raises(DataError, match=r"use images\[:1000\]"):
        np.asarray(images)


MASKS = [True, [True, False], np.ones(71, np.bool_), np.ones((70, 1), np.bool_)]
OTHERS = [0.5, [0.5, 2.0], [[1, 2], [3, 4]], ([1, 2], [0, 0]), ([1, 2], 0, [3, 4]), 2**70]


@pytest.mark.parametrize("key", [*MASKS, *OTHERS, ..., None, ()], ids=repr)
def test_an_index_that_numpy_takes_otherwise_is_refused(tmp_path: Path, key: Any) -> None:
    images = pack_data(small_data(), tmp_path).train.images
    with pytest.raises(IndexError, match=r"images on disk|70 images"):
        images[key]


def damage(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_is_named_when_its_image_is_read(tmp_path: Path) -> None:
    found = pack_data(with_all(small_data()), tmp_path)
    damage(tmp_path / "train-images-00003.npy", 128 + 64 * 4 + 5)
    images = load(tmp_path).train.images
    images.take(np.arange(34))
    with pytest.raises(DataError, match=r"train-images-00003.npy is damaged: image 4 is not"):
        images.take([2, 34])
    with pytest.raises(DataError, match=r"train-images-00003.npy was changed: its SHA-256"):
        verify(tmp_path)
    assert len(found.train) == 70


@pytest.mark.parametrize("change", ["cut", "touched"])
def test_a_file_that_changes_while_it_is_read_is_named(tmp_path: Path, change: str) -> None:
    images = pack_data(with_all(small_data()), tmp_path).train.images
    images.take([15])
    path = tmp_path / "train-images-00001.npy"
    if change == "cut":
        with path.open("r+b") as file:
            file.truncate(200)
    else:
        path.write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"train-images-00001.npy was changed while it was in use"):
        images.take([12])


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be replaced")
def test_a_file_that_is_replaced_while_it_is_read_is_named(tmp_path: Path) -> None:
    images = pack_data(with_all(small_data()), tmp_path).train.images
    images.take([15])
    path = tmp_path / "train-images-00001.npy"
    (tmp_path / "new").write_bytes(path.read_bytes())
    (tmp_path / "new").replace(path)
    with pytest.raises(DataError, match=r"train-images-00001.npy was removed or replaced while"):
        images.take([12])


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system has no such call")
def test_images_are_fetched_from_the_disk_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pack_data(with_all(small_data()), tmp_path).train.images
    calls: list[tuple[str, int]] = []
    read, advise = os.preadv, os.posix_fadvise

    def preadv(descriptor: int, buffers: Any, position: int) -> int:
        calls.append(("read", position))
        return read(descriptor, buffers, position)

    def posix_fadvise(descriptor: int, position: int, size: int, advice: int) -> None:
        assert (size, advice) == (64, os.POSIX_FADV_WILLNEED)
        calls.append(("fetch", position))
        advise(descriptor, position, size, advice)

    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr(os, "posix_fadvise", posix_fadvise)
    images.take([18, 3, 35])
    starts = [128 + 64 * row for row in (3, 8, 5)]
    assert calls == [("fetch", start) for start in starts] + [("read", start) for start in starts]


def test_a_file_of_another_size_is_named_at_the_start(tmp_path: Path) -> None:
    pack_data(with_all(small_data()), tmp_path)
    path = tmp_path / "test-images-00001.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"test-images-00001.npy has 767 bytes, expected 768"):
        load(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"test-images-00001.npy cannot be read: No such file"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["train-labels.npy", "train-digests.npy"])
def test_changed_labels_and_digests_are_named(tmp_path: Path, name: str) -> None:
    pack_data(with_all(small_data()), tmp_path)
    damage(tmp_path / name, -1)
    with pytest.raises(DataError, match=f"{name} was cut or changed after it was packed"):
        load(tmp_path).train.images.take([0])


def test_numbers_are_read_with_one_copy_in_memory(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**64, 1 << 20, dtype=np.uint64)
    path = tmp_path / "digests.npy"
    np.save(path, values)
    content = path.read_bytes()
    entry = Entry(path.name, len(values), len(content), hashlib.sha256(content).hexdigest())
    for dtype, extra in ((np.uint64, 4 << 20), (np.uint32, 4 << 20)):
        found, peak = peak_memory(read_array, tmp_path, entry, "<u8", dtype)
        np.testing.assert_array_equal(found, values & np.iinfo(dtype).max)
        assert found.dtype == dtype
        assert peak < found.nbytes + extra
    file = DigestFile(tmp_path, entry)
    np.testing.assert_array_equal(file.read() % 2**32, file.low())


def test_numbers_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.npy"
    for array in (np.zeros(3), np.zeros(4, np.int64), np.zeros((1, 3), np.int64)):
        np.save(path, array)
        content = path.read_bytes()
        entry = Entry(path.name, 3, len(content), hashlib.sha256(content).hexdigest())
        with pytest.raises(DataError, match=r"labels.npy holds .*, expected int64 3"):
            read_array(tmp_path, entry, "<i8")


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("format", 2, "is of format 2, expected 1"),
        ("shape", [1, 8], "is damaged: not enough values"),
        ("shape", [1, 8, 9], "expected uint8 10x1x8x9"),
        ("splits", {}, "expected the splits train and test"),
        ("classes", [3], "expected text, got 3"),
        ("classes", ["a"], "training label"),
        ("preparation", "none", "unknown preparation"),
    ],
)
def test_a_damaged_description_is_one_line(tmp_path: Path, key: str, value: Any, text: str) -> None:
    pack_data(with_all(small_data()), tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(DataError, match=text):
        load(tmp_path).train.images.take([0])


def test_files_of_other_folders_are_not_read(tmp_path: Path) -> None:
    pack_data(with_all(small_data()), tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(path.read_text().replace('"train-labels.npy"', '"../train-labels.npy"'))
    with pytest.raises(DataError, match=r"'../train-labels.npy' is not the name of a file"):
        load(tmp_path)


def test_the_arguments_of_load_must_be_those_of_packing(tmp_path: Path) -> None:
    pack_data(with_all(small_data()), tmp_path)
    assert load(tmp_path, transpose=False, regression=False).classes == ("a", "b", "c", "d")
    with pytest.raises(DataError, match=r"packed as they were stored"):
        load(tmp_path, transpose=True)
    with pytest.raises(DataError, match=r"are classes: to change that, pack"):
        load(tmp_path, regression=True)
