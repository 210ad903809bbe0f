"""What is read from the folder of a run, whoever wrote it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from runs import epochs_of, train

from gpucnn.cli.runs import Log
from gpucnn.training.records.folder import read_record

START = {
    "event": "start",
    "step": 0,
    "version": "0.4.0",
    "backend": "numpy",
    "dtype": "float32",
    "precision": "ieee",
    "data": "blobs",
    "classes": 4,
    "train_images": 70,
    "validation_images": 0,
    "test_images": 40,
    "parameters": 226,
    "steps_per_epoch": 5,
    "eager": None,
    "notes": ["a note"],
    "settings": {"epochs": 2},
}
EPOCH = {
    "event": "epoch",
    "step": 5,
    "epoch": 1,
    "train_loss": 1.5,
    "train_accuracy": 0.5,
    "test_loss": 1.25,
    "test_accuracy": 0.75,
    "validation_loss": None,
    "validation_accuracy": None,
    "lr": 0.05,
    "seconds": 0.1,
    "images_per_second": 700.0,
}
STOP = {
    "event": "stop",
    "step": 10,
    "epoch": 2,
    "reason": "finished",
    "best_epoch": None,
    "test_loss": 1.0,
    "test_accuracy": 0.875,
}


def write(folder: Path, *events: Any, config: Any = None) -> None:
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    (folder / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if config is not None:
        (folder / "config.json").write_text(
            config if isinstance(config, str) else json.dumps(config)
        )


def test_a_finished_run(tmp_path: Path) -> None:
    config = {"gpucnn": "0.4.0", "options": {"seed": 3}, "settings": {"seed": 3}}
    write(tmp_path, START, EPOCH, EPOCH | {"epoch": 2, "step": 10}, STOP, config=config)
    found = read_record(tmp_path)
    assert (found.title, found.version) == (tmp_path.name, "0.4.0")
    assert (found.options, found.settings) == ({"seed": 3}, {"seed": 3})
    assert found.started is not None
    assert found.started.notes == ("a note",)
    assert [epoch.epoch for epoch in found.epochs] == [1, 2]
    assert found.epochs[0].test_accuracy == 0.75
    assert found.stopped is not None
    assert found.stopped.reason == "finished"
    assert found.stopped.test_accuracy == 0.875


def test_a_run_that_was_killed_has_no_end_and_the_figures_of_its_last_epoch(tmp_path: Path) -> None:
    """Also if it had been interrupted and resumed before."""
    write(tmp_path, START, STOP | {"reason": "interrupted", "test_accuracy": None}, START, EPOCH)
    found = read_record(tmp_path)
    assert found.stopped is None
    assert found.epochs[-1].test_accuracy == 0.75


def test_null_is_nan_except_where_there_were_no_images(tmp_path: Path) -> None:
    write(tmp_path, EPOCH | {"train_loss": None, "test_loss": None}, '{"event": "epoch", "lr": 1e9')
    (epoch,) = read_record(tmp_path).epochs
    assert math.isnan(epoch.train_loss)
    assert math.isnan(epoch.test_loss)
    assert epoch.validation_loss is None


def test_a_log_of_an_older_version_lacks_values(tmp_path: Path) -> None:
    start = {key: START[key] for key in ("event", "step", "data", "settings")}
    epoch = {key: value for key, value in EPOCH.items() if not key.startswith("validation")}
    write(tmp_path, start, epoch)
    found = read_record(tmp_path)
    assert found.started is not None
    assert (found.started.data, found.started.version, found.started.notes) == ("blobs", "", ())
    assert found.epochs[0].validation_accuracy is None


@pytest.mark.parametrize(
    "line",
    [
        EPOCH | {"train_loss": "<script>"},
        EPOCH | {"epoch": 0},
        EPOCH | {"epoch": True},
        EPOCH | {"test_accuracy": 2.0},
        EPOCH | {"step": 1.5},
        START | {"data": 3},
        START | {"settings": {}},
        START | {"notes": [{}]},
        STOP | {"reason": "<b>"},
        {"event": "epoch"},
        "not JSON",
        '{"event": "epoch", "epoch": 1, "epoch": 2}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_not_valid_is_left_out(tmp_path: Path, line: Any) -> None:
    write(tmp_path, line)
    found = read_record(tmp_path)
    assert (found.started, found.epochs, found.stopped) == (None, (), None)


@pytest.mark.parametrize(
    "config", ["", "[]", "{", '{"options": 3, "settings": [], "gpucnn": {}}', "x" * (1 << 21)]
)
def test_a_damaged_config_is_left_out(tmp_path: Path, config: str) -> None:
    write(tmp_path, EPOCH, config=config)
    found = read_record(tmp_path)
    assert (found.options, found.settings, found.version) == ({}, {}, "")
    assert len(found.epochs) == 1


def test_options_that_are_not_scalars_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, config={"options": {"a": [1], "b": {"c": 1}, "d": True, "e": "text"}})
    assert read_record(tmp_path).options == {"d": True, "e": "text"}


def test_what_a_run_logs_is_read_as_its_events(tmp_path: Path) -> None:
    _, events = train(seed=1)
    with Log(tmp_path, None) as log:
        for event in events:
            log.write(event)
    found = read_record(tmp_path)
    assert found.started == events[0]
    assert list(found.epochs) == epochs_of(events)
    assert found.stopped == events[-1]


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    found = read_record(tmp_path)
    assert (found.options, found.started, found.epochs, found.stopped) == ({}, None, (), None)
