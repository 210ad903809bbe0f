"""Checkpoints: whole or not at all, and nothing that was changed is read."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small import small_data, small_model

import gpucnn
from gpucnn import training
from gpucnn.errors import CheckpointError
from gpucnn.training import checkpoint
from gpucnn.training.checkpoint import Checkpoint, load, save

HERE = Path(__file__).parent
WITH_TESTS = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


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
    back = load(tmp_path / "a.npz")
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
    places = [*range(64), *range(len(content) - 128, len(content))]
    places += rng.sample(range(len(content)), 200)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8)
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


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
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


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", 2)
        save(tmp_path / "a.npz", example())
    with pytest.raises(CheckpointError, match=r"has format 2, .*: update gpucnn"):
        load(tmp_path / "a.npz")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """A limit on file sizes stands in for the disk: the kernel refuses the write half-way."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.npz"
    save(path, example())
    before = path.read_bytes()
    code = (
        "import resource, signal, sys; from test_checkpoint import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
        f"try: save({str(path)!r}, example(2.0))\n"
        "except OSError as error: sys.exit(error.errno if 'a.npz' in str(error) else 1)\n"
    )
    assert resource
    result = subprocess.run([sys.executable, "-c", code], cwd=HERE, env=WITH_TESTS, check=False)
    assert result.returncode == errno.EFBIG
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_at_any_moment_of_saving(tmp_path: Path) -> None:
    """A process saves two states in turn and is killed: one of them is there, whole."""
    path = tmp_path / "a.npz"
    code = (
        "import itertools; from test_checkpoint import *\n"
        f"for fill in itertools.cycle((1.0, 2.0)): save({str(path)!r}, example(fill))"
    )
    rng = random.Random(1)
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=HERE, env=WITH_TESTS)
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.1))
        process.kill()
        process.wait()
        assert load(path).arrays["totals"][0] in (1.0, 2.0)
        path.unlink()


def test_a_checkpoint_of_another_precision_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    model, data = small_model(), small_data()
    list(training.events(model, data, epochs=1, checkpoint=path))
    double = gpucnn.load_model(path, gpucnn.get_backend("numpy", "float64"))
    single = gpucnn.load_model(path, "numpy")
    assert gpucnn.evaluate(single, data.test).accuracy == gpucnn.evaluate(model, data.test).accuracy
    np.testing.assert_allclose(
        double.predict(data.test.images), single.predict(data.test.images), rtol=1e-4
    )
    assert single.classes == data.classes


def test_a_checkpoint_with_other_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    list(training.events(small_model(), small_data(), epochs=1, checkpoint=path))
    saved = load(path)
    arrays = dict(saved.arrays)
    arrays["parameters/fc.bias"] = np.zeros(5, np.float32)
    arrays["parameters/extra"] = arrays.pop("parameters/conv.bias")
    save(path, Checkpoint(saved.metadata, arrays))
    with pytest.raises(CheckpointError) as error:
        gpucnn.load_model(path)
    shapes = "fc.bias has shape (5,), expected (4,)"
    for part in ("conv.bias is missing", "extra is unknown", shapes):
        assert part in str(error.value)
