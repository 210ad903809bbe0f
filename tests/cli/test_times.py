"""``gpucnn time``: the table, the JSON, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from available import backend_or_skip
from small import small_model

import gpucnn
from gpucnn.cli.main import run
from gpucnn.training import passes, times


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gpucnn.Sequential:
    """A model in model.npz of the working directory, and small work in place of large."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(times, "LARGE_PRODUCT", {"numpy": 16, "cuda": 16})
    monkeypatch.setattr(times, "LARGE_COPY", 1 << 10)
    monkeypatch.setattr(passes, "SAMPLE_SECONDS", 1e-5)
    small = small_model()
    gpucnn.save_model(small, "model.npz")
    return small


def test_json_has_every_layer(model: gpucnn.Sequential, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["time", "model.npz", "--backend", "numpy", "--batch-size", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["network"], found["backend"], found["batch_size"]) == ("model.npz", "numpy", 3)
    rows = model.summary().rows
    assert [row["name"] for row in found["layers"]] == [row.name for row in rows]
    for layer, row in zip(found["layers"], rows, strict=True):
        assert layer["forward"]["multiply_adds"] == 3 * row.multiply_adds
        assert layer["forward"]["seconds"] > 0
        assert layer["backward"]["seconds"] > 0
    assert found["multiply_adds_per_second"] > 0
    assert found["bytes_per_second"] > 0


def test_the_table_has_a_row_for_each_layer(
    model: gpucnn.Sequential, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["time", "model.npz", "--backend", "numpy", "--batch-size", "1"]) == 0
    first, second, *table = capsys.readouterr().out.splitlines()
    assert first.startswith("model.npz, 1 image, numpy backend on ")
    assert first.endswith(", one thread, float32")
    assert second.startswith("this machine: ")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table if "|" in line]
    assert max(map(len, table[:-2])) <= 80
    names = [row[0] for row in rows if len(row) == 6]
    assert names == ["layer", *model.layers, "total"]
    flatten = next(row for row in rows if row[0] == "flatten")
    assert flatten[3] == flatten[5] == "-"


def test_what_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["time", "lenet5", "--batch-size", "0"]) == 2
    assert "gpucnn: --batch-size must be an integer >= 1, got 0" in capsys.readouterr().err
    assert run(["time", "lenet6"]) == 2
    assert "did you mean 'lenet5'" in capsys.readouterr().err
    backend_or_skip("emulated")
    assert run(["time", "lenet5", "--backend", "emulated"]) == 2
    assert "use numpy or cuda; gpucnn profile counts" in capsys.readouterr().err
