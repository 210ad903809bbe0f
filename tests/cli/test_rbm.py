"""``gpucnn train --model rbm``, what other commands do with its run, and networks made of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from small import save_npz, small_data

import gpucnn
from gpucnn import rbm
from gpucnn.cli.main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with small data."""
    monkeypatch.chdir(tmp_path)
    save_npz("small.npz", small_data(40))
    return tmp_path


def train(*options: str, model: str = "rbm") -> int:
    return run(["train", "--data", "small.npz", "--model", model, "--epochs", "2", *options])


def refused(capsys: Capture, *words: str) -> str:
    """The message of a command that ends with status 2; it is one line."""
    capsys.readouterr()
    assert run(list(words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_run_has_a_folder_like_others(capsys: Capture) -> None:
    assert train("--hidden", "6", "--persistent", "--cd-k", "2", "--batch-size", "16") == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("rbm of 64 and 6 units on small: 454 parameters, 40 images, numpy")
    assert lines[1].startswith("epoch 2/2  error 0.")
    assert any("reconstruction error of the test images" in line for line in lines)
    saved = Path("runs/rbm-small-1")
    config = json.loads((saved / "config.json").read_text())
    assert config["settings"]["gibbs_steps"] == 2
    assert config["settings"]["persistent"] is True
    assert rbm.load_rbm(saved, "numpy").hidden == 6
    header, *rows = (saved / "metrics.csv").read_text().splitlines()
    assert header.startswith("step,epoch,train_error,test_error,train_pseudo_likelihood")
    assert len(rows) == 2
    assert run(["runs", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["model"], row["state"], row["epochs_done"]) == ("rbm", "finished", 2)
    assert row["test_loss"] == float(rows[1].split(",")[3])
    assert (row["test_accuracy"], row["persistent"], row["cd_k"]) == (None, True, 2)


def test_an_interrupted_run_is_resumed_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    options = ["--hidden", "6", "--batch-size", "16", "--binarize", "--persistent"]
    assert train(*options, "--out", "straight") == 0
    metrics, seen = rbm.run.Run._wait, []

    def interrupting(self: rbm.run.Run) -> None:
        metrics(self)
        seen.append(self.step)
        if self.step == 2 and seen.count(2) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(rbm.run.Run, "_wait", interrupting)
    assert train(*options, "--out", "stopped") == 130
    assert "stopped at step 2. Continue with:" in capsys.readouterr().out
    assert run(["train", "--resume", "stopped"]) == 0
    contents = [Path(name, "checkpoint.npz").read_bytes() for name in ("straight", "stopped")]
    assert contents[0] == contents[1]
    logged = map(json.loads, Path("stopped/log.jsonl").read_text().splitlines())
    assert [event["epoch"] for event in logged if event["event"] == "epoch"] == [1, 2]


def test_a_network_begins_with_the_weights_of_a_run(capsys: Capture) -> None:
    """Its layer has as many units; a resumed run needs the machine no longer."""
    assert train("--hidden", "6", "--out", "r") == 0
    capsys.readouterr()
    options = ("--init", "r", "--workers", "1", "--schedule", "constant")
    assert train(*options, "--lr", "0", "--out", "m", model="mlp") == 0
    assert f"layer fc1 has the weights of {Path('r').resolve()}" in capsys.readouterr().err
    machine, model = rbm.load_rbm("r", "numpy"), gpucnn.load_model("m", "numpy")
    images = small_data(40).test.images
    maps = model.feature_maps(images)
    (_, visible), *_ = machine.batches(images)
    np.testing.assert_allclose(maps["fc1"], machine.hidden_inputs(visible), atol=1e-4)
    Path("r").rename("elsewhere")
    assert run(["train", "--resume", "m", "--epochs", "3"]) == 0


def test_other_commands_refuse_a_machine(capsys: Capture) -> None:
    assert train("--hidden", "6", "--out", "r") == 0
    for words in (["evaluate", "r"], ["predict", "r", "x.png"], ["export", "r", "x.onnx"]):
        message = refused(capsys, *words)
        assert "r/checkpoint.npz holds a restricted Boltzmann machine, not a network" in message
        assert "gpucnn train --model mlp --init r" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "rbm", "--loss", "mse"], "--loss is not an option of --model rbm"),
        (["--model", "rbm", "--targets", "x"], "--targets is for networks: --model rbm learns"),
        (["--model", "rbm", "--batch-size", "0"], "--batch-size must be an integer >= 1, got 0"),
        (["--model", "rbm", "--workers", "2"], "--workers is not an option of --model rbm"),
        (["--model", "rbm", "--cd-k", "0"], "--cd-k must be an integer >= 1, got 0"),
        (["--model", "rbm", "--hidden", "0"], "--hidden must be an integer >= 1, got 0"),
        (["--persistent"], "--persistent is for --model rbm, not for lenet5"),
        (["--hidden", "6"], "--hidden is for --model rbm and mlp, not for lenet5"),
        (["--init", "rbm.npz"], "has no classes: name the network that begins with its weights"),
        (["--model", "mlp", "--hidden", "5", "--init", "rbm.npz"], r"Linear(64, 6)"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    words: list[str], message: str, capsys: Capture
) -> None:
    rbm.save_rbm(rbm.RBM((1, 8, 8), hidden=6), "rbm.npz")
    assert message in refused(capsys, "train", "--data", "small.npz", *words)
    assert not Path("runs").exists()


def test_a_machine_of_another_run_is_not_resumed(capsys: Capture) -> None:
    assert train("--hidden", "6", "--out", "r") == 0
    message = refused(capsys, "train", "--resume", "r", "--hidden", "7")
    assert "--hidden must be as in the run that is resumed: 6, got 7" in message


def test_a_report_shows_filters_reconstructions_and_samples(capsys: Capture) -> None:
    pytest.importorskip("jinja2")
    assert train("--hidden", "6", "--out", "r", "--report") == 0
    page = Path("r/report.html").read_text()
    assert "report with 3 figures" in capsys.readouterr().out
    for text in ("64 visible and 6 hidden units", "gibbs_steps", "Reconstructions", "Samples"):
        assert text in page
    Path("small.npz").unlink()
    assert run(["report", "r", "--out", "again.html", "--png", "figures"]) == 0
    shown = capsys.readouterr()
    assert "note: r: there are no test images: " in shown.err
    assert "report with 2 figures" in shown.out
    assert sorted(path.name for path in Path("figures").iterdir()) == ["filters.png", "samples.png"]
    Path("r").rename("other")
    assert train("--hidden", "6", "--out", "r") == 2
    save_npz("small.npz", small_data(40))
    assert train("--hidden", "6", "--out", "r") == 0
    assert "not compared with other runs: give it alone" in refused(capsys, "report", "r", "other")


def test_an_mlp_has_as_many_hidden_units_as_asked_for() -> None:
    assert train("--hidden", "5", "--workers", "1", "--out", "m", model="mlp") == 0
    assert run(["train", "--resume", "m"]) == 0
    weights = gpucnn.load_model("m", "numpy").state_dict()
    assert weights["fc1.weight"].shape == (5, 64)
