"""``gpucnn runs``."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from small import save_npz, small_data

from gpucnn.cli import run
from gpucnn.cli.listing import COLUMNS, sorted_rows
from gpucnn.cli.runs import run_folder
from gpucnn.training.records.log import read_log

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: one of two epochs, one with other settings, and one that was killed."""
    folder = tmp_path_factory.mktemp("listing")
    save_npz(folder / "small.npz", small_data())
    words = ["train", "--data", str(folder / "small.npz"), "--model", "mlp", "--backend", "numpy"]
    assert run([*words, "--epochs", "2", "--out", str(folder / "runs/mlp-2")]) == 0
    more = ["--epochs", "1", "--optimizer", "adam", "--lr", "0.01", "--validation", "10"]
    assert run([*words, *more, "--out", str(folder / "runs/deep/er/mlp-10")]) == 0
    shutil.copytree(folder / "runs/mlp-2", folder / "runs/mlp-9")
    log = folder / "runs/mlp-9/log.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:3]))
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def listed(capsys: Capture, *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run(["runs", *words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert isinstance(rows, list)
    return rows


def test_the_table_has_each_run_with_its_state(folder: Path, capsys: Capture) -> None:
    assert run(["runs"]) == 0
    lines = [line.split("|") for line in capsys.readouterr().out.splitlines() if "|" in line]
    cells = [[cell.strip() for cell in line[1:-1]] for line in lines if "---" not in line[1]]
    assert cells[0] == ["run", "state", "training", "epochs", "accuracy", "loss"]
    assert [row[:4] for row in cells[1:]] == [
        ["deep/er/mlp-10", "finished", "mlp on small, adam, lr 0.01, batch 64, seed 0", "1/1"],
        ["mlp-2", "finished", "mlp on small, sgd, lr 0.05, batch 64, seed 0", "2/2"],
        ["mlp-9", "interrupted", "mlp on small, sgd, lr 0.05, batch 64, seed 0", "1/2"],
    ]
    assert cells[2][4].endswith(" %")


def test_a_folder_that_cannot_be_read_is_not_one_without_runs(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read every folder
    assert run(["runs"]) == 2
    assert capsys.readouterr().err == "gpucnn: runs cannot be read: permission denied\n"


def test_csv_and_json_have_all_settings_and_results(folder: Path, capsys: Capture) -> None:
    rows = {row["run"]: row for row in listed(capsys)}
    assert run(["runs", "--csv"]) == 0
    text = capsys.readouterr().out
    table = {row["run"]: row for row in csv.DictReader(io.StringIO(text))}
    assert tuple(next(csv.reader(io.StringIO(text))))[: len(COLUMNS)] == COLUMNS
    for name, row in rows.items():
        for column, value in row.items():
            assert table[name][column] == ("" if value is None else str(value))
    last = json.loads((folder / "mlp-2/log.jsonl").read_text().splitlines()[-1])
    expected = {
        "test_accuracy": last["test_accuracy"], "test_loss": last["test_loss"], "steps": 4,
        "epochs_done": 2, "epochs": 2, "optimizer": "SGD", "optimizer.momentum": 0.9,
        "train_images": 70, "keep_best": False, "validation_loss": None, "data": "small",
    }  # fmt: skip
    assert {name: rows["mlp-2"][name] for name in expected} == expected
    assert rows["deep/er/mlp-10"]["validation_accuracy"] is not None
    assert rows["deep/er/mlp-10"]["optimizer.momentum"] is None


def test_a_run_in_progress_is_running_and_not_disturbed(folder: Path, capsys: Capture) -> None:
    with run_folder(folder / "mlp-9", "x"):
        states = {row["run"]: row["state"] for row in listed(capsys)}
    assert states["mlp-9"] == ("running" if os.name == "posix" else "interrupted")
    with run_folder(folder / "mlp-9", "x"):  # the lock is free again
        pass
    assert listed(capsys, "runs/mlp-9")[0]["state"] == "interrupted"


def test_sorting(folder: Path, capsys: Capture) -> None:
    def names(*words: str) -> list[str]:
        return [row["run"] for row in listed(capsys, *words)]

    (folder / "mlp-2").rename(folder / "mlp-10")
    assert names() == ["deep/er/mlp-10", "mlp-9", "mlp-10"]
    assert names("--sort", "optimizer.lr")[0] == "deep/er/mlp-10"
    assert names("--sort", "optimizer.lr", "--reverse")[-1] == "deep/er/mlp-10"
    assert names("--sort", "validation_loss", "--reverse")[0] == "deep/er/mlp-10"
    assert run(["runs", "--sort", "test_acuracy"]) == 2
    assert "did you mean 'test_accuracy'?" in capsys.readouterr().err


def test_values_of_any_kinds_are_sorted() -> None:
    values = [3, None, "b", 2.5, "a10", True, "a9", "a", "1", None]
    rows = [{"run": value} for value in values]
    expected = [True, 2.5, 3, "1", "a", "a9", "a10", "b"]
    assert [row["run"] for row in sorted_rows(rows, "run", False)] == [*expected, None, None]
    assert [row["run"] for row in sorted_rows(rows, "run", True)] == [*expected[::-1], None, None]


def test_foreign_and_damaged_folders(folder: Path, capsys: Capture) -> None:
    """Files of other programs are left out; what was a run is listed as damaged."""
    deep = '{"settings": {"optimizer": ' + '{"a":' * 400 + "1" + "}" * 402
    config = {
        "gpucnn": 5,
        "options": {"model": "\x1b[31mred\n" + "x" * 999, "limit": [1], "data": {}},
        "settings": {"epochs": "many", "seed": [1, [2]], "unknown": 1, "loss": None},
    }
    foreign = {
        "hub": {"config.json": '{"architectures": ["Bert"]}', "model.bin": "x"},
        "logs": {"log.jsonl": '{"event": "unknown"}\n[]\n\x00'},
        "empty": {},
        "other": {"metrics.csv": "a,b"},
    }
    damaged = {
        "cut": {"checkpoint.npz": "PK", "config.json": "{", "log.jsonl": '{"event": "sta'},
        "none": {"checkpoint.npz": "PK"},
        "wild": {"config.json": json.dumps(config)},
        "nested": {"config.json": deep},
    }
    for name, files in (foreign | damaged).items():
        (folder / name).mkdir()
        for file, text in files.items():
            (folder / name / file).write_text(text)
    (folder / "folders").mkdir()
    (folder / "folders/config.json").mkdir()
    (folder / "loop").symlink_to(folder)
    rows = {row["run"]: row for row in listed(capsys)}
    assert set(rows) == {"mlp-2", "mlp-9", "deep/er/mlp-10", *damaged}
    assert rows["cut"]["state"] == rows["none"]["state"] == "damaged"
    assert rows["wild"]["state"] == rows["nested"]["state"] == "interrupted"
    assert rows["wild"]["epochs"] == "many"
    assert "\x1b" not in rows["wild"]["model"]
    assert len(rows["wild"]["model"]) == 200
    for words in ([], ["--csv"]):
        assert run(["runs", *words]) == 0
        assert "\x1b" not in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_does_not_block(folder: Path, capsys: Capture) -> None:
    (folder / "pipe").mkdir()
    os.mkfifo(folder / "pipe/log.jsonl")
    os.mkfifo(folder / "pipe/config.json")
    assert len(listed(capsys)) == 3


def test_of_a_long_log_the_beginning_and_the_end_are_read(folder: Path) -> None:
    log = folder / "mlp-2/log.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    with log.open("w") as file:
        file.write(lines[0])
        file.writelines('{"event": "filler"}\n' for _ in range(10_000))
        file.write(lines[-1])
    events = [event["event"] for event, _ in read_log(log)]
    assert len(events) == 10_002
    for most in (10_000, 10_001, 12_345):
        part = [event["event"] for event, _ in read_log(log, most)]
        assert (part[0], part[-1]) == ("start", "stop")
        assert set(part[1:-1]) == {"filler"}
        assert len(part) < 600
    size = log.stat().st_size
    assert [event["event"] for event, _ in read_log(log, size)] == events


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none"], "none does not exist: give the folder of the runs"),
        (["file"], "file is not a folder"),
        ([".", "--csv", "--json"], "either --csv or --json"),
    ],
)
def test_wrong_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert run(["runs", *words]) == 2
    assert message in capsys.readouterr().err
    assert run(["runs"]) == 2
    assert "runs does not exist: gpucnn train writes its runs to runs/" in capsys.readouterr().err
    assert run(["runs", "."]) == 0
    assert capsys.readouterr().out == ".: no runs\n"
    assert listed(capsys, ".") == []
