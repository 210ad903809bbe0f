"""metrics.csv, the table of a run's epochs."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from gpucnn.training import EpochEnded
from gpucnn.training.history import columns
from gpucnn.training.records.metrics import COLUMNS, MetricsFile
from gpucnn.training.task import NUMBERS


def epoch(number: int, **others: float | None) -> EpochEnded:
    figures = {"train_loss": 0.1 + number, "test_loss": 1 / 3, "lr": 1e-17, "seconds": 2.5}
    accuracies = {"train_accuracy": 0.5, "test_accuracy": 0.25, "images_per_second": 1e6}
    missing = {"validation_loss": None, "validation_accuracy": None}
    values = {**figures, **accuracies, **missing, **others}
    return EpochEnded(step=4 * number, epoch=number, **values)  # type: ignore[arg-type]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_columns_are_those_of_the_history(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path)
    assert path.read_text() == ",".join(COLUMNS) + "\n"
    metrics.close()


def test_a_run_on_numbers_has_columns_of_errors_instead_of_accuracies(tmp_path: Path) -> None:
    errors = {f"{part}_{name}": 0.5 for part in ("train", "test") for name in ("mse", "mae", "r2")}
    metrics = MetricsFile(tmp_path / "metrics.csv", columns=columns(NUMBERS))
    metrics.write(epoch(1, train_accuracy=None, test_accuracy=None, **errors))
    metrics.close()
    (row,) = rows(tmp_path / "metrics.csv")
    assert not [name for name in row if name.endswith("accuracy")]
    assert (row["train_mse"], row["test_r2"], row["validation_mae"]) == ("0.5", "0.5", "")


def test_numbers_have_all_digits_and_what_is_missing_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path)
    events = [epoch(1), epoch(2, validation_loss=0.1, test_loss=math.inf, train_loss=math.nan)]
    for count, event in enumerate(events, 1):
        metrics.write(event)
        assert len(rows(path)) == count, "it is written at once"
    metrics.close()
    first, second = rows(path)
    for name in COLUMNS:
        value = getattr(events[0], name)
        assert first[name] == "" if value is None else float(first[name]) == value
    assert (second["validation_loss"], second["test_loss"], second["train_loss"]) == ("0.1", "", "")


def test_it_begins_with_the_epochs_of_the_run_in_order_and_each_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("anything\n1,2")
    before = [epoch(2), epoch(1), epoch(2, test_loss=7.0)]
    damaged = {"event": "epoch", "epoch": 3, "test_loss": "=1+1", "lr": [1], "seconds": None}
    metrics = MetricsFile(path, [*(event.as_dict() for event in before), damaged])
    metrics.write(epoch(4))
    metrics.close()
    found = rows(path)
    assert [row["epoch"] for row in found] == ["1", "2", "3", "4"]
    assert [row["test_loss"] for row in found[1:3]] == ["7.0", ""]
    assert (found[2]["lr"], found[2]["seconds"], found[2]["train_loss"]) == ("", "", "")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "metrics.csv").symlink_to(other)
    MetricsFile(tmp_path / "metrics.csv").close()
    assert other.read_text() == "kept"
    with pytest.raises(OSError, match="none"):
        MetricsFile(tmp_path / "none" / "metrics.csv")
