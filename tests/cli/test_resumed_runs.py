"""Resuming runs whose files were moved, edited, lost or made by somebody else."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import save_npz, small_data

import gpucnn
from gpucnn.cli.main import run

MODEL = """
import pathlib
from gpucnn.nn import Flatten, Linear, Sequential
pathlib.Path("imported").touch()

def build(channels, size, classes):
    return Sequential([Flatten(), Linear(channels * size[0] * size[1], classes)], (channels, *size))

def other():
    return Sequential([Flatten(), Linear(64, 5)], (1, 8, 8))
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with small data and a model file in it."""
    monkeypatch.chdir(tmp_path)
    save_npz("small.npz", small_data())
    Path("mynet.py").write_text(MODEL)
    return tmp_path


def train(*options: str, model: str = "mlp") -> int:
    return run(["train", "--data", "small.npz", "--model", model, "--epochs", "2", *options])


def refused(capsys: Capture, *words: str) -> str:
    """The message of a command that ends with status 2; it is one line."""
    capsys.readouterr()
    assert run(list(words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def content(run_folder: str) -> bytes:
    return Path(run_folder, "checkpoint.npz").read_bytes()


def epochs(run_folder: str) -> list[int]:
    lines = Path(run_folder, "log.jsonl").read_text().splitlines()
    return [event["epoch"] for event in map(json.loads, lines) if event["event"] == "epoch"]


# --- code that a folder names -------------------------------------------------------------------


def test_code_that_a_folder_names_is_not_run(folder: Path, capsys: Capture) -> None:
    """Until the command names it; the message is the command to type."""
    assert train("--out", "r", model="mynet.py:build") == 0
    Path("imported").unlink()
    message = refused(capsys, "train", "--resume", "r")
    assert "names Python code, which is run only if the command names it: gpucnn train" in message
    refused(capsys, "train", "--resume", "r", "--data", "small.npz")
    for words in (["evaluate", "r", "--data", "small.npz"], ["summary", "r"]):
        assert run(words) == 0
    assert run(["train", "--init", "r", "--data", "small.npz", "--epochs", "1"]) == 0
    assert not Path("imported").exists()
    assert run(shlex.split(message.partition("names it: gpucnn ")[2])) == 0
    assert Path("imported").exists()


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("\n", 2), ("n\n", 2), ("", 2)])
def test_on_a_terminal_a_question_is_asked(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
) -> None:
    assert train("--out", "r", model="mynet.py:build") == 0
    Path("imported").unlink()
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", terminal)
    capsys.readouterr()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert run(["train", "--resume", "r"]) == status
    assert f"names Python code: run {folder / 'mynet.py'}? [y/N] " in capsys.readouterr().err
    assert Path("imported").exists() == (status == 0)


# --- files that were moved ----------------------------------------------------------------------


def test_a_run_is_resumed_when_its_data_were_moved(folder: Path, capsys: Capture) -> None:
    assert train("--out", "r", "--schedule", "constant") == 0
    Path("small.npz").rename("moved.npz")
    message = refused(capsys, "train", "--resume", "r")
    assert "small.npz does not exist" in message
    assert "(if the data were moved: gpucnn train --resume r --data PATH)" in message
    save_npz("other.npz", small_data(seed=5))
    message = refused(capsys, "train", "--resume", "r", "--data", "other.npz")
    assert "the training images or labels of 'other' are not those that the run" in message
    assert run(["train", "--resume", "r", "--data", "moved.npz", "--epochs", "3"]) == 0
    assert run(["train", "--resume", "r", "--epochs", "4"]) == 0, "the new place is remembered"
    assert epochs("r") == [1, 2, 3, 4]


def test_a_run_is_resumed_when_its_model_file_was_moved(folder: Path, capsys: Capture) -> None:
    assert train("--out", "r", model="mynet.py:build") == 0
    Path("mynet.py").rename("moved.py")
    message = refused(capsys, "train", "--resume", "r")
    assert "If it was moved: gpucnn train --resume r --model PATH.py:FUNCTION" in message
    message = refused(capsys, "train", "--resume", "r", "--model", "moved.py:other")
    assert "model.layers[1].out_features was 4, now 5" in message
    message = refused(capsys, "train", "--resume", "r", "--model", "mlp")
    assert "--model must be as in the run" in message
    assert run(["train", "--resume", "r", "--model", "moved.py:build"]) == 0


def test_a_folder_that_was_copied_or_moved_is_resumed(folder: Path) -> None:
    assert train("--out", "r") == 0
    shutil.copytree("r", "elsewhere/copy")
    Path("r").rename("moved")
    for name in ("elsewhere/copy", "moved"):
        assert run(["train", "--resume", name]) == 0
    assert content("elsewhere/copy") == content("moved")


def test_a_folder_that_cannot_be_written_is_named(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train("--out", "r") == 0
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert refused(capsys, "train", "--resume", "r").endswith("write to r: Permission denied")


# --- more epochs --------------------------------------------------------------------------------


def test_more_epochs_give_the_longer_run(folder: Path, capsys: Capture) -> None:
    options = ["--schedule", "constant", "--lr", "0.02"]
    assert train(*options, "--out", "long", "--epochs", "4", "--workers", "1") == 0
    assert train(*options, "--out", "r", "--workers", "1") == 0
    capsys.readouterr()
    assert run(["train", "--resume", "r", "--epochs", "4"]) == 0
    assert "r: epochs 3 to 4 are added, with learning rate 0.02\n" in capsys.readouterr().err
    assert content("r") == content("long")
    assert epochs("r") == epochs("long") == [1, 2, 3, 4]
    message = refused(capsys, "train", "--resume", "r", "--epochs", "3")
    assert "epochs is 3, but 4 epochs of the run are done" in message
    assert run(["train", "--resume", "r", "--epochs", "5"]) == 0
    assert "r: epoch 5 is added, with learning rate 0.02\n" in capsys.readouterr().err


def test_another_number_of_processes_must_be_asked_for(folder: Path, capsys: Capture) -> None:
    """It is then that of the run: a further resume need not give it."""
    options = ["--schedule", "constant", "--backend", "numpy"]
    assert train(*options, "--out", "r", "--workers", "2") == 0
    words = ["train", "--resume", "r", "--epochs", "3", "--workers", "1"]
    message = refused(capsys, *words)
    assert "settings.workers was 2, now 1; --change-workers (change_workers=True)" in message
    assert run([*words, "--change-workers"]) == 0
    assert "r: continues with 1 process instead of 2: gradients are" in capsys.readouterr().err
    assert run(["train", "--resume", "r", "--epochs", "4"]) == 0
    assert epochs("r") == [1, 2, 3, 4]


def test_a_schedule_that_depends_on_the_epochs_is_not_continued(
    folder: Path, capsys: Capture
) -> None:
    """The message ends with the command of a run that starts from the weights."""
    assert train("--out", "r", "--batch-size", "16", "--schedule", "one-cycle") == 0
    before = content("r"), Path("r/config.json").read_text()
    message = refused(capsys, "train", "--resume", "r", "--epochs", "5")
    assert "epochs cannot change from 2 to 5: with OneCycleLR(" in message
    assert before == (content("r"), Path("r/config.json").read_text())
    command = message.partition("in a new run: gpucnn ")[2]
    assert "--init r --data" in command
    assert command.endswith("--epochs 3")
    assert run([*shlex.split(command), "--out", "further"]) == 0
    settings = json.loads(Path("further/config.json").read_text())["settings"]
    assert (settings["epochs"], settings["batch_size"]) == (3, 16)
    assert settings["schedule"]["type"] == "OneCycleLR"


# --- files that are gone or were edited ---------------------------------------------------------


def test_a_checkpoint_that_is_gone_is_not_started_over(folder: Path, capsys: Capture) -> None:
    assert train("--out", "r") == 0
    Path("r/checkpoint.npz").unlink()
    log = Path("r/log.jsonl").read_text()
    message = refused(capsys, "train", "--resume", "r")
    assert "r has no checkpoint.npz, but its log has 2 epochs: restore the file" in message
    Path("r/config.json").unlink()
    assert "its log has 2 epochs" in refused(capsys, "train", "--out", "r", "--resume")
    assert Path("r/log.jsonl").read_text() == log


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_over(
    folder: Path, capsys: Capture
) -> None:
    assert train("--out", "r", "--workers", "1") == 0
    whole = content("r")
    Path("r/checkpoint.npz").unlink()
    first = Path("r/log.jsonl").read_text().splitlines()[0]
    Path("r/log.jsonl").write_text(first + "\n")
    capsys.readouterr()
    assert run(["train", "--resume", "r"]) == 0
    assert "r has no checkpoint yet: starting at step 0" in capsys.readouterr().err
    assert content("r") == whole


def test_a_run_without_its_config_or_log(folder: Path, capsys: Capture) -> None:
    assert train("--out", "r") == 0
    Path("r/log.jsonl").unlink()
    assert run(["train", "--resume", "r"]) == 0
    Path("r/config.json").unlink()
    message = refused(capsys, "train", "--resume", "r")
    assert "Train its weights in a new run: gpucnn train --init r" in message


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"options": {"help": true}}', "'help' is not an option that is saved"),
        ('{"options": {"version": true}}', "'version' is not an option"),
        ('{"options": {"resume": "x"}}', "'resume' is not an option"),
        ('{"options": {"epochs": true}}', "epochs is 'True', expected an integer"),
        ('{"options": {"epochs": 2.0}}', "epochs is '2.0', expected an integer"),
        ('{"options": {"keep_best": false}}', "keep_best is 'False', expected true"),
        ('{"options": {"lr": "0.1"}}', "lr is '0.1', expected a number"),
        ('{"options": {"lr": NaN}}', "NaN is not a number"),
        ('{"options": {"lr": 1e999}}', "lr must be a finite number"),
        ('{"options": {"data": "a\\u0000b"}}', "expected text in one line"),
        ('{"options": {"data": "\\u001b[2J"}}', "expected text in one line"),
        ('{"options": {"seed": 1, "seed": 2}}', "'seed' is there twice"),
        ('{"options": {"data": [1]}}', "data is '[1]', expected text"),
        (f'{{"options": {DEEP}}}', "nested too deeply"),
        ('{"options": 5}', "it has no options"),
        ("[]", "it has no options"),
        ("\x00", "is damaged"),
        ("{" + " " * (1 << 20) + "}", "it is not a file of options"),
    ],
)
def test_a_config_of_any_contents_is_one_line(
    folder: Path, capsys: Capture, config: str, message: str
) -> None:
    assert train("--out", "r") == 0
    Path("r/config.json").write_text(config)
    found = refused(capsys, "train", "--resume", "r")
    assert message in found
    assert len(found) < 300


def test_a_config_that_is_not_a_file_is_one_line(folder: Path, capsys: Capture) -> None:
    assert train("--out", "r") == 0
    Path("r/config.json").unlink()
    Path("r/config.json").mkdir()
    assert "it is not a file of options" in refused(capsys, "train", "--resume", "r")


def test_a_log_of_any_contents_is_cleaned(folder: Path) -> None:
    assert train("--out", "r") == 0
    log = Path("r/log.jsonl")
    own = log.read_text()
    foreign = ["[]", "5", '"event"', '{"event": []}', DEEP, "NaN", '{"event": "epoch"}', "\x00"]
    foreign += ['{"event": "epoch", "epoch": true}', '{"event": "epoch", "epoch": "1"}', "{" * 9]
    log.write_text(own + "\n".join(foreign) + "\n" + "x" * (1 << 21))
    assert run(["train", "--resume", "r"]) == 0
    kept = log.read_text()
    assert kept.startswith(own)
    added = [json.loads(line)["event"] for line in kept[len(own) :].splitlines()]
    assert added == ["start", "checkpoint", "stop"]


# --- weights from another run or file -----------------------------------------------------------


def test_init_is_load_weights(folder: Path, capsys: Capture) -> None:
    """The command and Python give the same bytes; the network is that of the weights."""
    data = gpucnn.data.load("small.npz")
    assert train("--out", "first", model="mynet.py:build") == 0
    command = ["train", "--init", "first", "--data", "small.npz", "--workers", "1"]
    assert run([*command, "--out", "second", "--backend", "numpy"]) == 0
    assert f"weights from {folder / 'first'}\n" in capsys.readouterr().err
    model = gpucnn.load_model("first", "numpy")
    gpucnn.fit(model, data, checkpoint="python.npz")
    assert content("second") == Path("python.npz").read_bytes()
    assert run(["train", "--resume", "second"]) == 0


def test_init_with_another_number_of_classes(folder: Path, capsys: Capture) -> None:
    source = small_data()
    assert train("--out", "four") == 0
    labels = source.train.labels % 3
    arrays: dict[str, Any] = dict(np.load("small.npz"))
    arrays["y_train"], arrays["y_test"] = labels, source.test.labels % 3
    np.savez("three.npz", **arrays)
    words = ["train", "--init", "four", "--data", "three.npz", "--lr", "0", "--workers", "1"]
    for extra in ([], ["--model", "mlp"]):
        capsys.readouterr()
        assert run([*words, *extra, "--seed", "3", "--out", f"three{len(extra)}"]) == 0
        assert "layer fc2 is newly initialised for 3 classes" in capsys.readouterr().err
    assert content("three0") == content("three2")
    before, after = (gpucnn.load_model(name).state_dict() for name in ("four", "three0"))
    np.testing.assert_array_equal(before["fc1.weight"], after["fc1.weight"])
    fresh = gpucnn.models.mlp(size=8, classes=3, seed=3).state_dict()
    np.testing.assert_array_equal(after["fc2.weight"], fresh["fc2.weight"])
    assert run(["train", "--resume", "three0"]) == 0


def test_init_from_a_state_dict(folder: Path, capsys: Capture) -> None:
    state = gpucnn.models.mlp(size=8, classes=4, seed=9).state_dict()
    np.savez("state.npz", **state)
    assert train("--init", "state.npz", "--lr", "0", "--out", "r") == 0
    for name, values in gpucnn.load_model("r").state_dict().items():
        np.testing.assert_array_equal(values, state[name])
    message = refused(capsys, "train", "--data", "small.npz", "--model", "mynet.py:build",
                      "--init", "state.npz")  # fmt: skip
    assert "1.weight is missing" in message
    assert "fc1.weight is unknown" in message
    message = refused(capsys, "train", "--init", "r", "--data", "small.npz", "--resume", "r")
    assert "--init must be as in the run that is resumed" in message
    assert "no checkpoint at" in refused(capsys, "train", "--init", "nothing")
