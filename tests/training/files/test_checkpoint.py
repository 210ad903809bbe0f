"""Checkpoint files: complete or not there, and damage is detected."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpucnn.errors import CheckpointError
from gpucnn.training.files import checkpoint
from gpucnn.training.files.checkpoint import Checkpoint, differences, load, read, save

WITH_PACKAGE = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def example(fill: float = 1.0) -> Checkpoint:
    arrays = {
        "parameters/a": np.full((3, 2), fill, np.float32),
        "totals": np.array([fill, 2.0]),
    }
    return Checkpoint({"epoch": 3, "name": "é", "lr": 0.1}, arrays)


def test_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", example())
    save(tmp_path / "b.npz", example())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    back = read(tmp_path / "a.npz")
    assert back.metadata == {"format": 1, "epoch": 3, "name": "é", "lr": 0.1}
    assert list(back.arrays) == list(example().arrays)
    for name, array in example().arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array, strict=True)
    np.testing.assert_array_equal(back.group("parameters")["a"], np.ones((3, 2)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_numpy_reads_it_without_pickles(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", example())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert json.loads(bytes(archive["metadata"]))["epoch"] == 3


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save(path, example())
    content = path.read_bytes()
    rng = random.Random(0)
    positions = [*range(64), *range(len(content) - 128, len(content))]
    positions += rng.sample(range(len(content)), 200)
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"SHA-256 does not match|not a checkpoint"):
            load(path)


def test_truncated_or_longer_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save(path, example())
    content = path.read_bytes()
    for end in (0, 1, 2, 70, 71, 72, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(CheckpointError):
            load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        load(path)


def test_files_that_are_not_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"<!DOCTYPE html>" * 50)
    with pytest.raises(CheckpointError, match="is not a checkpoint: it begins with b'<!DOCTYP'"):
        load(path)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(CheckpointError, match=r"damaged or incomplete|not a checkpoint"):
        load(path)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*checkpoint\.npz"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match=r"cannot read checkpoint .*: Not a directory"):
        load(path / "inside")


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", 2)
        save(tmp_path / "a.npz", example())
    with pytest.raises(CheckpointError, match=r"has format 2, .*: update gpucnn"):
        load(tmp_path / "a.npz")


# What a process of its own runs: it must not import pytest, which takes long.
CHILD = """
import os, random, resource, signal, sys, time
from itertools import cycle
from pathlib import Path
import numpy as np
from gpucnn.training.files.checkpoint import Checkpoint, read, save

def example(fill):
    return Checkpoint({}, {"totals": np.full(500, fill)})

path = sys.argv[1]
"""


def run_child(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD + code, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=WITH_PACKAGE)


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """A limit on file sizes replaces the full disk: the kernel refuses the write half-way."""
    path = tmp_path / "a.npz"
    save(path, example())
    before = path.read_bytes()
    code = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
try:
    save(path, example(2.0))
except OSError as error:
    print(error.errno, error.filename)
"""
    assert run_child(code, path).stdout == f"{errno.EFBIG} {path}\n"
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_at_any_moment_of_saving(tmp_path: Path) -> None:
    """A process saves two states in turn and is killed: one of them is there, complete."""
    code = """
for number in range(25):
    child = os.fork()
    if child == 0:
        for fill in cycle((1.0, 2.0)):
            save(path, example(fill))
    while not os.path.exists(path):
        time.sleep(0.001)
    time.sleep(random.Random(number).uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (fill,) = set(read(Path(path)).arrays["totals"])
    assert fill in (1.0, 2.0)
    os.unlink(path)
print("never damaged")
"""
    assert run_child(code, tmp_path / "a.npz").stdout == "never damaged\n"


def test_long_values_are_cut_in_messages() -> None:
    (text,) = differences({"name": "a" * 9999}, {"name": "b"})
    assert text == f"name was 'b', now '{'a' * 199}..."
