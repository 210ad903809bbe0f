"""gpucnn pack: what it prints, and its exit statuses."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from small import save_npz, small_data

from gpucnn.cli.display import ReadingProgress
from gpucnn.cli.main import run
from gpucnn.data.packed import writing

DONE = "packed: 70 training + 40 test images of 1x8x8, 0.0 MB, in "


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_npz("set.npz", small_data())


def result(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = run(["pack", *words])
    out, err = capsys.readouterr()
    return status, out, err


def test_packing_training_and_verifying(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = result(capsys, "set.npz", "packed")
    assert (status, err) == (0, "")
    assert out.startswith(DONE)
    assert out.endswith("train with: gpucnn train --data packed\n")
    assert result(capsys, "set.npz", "packed") == (0, "packed is complete already\n", "")
    assert result(capsys, "--verify", "packed") == (
        0,
        "packed: all 6 files are intact (0.0 MB)\n",
        "",
    )
    for data, folder in (("packed", "a"), ("set.npz", "b")):
        words = ["--model", "mlp", "--epochs", "1", "--validation", "10", "--backend", "numpy"]
        assert run(["train", "--data", data, "--out", folder, *words]) == 0
        assert run(["evaluate", folder]) == 0
    assert Path("a/checkpoint.npz").read_bytes() == Path("b/checkpoint.npz").read_bytes()
    capsys.readouterr()
    path = Path("packed/test-images-00000.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    status, out, err = result(capsys, "--verify", "packed")
    assert (status, out) == (2, "")
    assert err.startswith(f"gpucnn: {path} was changed: its SHA-256 is not the one in dataset.json")
    assert run(["evaluate", "a", "--backend", "numpy"]) == 1
    assert "test-images-00000.npy is damaged: image 39 is not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["set.npz"], "expected a folder to pack into: gpucnn pack set.npz FOLDER"),
        (["--verify", "set.npz", "x"], "--verify takes one folder: gpucnn pack --verify x"),
        (["--verify", "."], ". is not a packed data set: it has no dataset.json"),
        (["set.npz", "."], ". is not empty: give a new folder to pack into"),
        (["set.npz", "set.npz"], "set.npz is not a folder: give a new folder to pack into"),
        ([".", "x"], "x is inside .: give a new folder outside it to pack into"),
        (["nothing", "x"], "nothing does not exist"),
        (["set.npz", "x", "--resize", "8x8"], "resize is for folders of images and Parquet files"),
        (["set.npz", "x", "--transpose", "maybe"], "unknown --transpose 'maybe'"),
        (["mnist", "x", "--resize", "8x8"], "resize is for folders of images and Parquet files"),
        (["mnist", "x", "--regression"], "regression (--regression, --targets) is for .npz, .csv"),
        (["mnist", "x", "--transpose", "yes"], "transpose (--transpose yes) is for your own data"),
    ],
)
def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    status, out, err = result(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"gpucnn: {message}")
    assert err.count("\n") == 1
    assert not Path("x").exists()


def test_an_interruption_prints_the_command_that_continues(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Any, what: str, done: int, total: int) -> None:
        if what == "packed":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ReadingProgress, "__call__", stop)
        status, _, err = result(capsys, "set.npz", "packed", "--transpose", "no", "--seed", "3")
    again = "gpucnn pack set.npz packed --transpose no --seed 3"
    assert (status, err) == (130, f"stopped. Continue with: {again}\n")
    assert run(["train", "--data", "packed"]) == 2
    assert "packed is not packed completely: continue with gpucnn" in capsys.readouterr().err
    assert result(capsys, *again.split()[2:])[0] == 0


def test_a_full_disk_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing.files, "sync", full)
        status, _, err = result(capsys, "set.npz", "packed")
    assert status == 1
    assert err.startswith("gpucnn: packed")
    assert err.endswith(
        "No space left on device: free some space, then continue with: gpucnn pack set.npz packed\n"
    )
    shutil.rmtree("packed")
