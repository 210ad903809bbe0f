"""What the folder of a run records: its options, settings, epochs and end.

The folder may come from somebody else, from an older version or from a run that was killed:
``config.json`` and ``log.jsonl`` are validated, and what is not valid is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from gpucnn.errors import SettingError
from gpucnn.training.event_types import (
    READING,
    EpochEnded,
    Event,
    RunStarted,
    Stopped,
    unused_figures,
)
from gpucnn.training.files.metadata import (
    Schema,
    integer,
    number,
    optional,
    parse_json,
    record,
    sequence,
    text,
)
from gpucnn.training.records.log import read_log
from gpucnn.training.task import NUMBERS, PARTS, task_of

CONFIG_NAME, LOG_NAME = "config.json", "log.jsonl"

_MAX_CONFIG = 1 << 20

Values = dict[str, Any]
E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class RunRecord:
    """What the folder of a run records.

    Attributes:
        folder: the folder.
        version: the version of gpucnn that wrote config.json, "" if unknown.
        options: the options of ``gpucnn train`` that were given, by name: text, numbers and flags.
        settings: the settings of the run as plain data; {} if there is no config.json.
        started: how the run started, or was resumed last; None if there is no log.
        epochs: the epochs in their order. Figures that were NaN or infinite are NaN.
        stopped: how the run ended; None if it was killed or is still running.
    """

    folder: Path
    version: str
    options: Values
    settings: Values
    started: RunStarted | None
    epochs: tuple[EpochEnded, ...]
    stopped: Stopped | None

    @property
    def title(self) -> str:
        """The name of the folder."""
        return self.folder.resolve().name or str(self.folder)


def read_record(folder: Path, most: int | None = None) -> RunRecord:
    """Return what the folder of a run records.

    Of a log of more than ``most`` bytes only the beginning and the end are read.

    Raises:
        SettingError: a file cannot be read. Files that are missing or damaged are left out.
    """
    config = _read_config(folder / CONFIG_NAME)
    options, settings, version = (config.get(key) for key in ("options", "settings", "gpucnn"))
    started: RunStarted | None = None
    stopped: Stopped | None = None
    epochs: dict[int, EpochEnded] = {}
    for values, _ in read_log(folder / LOG_NAME, most):
        if (start := _event(RunStarted, values)) is not None:
            started, stopped = start, None
        elif (ended := _event(EpochEnded, values)) is not None:
            epochs[ended.epoch], stopped = ended, None
        elif (stop := _event(Stopped, values)) is not None:
            stopped = stop
    given = options.items() if isinstance(options, dict) else ()
    return RunRecord(
        folder,
        version if isinstance(version, str) else "",
        {name: value for name, value in given if isinstance(value, str | int | float)},
        settings if isinstance(settings, dict) else {},
        started,
        tuple(epochs[epoch] for epoch in sorted(epochs)),
        stopped,
    )


def _read_config(path: Path) -> Values:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_CONFIG:
            return {}
        content = parse_json(path.read_bytes())
    except ValueError:
        return {}
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}") from None
    return content if isinstance(content, dict) else {}


_COUNT = integer(0)
_FIGURE = optional(number())
_ACCURACY = optional(number(0, 1))
_ERRORS = [figure.name for figure in NUMBERS.figures]
_SCHEMAS: Mapping[type[Event], Schema] = {
    RunStarted: record(
        {
            **dict.fromkeys(("version", "backend", "dtype", "precision", "data"), text()),
            **dict.fromkeys(
                ("step", "classes", "train_images", "validation_images", "test_images"), _COUNT
            ),
            **dict.fromkeys(("parameters", "steps_per_epoch"), _COUNT),
            "eager": optional(text()),
            "notes": sequence(text(), 0, 1000),
            "settings": record({"epochs": integer(1)}),
            "targets": sequence(text(), 0, 1 << 20),
        }
    ),
    EpochEnded: record(
        {
            "step": _COUNT,
            "epoch": integer(1),
            **dict.fromkeys(("train_loss", "test_loss", "validation_loss", "lr"), _FIGURE),
            **dict.fromkeys(("train_accuracy", "test_accuracy", "validation_accuracy"), _ACCURACY),
            **dict.fromkeys((f"{part}_{name}" for part in PARTS for name in _ERRORS), _FIGURE),
            **dict.fromkeys(("seconds", "images_per_second"), _FIGURE),
            **dict.fromkeys(READING, _FIGURE),
        }
    ),
    Stopped: record(
        {
            "step": _COUNT,
            "epoch": _COUNT,
            "reason": text("finished", "early stopping", "interrupted"),
            "best_epoch": optional(integer(1)),
            "test_loss": _FIGURE,
            "test_accuracy": _ACCURACY,
            **dict.fromkeys((f"test_{name}" for name in _ERRORS), _FIGURE),
        }
    ),
}
"""What the events of a log are. Logs have null for NaN and infinity."""

_OLDER: Values = {
    **dict.fromkeys(("version", "backend"), ""),
    **dict.fromkeys(("classes", "parameters", "steps_per_epoch"), 0),
    **dict.fromkeys(("train_images", "validation_images", "test_images"), 0),
    "dtype": "float32",
    "precision": "ieee",
    "notes": [],
    "targets": [],
}
"""What logs of older versions may lack, besides what may be null."""


def _event(kind: type[E], values: Values) -> E | None:
    """Return the event of this kind that a line of a log holds; None if it is another, or wrong."""
    if values["event"] != kind.name:
        return None
    names = [field.name for field in fields(kind)]
    known: Values = {name: values.get(name, _OLDER.get(name)) for name in names}
    try:
        _SCHEMAS[kind]("", known)
    except ValueError:
        return None
    task = task_of("train_mae" in values)  # of an epoch
    for name, value in known.items():
        unused = name in unused_figures(task).union(READING)
        always = kind is EpochEnded and not (unused or name.startswith("validation"))
        if isinstance(value, list):
            known[name] = tuple(value)
        elif (value is None and always) or (isinstance(value, float) and math.isinf(value)):
            known[name] = math.nan
    return kind(**known)
