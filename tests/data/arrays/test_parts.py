"""Arrays that are read in parts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gpucnn.data.arrays.parts import Spooled


def test_rows_come_back_from_any_row_on_in_parts_of_any_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spooled, blocks = Spooled(3, os.fspath(tmp_path)), []
    for count in rng.integers(1, 9, 12):
        rows = rng.integers(0, 256, (count, 3)).astype(np.uint8)
        blocks.append(rows if len(blocks) % 3 else (rows / 7).astype(np.float32))
        spooled.add(blocks[-1])
    expected = np.concatenate(blocks)
    assert (spooled.shape, spooled.dtype) == (expected.shape, expected.dtype)
    assert list(tmp_path.iterdir()) == []  # the file has no name
    for start in range(len(expected) + 1):
        for size in (1, 2, 5, 100):
            parts = list(spooled.chunks(size, start))
            assert all(1 <= len(part) <= size for part in parts)
            found = np.concatenate([np.empty((0, 3)), *parts])
            np.testing.assert_array_equal(found, expected[start:])


def test_two_passes_at_a_time(tmp_path: Path) -> None:
    spooled, rows = Spooled(2, os.fspath(tmp_path)), np.arange(40, dtype=np.uint8).reshape(20, 2)
    for start in (0, 8):
        spooled.add(rows[start : start + 12])
    one, other = spooled.chunks(3), spooled.chunks(3, 1)
    pairs = [(next(one), next(other)) for _ in range(3)]
    np.testing.assert_array_equal(np.concatenate([pair[0] for pair in pairs]), rows[:9])
    np.testing.assert_array_equal(np.concatenate([pair[1] for pair in pairs]), rows[1:10])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no full device")
def test_a_full_disk_is_named_by_the_folder(tmp_path: Path) -> None:
    spooled = Spooled(2, os.fspath(tmp_path))
    with open("/dev/full", "r+b", buffering=0) as full:
        spooled._file.close()
        spooled._file = full
        with pytest.raises(OSError, match="No space left") as caught:
            spooled.add(np.zeros((4, 2), np.uint8))
    assert caught.value.filename == os.fspath(tmp_path)
