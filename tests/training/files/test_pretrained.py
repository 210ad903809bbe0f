"""The ready-trained network: what its file holds, and where its name is taken."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import gpucnn
from gpucnn.cli.main import run
from gpucnn.training import RECIPES
from gpucnn.training.files import checkpoint
from gpucnn.training.files.pretrained import DEFAULT, FILES, find

README = FILES[DEFAULT].with_name("README.md")


def test_its_file_holds_no_more_than_its_record_says() -> None:
    content, record = FILES[DEFAULT].read_bytes(), README.read_text()
    assert len(content) < 256_000
    assert sha256(content).hexdigest() in record
    saved = checkpoint.load(DEFAULT)
    assert saved.metadata["settings"] == json.loads(json.dumps(RECIPES["default"]().as_dict()))
    assert saved.metadata["data"]["builtin"]
    assert {name.split("/")[0] for name in saved.arrays} == {"parameters"}
    model = gpucnn.load_model(DEFAULT)
    assert model.config() == gpucnn.models.lenet5().config()
    assert model.normalization == gpucnn.data.mnist().statistics()


def test_it_recognises_as_many_digits_as_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", DEFAULT, "--json", "--backend", "numpy"]) == 0
    found, recorded = json.loads(capsys.readouterr().out), checkpoint.load(DEFAULT).metadata["last"]
    assert found["accuracy"] == recorded["test_accuracy"]
    assert found["loss"] == pytest.approx(recorded["test_loss"], rel=1e-4)
    correct = re.search(r"\(([\d,]+)\)", README.read_text())
    assert correct is not None
    assert found["correct"] == int(correct[1].replace(",", ""))


def test_a_file_or_a_folder_with_its_name_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find(DEFAULT) == checkpoint.locate(DEFAULT) == FILES[DEFAULT]
    assert find("lenet") is None
    own = gpucnn.models.mlp(size=4)
    gpucnn.save_model(own, DEFAULT)
    assert gpucnn.load_model(DEFAULT).size == own.size
    Path(DEFAULT).unlink()
    Path(DEFAULT).mkdir()
    with pytest.raises(gpucnn.errors.CheckpointError, match="no checkpoint at lenet5/checkpoint"):
        gpucnn.load_model(DEFAULT)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set with 20 training images of MNIST among its 40 test images."""
    mnist = gpucnn.data.mnist()
    train, test = mnist.train.limit(20), mnist.test.limit(30)
    path = tmp_path_factory.mktemp("data") / "mixed.npz"
    np.savez(
        path,
        x_train=test.images[:10],
        y_train=test.labels[:10],
        x_test=np.concatenate([train.images, test.images[10:]]),
        y_test=np.concatenate([train.labels, test.labels[10:]]),
    )
    return str(path)


def test_it_counts_as_trained_on_mnist(mixed: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Although its file has no digests of images: those of MNIST come with the package."""
    words = ["evaluate", DEFAULT, "--data", mixed, "--json"]
    assert run(words) == 2
    assert "20 of 40 test images of mixed were used in training" in capsys.readouterr().err
    assert run([*words, "--skip-trained"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 20


def test_training_continues_from_its_weights(
    mixed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "--init", DEFAULT, "--data", mixed, "--epochs", "1", "--lr", "1e-5"]
    assert run([*words, "--backend", "numpy"]) == 0
    assert "weights from lenet5" in capsys.readouterr().err
    (folder,) = Path("runs").iterdir()
    assert folder.name == "lenet5-mixed-1"
    assert json.loads((folder / "config.json").read_text())["options"]["init"] == DEFAULT
    trained = checkpoint.load(folder)
    assert trained.metadata["last"]["test_accuracy"] > 0.95
    assert len(trained.arrays["seen"]) == 60_010
