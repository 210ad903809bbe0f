"""Commands with a file that save_model wrote: it does not name the data of its model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small import save_npz, small_data, small_model

import gpucnn
from gpucnn.cli.main import run
from gpucnn.nn.losses import BCEWithLogitsLoss


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gpucnn.Sequential:
    """The model in model.npz, trained on small.npz."""
    monkeypatch.chdir(tmp_path)
    data, model = small_data(), small_model()
    save_npz("small.npz", data)
    gpucnn.fit(model, gpucnn.data.load("small.npz"), epochs=1, loss=BCEWithLogitsLoss())
    gpucnn.save_model(model, "model.npz")
    return model


def test_evaluate(saved: gpucnn.Sequential, capsys: pytest.CaptureFixture[str]) -> None:
    """With the loss that fits the model's output."""
    assert run(["evaluate", "model.npz", "--data", "small.npz", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    wanted = gpucnn.evaluate(saved, small_data().test, loss=BCEWithLogitsLoss())
    assert (figures["loss"], figures["accuracy"]) == (wanted.loss, wanted.accuracy)
    assert run(["evaluate", "model.npz"]) == 2
    assert "give test data with --data PATH" in capsys.readouterr().err


def test_predict(saved: gpucnn.Sequential, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(small_data().test.images[0, 0]).save("image.png")
    assert run(["predict", "model.npz", "image.png"]) == 2
    assert "give --prepare digit or --prepare plain" in capsys.readouterr().err
    assert run(["predict", "model.npz", "image.png", "--prepare", "plain", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    wanted = saved.predict(small_data().test.images[:1])[0]
    assert found["probability"] == pytest.approx(float(np.max(wanted)), rel=1e-5)


def test_summary_and_a_model_that_was_never_trained(
    saved: gpucnn.Sequential, capsys: pytest.CaptureFixture[str]
) -> None:
    gpucnn.save_model(small_model(), "new.npz")
    for name in ("model.npz", "new.npz"):
        assert run(["summary", name]) == 0
        assert "226" in capsys.readouterr().out
    assert run(["evaluate", "new.npz", "--data", "small.npz"]) == 2
    assert "normalization" in capsys.readouterr().err
