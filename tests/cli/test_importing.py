"""``gpucnn import``: weights become a saved network, which the other commands take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small import save_npz, small_data, small_model

import gpucnn
from gpucnn.cli.main import run
from gpucnn.exchange import export_npz, export_safetensors

SOURCE = """
from gpucnn import nn
def build(channels=1, size=(28, 28), classes=10):
    return nn.Sequential({
        "conv": nn.Conv2d(channels, 3, 3, padding=1), "relu": nn.ReLU(), "pool": nn.MaxPool2d(2),
        "flatten": nn.Flatten(), "fc": nn.Linear(3 * size[0] // 2 * size[1] // 2, classes),
    }, (channels, *size))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: w.npz and w.safetensors, and net.py, whose network has such weights."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(SOURCE)
    model = small_model(seed=3)
    model.normalization, model.classes = ((0.4,), (0.2,)), ("a", "b", "c", "d")
    export_npz(model, "w.npz")
    export_safetensors(model, "w.safetensors")
    gpucnn.save_model(model, "model.npz")
    save_npz("small.npz", small_data())
    return tmp_path


BUILD = ["--model", "net.py:build", "--input", "1x8x8"]


def test_weights_of_others_become_a_network(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The number of classes is that of the weights; what else is needed is given."""
    words = ["import", "w.npz", "new.npz", *BUILD, "--mean", "0.4", "--std", "0.2"]
    assert run([*words, "--prepare", "plain"]) == 0
    assert capsys.readouterr().out == "wrote new.npz: 226 parameters, images 1x8x8, outputs 4\n"
    model = gpucnn.load_model("new.npz", "numpy")
    np.testing.assert_array_equal(model.flat_parameters, small_model(seed=3).flat_parameters)
    assert (model.normalization, model.classes) == (((0.4,), (0.2,)), None)
    assert (model.output, model.preparation) == ("softmax", "plain")
    assert run(["evaluate", "new.npz", "--data", "small.npz", "--json"]) == 0
    assert run(["evaluate", "model.npz", "--data", "small.npz", "--json"]) == 2  # other classes
    assert json.loads(capsys.readouterr().out)["images"] == 40


def test_a_file_of_export_needs_no_options(folder: Path) -> None:
    assert run(["import", "w.safetensors", "new.npz"]) == 0
    model = gpucnn.load_model("new.npz", "numpy")
    assert model.config() == small_model().config()
    assert (model.normalization, model.classes) == (((0.4,), (0.2,)), ("a", "b", "c", "d"))
    np.testing.assert_array_equal(model.flat_parameters, small_model(seed=3).flat_parameters)


def test_options_replace_what_the_file_says(folder: Path) -> None:
    words = ["import", "w.safetensors", "new.npz", "--classes", "x, y,z,ü", "--output", "sigmoid"]
    assert run([*words, "--mean", "0.5", "--std", "0.25"]) == 0
    model = gpucnn.load_model("new.npz")
    assert (model.normalization, model.classes) == (((0.5,), (0.25,)), ("x", "y", "z", "ü"))
    assert model.output == "sigmoid"
    assert run(["import", "new.npz", "again.npz", "--classes", "4"]) == 0
    assert gpucnn.load_model("again.npz").classes == ("0", "1", "2", "3")


def test_without_mean_and_std_pixels_are_scaled(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", "w.npz", "new.npz", *BUILD]) == 0
    assert "note: no --mean and --std given, so pixels are scaled" in capsys.readouterr().err
    assert gpucnn.load_model("new.npz").normalization == ((0.0,), (1.0,))


def test_float64_weights_stay_so(folder: Path) -> None:
    np.savez("w64.npz", **{k: np.float64(v) for k, v in small_model(seed=3).state_dict().items()})
    assert run(["import", "w64.npz", "new.npz", *BUILD]) == 0
    assert gpucnn.load_model("new.npz", "numpy").backend.dtype == "float64"


@pytest.mark.parametrize("weights", ["w.npz", "w.safetensors", "new.npz"])
def test_training_starts_from_imported_weights(
    folder: Path, capsys: pytest.CaptureFixture[str], weights: str
) -> None:
    assert run(["import", "w.npz", "new.npz", *BUILD]) == 0
    words = ["train", "--init", weights, "--data", "small.npz", "--epochs", "1", "--out", "r"]
    model = ["--model", "net.py:build"] if weights == "w.npz" else []
    assert run([*words, *model, "--lr", "1e-9"]) == 0
    assert f"weights from {folder / weights}" in capsys.readouterr().err
    found = gpucnn.load_model("r", "numpy").flat_parameters
    np.testing.assert_allclose(found, small_model(seed=3).flat_parameters, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("w.npz new.npz", "w.npz has weights without the layers of a network: add --model"),
        ("w.npz new.npz --model lenet5", "conv1.weight is missing"),
        ("w.npz new.npz --model net.py:build", "fc.weight has shape (4, 48), expected (10, 588)"),
        ("w.safetensors new.npz --input 1x8x8", "--input is for networks that --model names"),
        ("w.safetensors new.npz --classes a,b,c,d,e", "names 5 classes, but the network has 4"),
        ("w.safetensors new.npz --classes a,a", "--classes must be different names"),
        ("w.safetensors new.npz --classes 0", "--classes must be 1 or more"),
        ("w.safetensors new.npz --mean 1", "--mean and --std belong together"),
        ("w.safetensors new.npz --mean 1,2 --std 1", "--mean must be one number, or 1 separated"),
        ("w.safetensors new.npz --mean 1 --std nan", "--std must be one number"),
        ("w.safetensors new.npz --mean 1 --std 0", "normalization[1][0] is 0.0"),
        ("w.safetensors new.npz --output tanh", "unknown --output 'tanh'"),
        ("w.safetensors new.npz --prepare x", "unknown --prepare 'x'"),
        ("w.safetensors new.safetensors", "the file of a saved network must be called *.npz"),
        ("w.safetensors model.npz", "model.npz exists: give another name, or add --overwrite"),
        ("missing.safetensors new.npz", "missing.safetensors cannot be read: no such file"),
        ("missing new.npz", "no checkpoint at missing"),
        ("net.onnx new.npz", "is an ONNX file, which gpucnn writes but does not read"),
        ("old.pt new.npz --model lenet5", "is a PyTorch file, not a checkpoint"),
    ],
)
def test_messages(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    Path("net.onnx").write_bytes(b"\x08\x07\x12\x06gpucnn")
    Path("old.pt").write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j")
    assert run(["import", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("new.npz").exists()
