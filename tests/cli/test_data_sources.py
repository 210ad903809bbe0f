"""Data sets from files on the command line: their notes, and how predict prepares images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handwriting import digits, emnist_digits, transposed, write_idx
from PIL import Image

import gpucnn
from gpucnn.cli import run
from gpucnn.data import Split
from gpucnn.data.preparation import MNIST_FINGERPRINT
from gpucnn.training.files.checkpoint import Checkpoint, load, save

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a digit as one draws it: dark, large, in a corner of a light image."""
    monkeypatch.chdir(tmp_path)
    drawn = np.full((200, 160), 230, np.uint8)
    digit = np.repeat(np.repeat(digits().images[7, 0], 4, 0), 4, 1)
    drawn[80:192, 10:122] -= digit // 2 + digit // 4
    Image.fromarray(drawn).save("drawn.png")
    return tmp_path


def train(data: str, out: str = "run", *more: str) -> int:
    words = ["--model", "mlp", "--epochs", "1", "--backend", "numpy", "--workers", "1"]
    return run(["train", "--data", data, "--out", out, *words, *more])


def predicted(capsys: Capture, *words: str) -> tuple[Any, str]:
    """The probabilities that predict prints for the drawn digit, and standard error."""
    capsys.readouterr()
    assert run(["predict", "run", "drawn.png", "--json", *words]) == 0
    output = capsys.readouterr()
    return json.loads(output.out)[0]["top"], output.err


def change_metadata(**changes: Any) -> None:
    """Rewrite the run's checkpoint as a version without preparations wrote it."""
    saved = load("run")
    del saved.metadata["data"]["preparation"]
    saved.metadata["data"] |= changes
    save(Path("run/checkpoint.npz"), Checkpoint(saved.metadata, saved.arrays))


def test_digits_in_a_folder_are_prepared_as_digits(folder: Path, capsys: Capture) -> None:
    write_idx(folder / "mine", digits())
    assert train("mine") == 0
    found, notes = predicted(capsys)
    assert found == predicted(capsys, "--prepare", "digit")[0]
    assert found != predicted(capsys, "--prepare", "plain")[0]
    assert notes == (
        "note: the training images of mine look like MNIST's, so images are prepared as digits;"
        " --prepare plain only resizes them\n"
    )


def test_a_preparation_does_not_hang_on_the_limit(folder: Path, capsys: Capture) -> None:
    write_idx(folder / "mine", emnist_digits())
    assert train("mine", "run", "--limit", "5") == 0
    assert predicted(capsys)[0] == predicted(capsys, "--prepare", "digit")[0]


def test_data_built_in_python_go_by_their_content(folder: Path, capsys: Capture) -> None:
    train_split, test_split = digits(), digits(first=300)
    for change, expected in ((0, "digit"), (255, "plain")):
        train_images, test_images = (one.images ^ change for one in (train_split, test_split))
        data = gpucnn.Data(
            Split(train_images, train_split.labels),
            Split(test_images, test_split.labels),
            tuple("0123456789"),
            "mine",
        )
        gpucnn.fit(gpucnn.models.mlp(), data, epochs=1, checkpoint="run.npz")
        assert load("run.npz").metadata["data"]["preparation"] == expected


def test_networks_of_older_versions_see_emnist_as_it_is_stored(
    folder: Path, capsys: Capture
) -> None:
    turned = transposed(emnist_digits()), transposed(emnist_digits(first=300))
    write_idx(folder / "raw", *turned, prefix="emnist-digits-")
    assert train("raw", "run", "--transpose", "no") == 0
    capsys.readouterr()
    assert run(["evaluate", "run", "--data", "raw", "--transpose", "no"]) == 0
    before = capsys.readouterr().out
    change_metadata()
    assert run(["evaluate", "run", "--data", "raw"]) == 0
    assert capsys.readouterr() == (before, "")


def test_other_images_are_only_resized(folder: Path, capsys: Capture) -> None:
    write_idx(folder / "mine", Split(255 - digits().images, digits().labels))
    assert train("mine") == 0
    found, notes = predicted(capsys)
    assert (found, notes) == (predicted(capsys, "--prepare", "plain")[0], "")


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({}, "plain"),
        ({"builtin": True}, "digit"),
        ({"fingerprint": MNIST_FINGERPRINT}, "digit"),
    ],
)
def test_checkpoints_without_a_preparation(
    folder: Path, capsys: Capture, changes: dict[str, Any], how: str
) -> None:
    write_idx(folder / "mine", digits())
    assert train("mine") == 0
    change_metadata(**changes)
    found, notes = predicted(capsys)
    assert (found, notes) == (predicted(capsys, "--prepare", how)[0], "")
    assert run(["evaluate", "run"]) == (0 if how == "digit" else 2)  # on MNIST's test images


def test_runs_of_older_versions_with_emnist_are_resumed(folder: Path, capsys: Capture) -> None:
    turned = transposed(emnist_digits()), transposed(emnist_digits(first=300))
    write_idx(folder / "raw", *turned, prefix="emnist-digits-")
    assert train("raw", "run", "--transpose", "no") == 0
    config = Path("run/config.json")
    config.write_text(config.read_text().replace('"transpose": "no"', '"limit": 300'))
    capsys.readouterr()
    assert run(["train", "--resume", "run"]) == 2
    assert "(--transpose no, or transpose=False, reads them" in capsys.readouterr().err
    assert run(["train", "--resume", "run", "--transpose", "no"]) == 0


def test_transposed_digits_are_turned_unless_the_option_says_no(
    folder: Path, capsys: Capture
) -> None:
    train_split, test_split = emnist_digits(), emnist_digits(first=300)
    turned = transposed(train_split), transposed(test_split)
    write_idx(folder / "raw", *turned, prefix="emnist-digits-")
    write_idx(folder / "upright", train_split, test_split)
    assert train("raw", "auto") == 0
    assert "note: the images of emnist-digits are stored transposed" in capsys.readouterr().err
    assert train("upright", "upright") == 0
    assert train("raw", "no", "--transpose", "no") == 0
    assert "are stored transposed" not in capsys.readouterr().err
    fingerprints = [load(f"{out}").metadata["data"]["fingerprint"] for out in ("auto", "upright")]
    assert fingerprints[0] == fingerprints[1] != load("no").metadata["data"]["fingerprint"]
    assert run(["evaluate", "no", "--data", "raw", "--transpose", "no"]) == 0
    assert train("raw", "x", "--transpose", "on") == 2
    assert "unknown --transpose 'on': did you mean 'no'?" in capsys.readouterr().err
    assert train("mnist", "x", "--transpose", "yes") == 2
    assert "--transpose yes is for your own data, not for mnist" in capsys.readouterr().err
