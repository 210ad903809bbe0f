"""Commands with a file that save_model wrote: it does not name the data of its model."""

from __future__ import annotations

import json
import re
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
    assert run(["predict", "model.npz", "image.png", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    wanted = saved.predict(small_data().test.images[:1])[0]
    assert found["probability"] == pytest.approx(float(np.max(wanted)), rel=1e-5)
    saved.preparation = None  # as in files of older versions
    gpucnn.save_model(saved, "model.npz")
    assert run(["predict", "model.npz", "image.png"]) == 2
    assert capsys.readouterr().err == (
        "gpucnn: model.npz does not record how its training images were prepared: give --prepare "
        "digit or --prepare plain\n"
    )


def test_a_model_that_was_never_trained(
    saved: gpucnn.Sequential, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its pixels are scaled to 0 to 1, as PyTorch's ToTensor does, and a note says so."""
    image = pytest.importorskip("PIL.Image")
    model, test = small_model(seed=4), small_data().test
    gpucnn.save_model(model, "new.npz")
    model.normalization = ((0.0,), (1.0,))
    for name in ("model.npz", "new.npz"):
        assert run(["summary", name]) == 0
        captured = capsys.readouterr()
        assert "226" in captured.out
        assert captured.err == ""
    assert run(["evaluate", "new.npz", "--data", "small.npz", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["loss"] == gpucnn.evaluate(model, test).loss
    assert "note: new.npz has no normalization, so pixels are scaled to 0 to 1" in captured.err
    image.fromarray(test.images[0, 0]).save("image.png")
    assert run(["predict", "new.npz", "image.png", "--prepare", "plain", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    wanted = model.predict(test.images[:1])[0]
    assert found["class"] == str(wanted.argmax())
    assert found["probability"] == pytest.approx(float(wanted.max()), rel=1e-5)


def test_a_model_in_double_precision(
    saved: gpucnn.Sequential, capsys: pytest.CaptureFixture[str]
) -> None:
    double = gpucnn.load_model("model.npz", gpucnn.get_backend("numpy", "float64"))
    gpucnn.save_model(double, "double.npz")
    words = ["evaluate", "double.npz", "--data", "small.npz", "--json", "--backend", "numpy"]
    assert run(words) == 0
    wanted = gpucnn.evaluate(double, small_data().test, loss=BCEWithLogitsLoss())
    assert json.loads(capsys.readouterr().out)["loss"] == wanted.loss


def test_custom_layers_of_a_model_that_was_never_trained(
    saved: gpucnn.Sequential, capsys: pytest.CaptureFixture[str]
) -> None:
    """The function is called with as many classes as the saved network has outputs."""
    Path("net.py").write_text(
        "from gpucnn.nn import Flatten, Linear, Sequential\n"
        "def build(channels, size, classes):\n"
        "    layers = [Flatten(), Linear(channels * size[0] * size[1], classes, bias=False)]\n"
        "    return Sequential(layers, (channels, *size))\n"
    )
    layers = [gpucnn.nn.Flatten(), gpucnn.nn.Linear(64, 4, bias=False)]
    gpucnn.save_model(gpucnn.Sequential(layers, (1, 8, 8)), "new.npz")
    assert run(["evaluate", "new.npz", "--data", "small.npz", "--model", "net.py:build"]) == 0


def test_a_model_of_a_class_of_its_own_is_evaluated_as_that_class(
    saved: gpucnn.Sequential, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the file that defines it; without that, the layers alone would be another model."""
    Path("net.py").write_text(
        "from gpucnn.nn import Flatten, Linear, Sequential\n"
        "class Net(Sequential):\n"
        "    def forward(self, x, training=False):\n"
        "        scores, kept = super().forward(x, training)\n"
        "        return scores[:, ::-1].copy(), kept\n"
        "    def backward(self, grad, saved, input_grad=False):\n"
        "        return super().backward(grad[:, ::-1].copy(), saved, input_grad)\n"
        "def build(channels, size, classes):\n"
        "    return Net([Flatten(), Linear(channels * size[0] * size[1], classes)], (1, *size))\n"
    )
    words = ["train", "--data", "small.npz", "--model", "net.py:build", "--out", "r", "--lr", "0.3"]
    assert run([*words, "--epochs", "3", "--batch-size", "10"]) == 0
    trained = re.search(r"test accuracy +\| +([\d.]+ %)", capsys.readouterr().out)
    assert trained is not None
    assert float(trained[1][:-2]) > 50
    command = ["evaluate", "r", "--data", "small.npz"]
    assert run(command) == 2
    assert "use gpucnn.load_weights(model, path) (command line: --m" in capsys.readouterr().err
    assert run([*command, "--model", "net.py:build"]) == 0
    assert f"test accuracy {trained[1]} " in capsys.readouterr().out


@pytest.mark.parametrize("command", ["evaluate", "summary"])
def test_an_archive_of_a_state_dict_is_named(
    saved: gpucnn.Sequential, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    np.savez("state.npz", **saved.state_dict())
    assert run([command, "state.npz"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds the arrays conv.weight, conv.bias, fc.weight, ... without the layers" in line
    assert line.endswith("with: gpucnn import state.npz state-model.npz --model NAME")


def test_a_folder_without_images_is_refused_and_other_files_are_named(
    saved: gpucnn.Sequential, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pytest.importorskip("PIL.Image")
    gpucnn.save_model(saved, "model.npz")
    Path("photos").mkdir()
    Path("photos/a.txt").write_text("no image")
    command = ["predict", "model.npz", "photos", "--prepare", "plain"]
    assert run(command) == 2
    assert "gpucnn: none of 1 files is an image, for example photos/a.txt\n" in (
        capsys.readouterr().err
    )
    image.fromarray(small_data().test.images[0, 0]).save("photos/b.png")
    assert run(command) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("photos/b.png: ")
    assert "gpucnn: 1 other file was left out, for example photos/a.txt\n" in captured.err


def test_names_in_a_file_cannot_steer_the_terminal(
    saved: gpucnn.Sequential, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(small_data().test.images[0, 0]).save("image.png")
    saved.classes = ("\x1b[2Ja", "[/b]\nb", "\x9bc", "\ud800d")
    gpucnn.save_model(saved, "model.npz")
    assert run(["predict", "model.npz", "image.png", "--prepare", "plain"]) == 0
    assert run(["evaluate", "model.npz", "--data", "small.npz"]) == 2
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert not [c for c in text.replace("\n", "") if not c.isprintable()]
        assert text.count("\n") == 1
    assert "those of the network are \\x1b[2Ja, [/b] b, \\x9bc, \\ud800d" in captured.err


def test_outputs_without_a_class_have_numbers(
    saved: gpucnn.Sequential, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network may have more outputs than its data have classes."""
    image = pytest.importorskip("PIL.Image")
    image.fromarray(small_data().test.images[0, 0]).save("image.png")
    saved.classes = ("only",)
    gpucnn.save_model(saved, "model.npz")
    assert run(["predict", "model.npz", "image.png", "--prepare", "plain", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    wanted = saved.predict(small_data().test.images[:1])[0]
    names = [str(index) if index else "only" for index in np.argsort(-wanted)[:3]]
    assert [row["class"] for row in found["top"]] == names
