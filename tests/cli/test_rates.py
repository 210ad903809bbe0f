"""``gpucnn find-lr``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

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
        (["--from", "2", "--to", "1"], "0 < lowest < highest, got 2 and 1"),
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
