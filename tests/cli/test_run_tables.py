"""What ``gpucnn train`` writes for other programs: metrics.csv and event files."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from small import save_npz, small_data

from gpucnn.cli import run
from gpucnn.training.run import Run

Capture = pytest.CaptureFixture[str]

# Protobuf's C code on Python 3.12 and later.
pytestmark = pytest.mark.filterwarnings("ignore:Type google:DeprecationWarning")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_npz("small.npz", small_data())
    return tmp_path


def train(*options: str) -> int:
    words = ["train", "--data", "small.npz", "--model", "mlp", "--epochs", "3", *options]
    return run([*words, "--batch-size", "16", "--backend", "numpy"])


def table(folder: str) -> list[dict[str, str]]:
    with Path(folder, "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def logged(folder: str) -> list[dict[str, Any]]:
    lines = Path(folder, "log.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == "epoch"]


def board(folder: str) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return accumulator.EventAccumulator(folder, size_guidance={"histograms": 0}).Reload()


def test_the_table_has_the_figures_of_the_log() -> None:
    assert train("--out", "r", "--validation", "10") == 0
    rows, events = table("r"), logged("r")
    assert len(rows) == len(events) == 3
    for row, event in zip(rows, events, strict=True):
        assert {name: float(text) for name, text in row.items()} == {
            name: value for name, value in event.items() if name != "event"
        }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a run with event files that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        save_npz("small.npz", small_data())
        assert train("--out", "run", "--tensorboard") == 0
    return str(folder / "run")


class Killed(BaseException):
    """What ends a process at once, as far as files are concerned."""


@pytest.mark.parametrize("saved", [False, True], ids=["before its checkpoint", "after it"])
def test_a_run_that_is_killed_and_resumed_has_each_epoch_once(
    monkeypatch: pytest.MonkeyPatch, saved: bool, whole: str
) -> None:
    save = Run._save

    def killed(self: Run) -> Any:
        if self.state.epoch < 2:
            yield from save(self)
            return
        if saved:
            for _ in save(self):
                pass
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_save", killed)
        with pytest.raises(Killed):
            train("--out", "r", "--tensorboard")
    assert [row["epoch"] for row in table("r")] == ["1", "2"]
    Path("r/metrics.csv").write_text("damaged")
    assert run(["train", "--resume", "r"]) == 0
    rows, expected = table("r"), table(whole)
    for one, other in zip(rows, expected, strict=True):
        timed = {"seconds", "images_per_second"}
        assert {k: v for k, v in one.items() if k not in timed} == {
            k: v for k, v in other.items() if k not in timed
        }
    found, uninterrupted = board("r"), board(whole)
    assert len(list(Path("r").glob("events.out.tfevents.*"))) == 2
    for tag in ("epoch", "steps/loss", "steps/learning_rate", "accuracy/test"):
        assert [(e.step, e.value) for e in found.Scalars(tag)] == [
            (e.step, e.value) for e in uninterrupted.Scalars(tag)
        ]


def test_tensorboard_changes_no_weights_with_workers_and_is_resumed() -> None:
    assert train("--out", "plain", "--workers", "2") == 0
    assert train("--out", "r", "--workers", "2", "--tensorboard", "boards") == 0
    assert Path("r/checkpoint.npz").read_bytes() == Path("plain/checkpoint.npz").read_bytes()
    found = board("boards/r")
    assert [e.value for e in found.Scalars("epoch")] == [1, 2, 3]
    assert found.Histograms("gradients/fc1.weight")[-1].histogram_value.max > 0
    config = json.loads(Path("r/config.json").read_text())
    assert config["options"]["tensorboard"] == str(Path("boards").resolve())


def test_a_run_may_begin_to_write_event_files_when_it_is_resumed() -> None:
    assert train("--out", "r") == 0
    assert run(["train", "--resume", "r", "--tensorboard"]) == 0
    assert board("r").PluginTagToContent("hparams")
    assert run(["train", "--resume", "r"]) == 0
    assert len(list(Path("r").glob("events.out.tfevents.*"))) == 2


def test_a_run_that_is_started_over_hides_what_it_wrote() -> None:
    assert train("--out", "r", "--tensorboard") == 0
    expected = [(e.step, e.value) for e in board("r").Scalars("steps/loss")]
    for name in ("checkpoint.npz", "log.jsonl"):
        Path("r", name).unlink()
    assert run(["train", "--resume", "r"]) == 0
    assert [(e.step, e.value) for e in board("r").Scalars("steps/loss")] == expected
    assert [e.step for e in board("r").Histograms("weights/fc1.bias")] == [0, 5, 10, 15]


def test_event_files_of_another_run_are_not_mixed_with_its_own(capsys: Capture) -> None:
    assert train("--out", "a/r", "--tensorboard", "boards") == 0
    capsys.readouterr()
    assert train("--out", "b/r", "--tensorboard", "boards") == 2
    assert "boards/r holds event files of another run" in capsys.readouterr().err
    assert not Path("b").exists()


def test_without_tensorboardx_nothing_is_begun(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert train("--out", "r", "--tensorboard") == 2
    error = capsys.readouterr().err
    assert error == (
        "gpucnn: writing event files needs tensorboardX: pip install 'gpucnn[tensorboard]'\n"
    )
    assert not Path("r").exists()
    assert train("--out", "r") == 0


def test_resuming_a_finished_run_adds_no_row() -> None:
    assert train("--out", "r") == 0
    before = table("r")
    assert run(["train", "--resume", "r"]) == 0
    assert table("r") == before
