"""``gpucnn find-lr``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from small import save_npz, small_data

from gpucnn.cli import run

SMALL = ["find-lr", "--data", "small.npz", "--model", "mlp", "--batch-size", "16"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_npz("small.npz", small_data())
    return tmp_path


def test_a_plot_a_table_and_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(SMALL) == 0
    plain = capsys.readouterr().out
    assert plain.startswith("mlp on small, SGD, batches of 16\n")
    assert "| learning rate |   loss | smoothed |" in plain
    assert plain.count("*") > 40
    last = plain.splitlines()[-1]
    assert run([*SMALL, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert last.startswith(f"suggested learning rate: {found['suggestion']:.2g} (the loss falls")
    assert found["settings"]["optimizer"]["momentum"] == 0.9
    axis = next(line for line in plain.splitlines() if "+--" in line and "^" in line)
    assert 11 < axis.index("^") < len(axis)
    assert {path.name for path in Path.cwd().iterdir()} == {"small.npz"}


def test_png(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert run([*SMALL, "--steps", "20", "--optimizer", "adam", "--png", "rates.png"]) == 0
    assert Path("rates.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.endswith("plot: rates.png\n")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--png", "rates.txt"], "--png needs a file with the suffix .png, got 'rates.txt'"),
        (["--png", "no/rates.png"], "--png: there is no folder 'no'"),
        (["--from", "2", "--to", "1"], "--from must be above 0 and below --to, got 2 and 1"),
        (["--from", "0"], "--from must be above 0 and below --to, got 0 and 10"),
        (["--steps", "1"], "--steps must be an integer >= 20, got 1"),
        (["--model", "rbm"], "gpucnn find-lr is for networks"),
        (["--epochs", "3"], "unknown option '--epochs'"),
        (["--class-weights", "1,2"], "--class-weights has 2 numbers, but the data has 4 classes"),
    ],
)
def test_bad_input_is_one_line(
    more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert run([*SMALL, *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_png_without_matplotlib(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is computed."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run([*SMALL, "--png", "rates.png"]) == 2
    expected = "gpucnn: --png needs Matplotlib: pip install 'gpucnn[report]'\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--label-smoothing", "0.1"], "--label-smoothing is for classes, but the labels are"),
        (["--class-weights", "balanced"], "--class-weights are for classes, but the labels are"),
        (["--recipe", "quick"], "--recipe quick has a loss of classes, .*: add --loss mse"),
    ],
)
def test_options_of_classes_are_refused_by_name_for_numbers(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.arange(12 * 64, dtype=np.uint8).reshape(12, 8, 8)
    path, numbers = tmp_path / "numbers.npz", np.arange(12) / 8
    np.savez(path, x_train=images, y_train=numbers, x_test=images[:4], y_test=numbers[:4])
    assert run(["find-lr", "--data", str(path), "--regression", "--model", "mlp", *more]) == 2
    assert re.search(message, capsys.readouterr().err)
