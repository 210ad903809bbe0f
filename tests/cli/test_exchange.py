"""``gpucnn export``: files for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_model

import gpucnn
from gpucnn.cli.main import run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with model.npz and new.npz, which has no normalization."""
    monkeypatch.chdir(tmp_path)
    model = small_model(seed=3)
    gpucnn.save_model(model, "new.npz")
    model.normalization, model.classes = ((0.4,), (0.2,)), ("a", "b", "c", "d")
    gpucnn.save_model(model, "model.npz")
    return tmp_path


def outputs(path: str, name: str, images: Any) -> Any:
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(path).run(None, {name: images})[0]


def test_onnx(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "model.npz", "model.onnx"]) == 0
    said = "wrote model.onnx: ONNX, images uint8 (N, 1, 8, 8) to probabilities (N, 4), 2 kB\n"
    assert capsys.readouterr().out == said
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), np.uint8)
    wanted = gpucnn.load_model("model.npz").predict(images)
    np.testing.assert_allclose(outputs("model.onnx", "images", images), wanted, atol=1e-5)
    assert run(["export", "model.npz", "raw.onnx", "--raw"]) == 0
    assert "input float32 (N, 1, 8, 8) to scores (N, 4)" in capsys.readouterr().out
    x = images.astype(np.float32) / 255
    scores = outputs("raw.onnx", "input", x)
    np.testing.assert_allclose(scores, gpucnn.load_model("model.npz")(x), atol=1e-5)


def test_pixels_of_a_network_without_normalization_are_scaled(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", "new.npz", "new.onnx"]) == 0
    assert "note: new.npz has no normalization" in capsys.readouterr().err
    assert run(["export", "new.npz", "raw.onnx", "--raw"]) == 0
    assert capsys.readouterr().err == ""
    image = np.full((1, 1, 8, 8), 255, np.uint8)
    scores = outputs("raw.onnx", "input", np.ones((1, 1, 8, 8), np.float32))
    exponentials = np.exp(scores)
    wanted = exponentials / exponentials.sum()
    np.testing.assert_allclose(outputs("new.onnx", "images", image), wanted, atol=1e-5)


def test_weights(folder: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    for name in ("w.safetensors", "w.npz"):
        assert run(["export", "model.npz", name]) == 0
    wanted = small_model(seed=3).state_dict()
    for found in (library.load_file("w.safetensors"), dict(np.load("w.npz"))):
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array)


def test_a_file_is_replaced_only_if_asked_and_never_through_a_link(folder: Path) -> None:
    (folder / "mine.txt").write_text("mine")
    (folder / "link.npz").symlink_to("mine.txt")
    (folder / "nowhere.npz").symlink_to("missing")
    for name in ("link.npz", "nowhere.npz", "model.npz"):
        assert run(["export", "model.npz", name]) == 2
    assert run(["export", "model.npz", "link.npz", "--overwrite"]) == 0
    assert (folder / "mine.txt").read_text() == "mine"
    assert not (folder / "link.npz").is_symlink()
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model.npz model.onx", "unknown kind of file '.onx': did you mean '.onnx'?"),
        ("model.npz model", "unknown kind of file 'model': expected one of .npz, .onnx"),
        ("model.npz model.npz", "model.npz exists: give another name, or add --overwrite"),
        ("model.npz folder.npz", "folder.npz is a folder"),
        ("model.npz no/w.npz", "no/w.npz: there is no folder no"),
        ("model.npz w.npz --raw", "--raw is for *.onnx files, not for *.npz"),
        ("typo w.npz", "no checkpoint at typo"),
        ("model.npz", "the following arguments are required: FILE"),
    ],
)
def test_messages(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    (folder / "folder.npz").mkdir()
    assert run(["export", *words.split()]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["w.onnx", "w.safetensors"])
def test_without_the_library_one_line_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for module in ("onnx", "onnx.shape_inference", "safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, module, None)
    assert run(["export", "model.npz", name]) == 2
    assert "pip install 'gpucnn[export]'" in capsys.readouterr().err
    assert not (folder / name).exists()
