"""``gpucnn runs``: the runs in a folder, with their settings and results."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from gpucnn.cli.console import make_console, print_table
from gpucnn.cli.options import RUN_FILES
from gpucnn.cli.output import printable
from gpucnn.cli.sources import model_name
from gpucnn.errors import SettingError, unknown
from gpucnn.files import is_locked
from gpucnn.training.files.checkpoint import FILE_NAME
from gpucnn.training.records.folder import RunRecord, read_record
from gpucnn.training.records.metrics import csv_lines
from gpucnn.training.settings import Settings, flatten
from gpucnn.training.task import FIGURES, NUMBERS, PARTS, percent

Row = dict[str, Any]

COLUMNS = (
    "run",
    "state",
    "model",
    "data",
    "test_accuracy",
    "test_loss",
    "train_accuracy",
    "train_loss",
    "validation_accuracy",
    "validation_loss",
    "best_epoch",
    "epochs_done",
    "steps",
    "seconds",
    "parameters",
    "train_images",
    "backend",
    "precision",
    "version",
)
"""The columns of --csv before those of the settings."""

_OF_START = ("data", "parameters", "train_images", "backend", "precision")

_DEPTH = 4
_MOST_LOG = 1 << 22  # bytes of a log: about 10,000 epochs
_MOST_TEXT = 200  # characters of a value


def runs_command(arguments: argparse.Namespace) -> int:
    """Print a table of the runs in a folder."""
    folder = Path(arguments.folder)
    if not folder.is_dir():
        hint = "gpucnn train writes its runs to runs/" if arguments.folder == "runs" else ""
        what = "is not a folder" if folder.exists() else "does not exist"
        raise SettingError(f"{folder} {what}: " + (hint or "give the folder of the runs"))
    if not os.access(folder, os.R_OK | os.X_OK):
        raise SettingError(f"{folder} cannot be read: permission denied")
    if arguments.csv and arguments.json:
        raise SettingError("give either --csv or --json")
    rows = [row for path in find_runs(folder) if (row := run_row(path, folder)) is not None]
    rows = sorted_rows(rows, arguments.sort or "run", arguments.reverse)
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    if arguments.json:
        print(json.dumps([{name: row.get(name) for name in columns} for row in rows]))
    elif arguments.csv:
        cells = ([row.get(name) for name in columns] for row in rows)
        sys.stdout.write(csv_lines([columns, *cells]))
    elif not rows:
        make_console().print(f"{printable(str(folder))}: no runs")
    else:
        _print(rows)
    return 0


def find_runs(folder: Path) -> Iterator[Path]:
    """Yield the folders of runs in ``folder``, or itself; links are not followed."""
    yield from _find(folder, _DEPTH)


def _find(folder: Path, depth: int) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
        if any(entry.name in RUN_FILES for entry in entries):
            yield folder
            return
        for entry in entries:
            if depth and entry.name[0] != "." and entry.is_dir(follow_symlinks=False):
                yield from _find(folder / entry.name, depth - 1)


def run_row(path: Path, within: Path) -> Row | None:
    """Return the row of a run, None if the folder holds files of another program.

    ``within`` is the folder that its name is relative to.
    """
    name = path.name if path == within else str(path.relative_to(within))
    try:
        record = read_record(path, _MOST_LOG)
    except SettingError:
        return {"run": name, "state": "damaged"}
    if not (record.settings or record.started or record.epochs or record.stopped):
        return {"run": name, "state": "damaged"} if (path / FILE_NAME).is_file() else None
    started, stopped, last = record.started, record.stopped, (record.epochs or (None,))[-1]
    row: Row = {
        "run": name,
        "state": _state(record),
        "model": model_name(_texts(record.options)),
        "epochs_done": stopped.epoch if stopped else last.epoch if last else 0,
        "version": record.version,
    }
    if started is not None:
        row |= {name: getattr(started, name) for name in _OF_START}
    if last is not None:
        names = [f"{part}_{name}" for part in PARTS for name in last.task.names]
        row |= {name: getattr(last, name) for name in names}
        row |= {"steps": last.step, "seconds": sum(epoch.seconds for epoch in record.epochs)}
    if stopped is not None:
        row |= {"steps": stopped.step, "best_epoch": stopped.best_epoch}
        found = {f"test_{name}": getattr(stopped, f"test_{name}") for name in FIGURES}
        row |= {name: value for name, value in found.items() if value is not None}
    return {name: _plain(value) for name, value in (row | _settings(record)).items()}


def _state(record: RunRecord) -> str:
    """Return the state of a run; a process that trains holds a lock on its folder."""
    if is_locked(record.folder):
        return "running"
    return "interrupted" if record.stopped is None else record.stopped.reason


def _settings(record: RunRecord) -> Row:
    """Return the settings as columns, and the options that are not settings."""
    known = {field.name for field in fields(Settings)}
    own = {name: value for name, value in record.settings.items() if name in known}
    others = (
        *("recipe", "limit", "resize", "init", "targets"),
        *("hidden", "cd_k", "persistent", "binarize"),
    )
    given = {name: record.options[name] for name in others if name in record.options}
    with suppress(RecursionError):  # a forged file, nested too deeply
        return {**flatten(own), **given}
    return given


def _texts(options: Row) -> Row:
    return {name: value for name, value in options.items() if isinstance(value, str)}


def _plain(value: Any) -> Any:
    """Return a value of a file as text in one line, a finite number, or None."""
    if isinstance(value, str):
        return printable(value)[:_MOST_TEXT]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) else None


# --- the table ----------------------------------------------------------------------------------


def sorted_rows(rows: Iterable[Row], column: str, reverse: bool) -> list[Row]:
    """Return rows sorted by a column; those without a value come last. Numbers sort as such."""
    rows = list(rows)
    known = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    if column not in known:
        raise unknown("column", column, known)
    having = [row for row in rows if row.get(column) is not None]
    having.sort(key=lambda row: _key(row[column]), reverse=reverse)
    return having + [row for row in rows if row.get(column) is None]


def _key(value: Any) -> tuple[bool, Any]:
    """Return what values are compared by: "run-10" comes after "run-9", text after numbers."""
    if isinstance(value, str):
        parts = re.split(r"(\d{1,9})", value)  # digits at odd indices
        return True, [int(part) if index % 2 else part for index, part in enumerate(parts)]
    return False, value


def _print(rows: list[Row]) -> None:
    cells = []
    numbers = any("test_mae" in row for row in rows)
    for row in rows:
        loss = row.get("test_loss")
        done = "" if "epochs_done" not in row else f"{row['epochs_done']}/{row.get('epochs', '?')}"
        cells.append(
            [
                row["run"],
                row["state"],
                _described(row),
                done,
                _result(row),
                "" if loss is None else f"{loss:.4f}",
            ]
        )
    headings = ("run", "state", "training", "epochs", "result" if numbers else "accuracy", "loss")
    print_table(make_console(), cells, headings, left=3)


def _result(row: Row) -> str:
    """Return the accuracy of a run on the test images, or the error of a regression."""
    if (accuracy := row.get("test_accuracy")) is not None:
        return percent(accuracy)
    main = NUMBERS.main
    error = row.get(f"test_{main.name}")
    return "" if error is None else f"{main.title} {main.show(error)}"


def _described(row: Row) -> str:
    """Return what was trained and how, in a few words."""
    parts = [" on ".join(str(row[name]) for name in ("model", "data") if row.get(name))]
    if row.get("optimizer"):
        parts.append(str(row["optimizer"]).lower())
    for name, word in (("optimizer.lr", "lr"), ("batch_size", "batch"), ("seed", "seed")):
        value = row.get(name)
        if isinstance(value, int | float):
            parts.append(f"{word} {value:g}")
    return ", ".join(part for part in parts if part)
