"""``gpucnn evaluate``: the figures of each class and the predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from runs import train
from small import save_npz, small_data

import gpucnn
from gpucnn.cli.main import run


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gpucnn.Evaluation:
    """The evaluation of a model whose checkpoint and data are in the working directory."""
    monkeypatch.chdir(tmp_path)
    save_npz("small.npz", small_data())
    data = gpucnn.data.load("small.npz")
    model, _ = train(data=data, epochs=1)
    gpucnn.save_model(model, "model.npz")
    found = gpucnn.evaluate(model, data.test)
    assert 0 < found.correct < found.count
    return found


def test_json_has_the_figures_of_each_class_and_the_predictions(
    result: gpucnn.Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "model.npz", "--data", "small.npz", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["images"], printed["correct"]) == (result.count, result.correct)
    assert printed["accuracy"] == result.accuracy
    assert printed["labels"] == result.labels.tolist()
    assert printed["predictions"] == result.predictions.tolist()
    assert printed["confusion_matrix"] == result.confusion_matrix.tolist()
    assert [row["class"] for row in printed["classes"]] == list(result.classes)
    columns = {"precision": "precision", "recall": "recall", "f1": "f1", "support": "images"}
    for name, key in columns.items():
        assert [row[key] for row in printed["classes"]] == getattr(result, name).tolist()


def test_a_table_of_the_classes_follows_the_line_if_asked_for(
    result: gpucnn.Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "model.npz", "--data", "small.npz"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert run(["evaluate", "model.npz", "--data", "small.npz", "--per-class"]) == 0
    first, *table = capsys.readouterr().out.splitlines()
    assert first == line
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table if "%" in row]
    assert cells == [list(row) for row in result.rows()]
    assert [int(row[4]) for row in cells] == np.bincount(result.labels).tolist()
