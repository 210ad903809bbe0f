"""The settings and versions of runs, and what they reached, as rows of a table."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import matplotlib
import numpy as np

from gpucnn.backends import Augmentation
from gpucnn.nn.losses import LOSSES
from gpucnn.optim import OPTIMIZERS
from gpucnn.optim.schedules import SCHEDULES
from gpucnn.plots.page.document import Table, Text
from gpucnn.plots.page.subject import Subject
from gpucnn.training.results.figures import Evaluation
from gpucnn.training.results.regression import RegressionEvaluation
from gpucnn.training.task import NUMBERS, percent
from gpucnn.version import __version__

_ALWAYS = ("lr", "momentum")
"""Arguments that are shown also with their defaults."""

_PLAIN = {
    "epochs": "epochs",
    "batch_size": "batch size",
    "seed": "seed",
    "early_stopping": "early stopping after epochs",
    "keep_best": "keeps the best epoch",
    "workers": "processes",
}

_UNLESS_ZERO = {
    "validation": "held out for validation",
    "clip_grad_norm": "largest norm of the gradients",
    "ema": "decay of the average of the weights",
    "mixup": "alpha of mixup",
}
"""Settings that are shown unless they are 0 or None, with which they have no effect."""

_SHOWN = (
    *("model", "data", "lr", "momentum", "weight_decay", "label_smoothing", "class_weights"),
    *("regression",),
    *("report", "tensorboard"),
)
"""Options that are shown as parts of others, or that have no effect on the network."""

MAX_TEXT = 200
"""Characters of a value; longer ones, which no option of ours has, are cut."""


def settings_table(subjects: Sequence[Subject]) -> list[Table | Text]:
    """Return a table with a column for each run, and marks where the runs differ."""
    columns = [dict(_values(subject)) for subject in subjects]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [(name, *(column.get(name, "-") for column in columns)) for name in names]
    differing = frozenset(
        number for number, row in enumerate(rows) if len(set(row[1:])) > 1 and len(subjects) > 1
    )
    caption = "Settings and versions."
    if differing:
        caption += " In bold: what differs between the runs."
    table = Table(
        caption,
        ("setting", *([s.title for s in subjects] if len(subjects) > 1 else ["value"])),
        rows,
        left=1 + len(subjects),
        marked=differing,
    )
    return [table, Text(versions())]


def versions() -> str:
    """Return what made the report."""
    return (
        f"This report was made by gpucnn {__version__} with Python {platform.python_version()},"
        f" NumPy {np.__version__} and Matplotlib {matplotlib.__version__}."
    )


def _values(subject: Subject) -> list[tuple[str, str]]:
    started, settings = subject.started, subject.settings
    rows: list[tuple[str, object]] = [("data", subject.data), ("model", subject.network)]
    if subject.model is not None:
        rows.append(("parameters", f"{subject.model.size:,}"))
        rows.append(("input", "x".join(map(str, subject.model.input_shape))))
    if started is not None:
        rows.append(("training images", f"{started.train_images:,}"))
        rows.append(("validation images", f"{started.validation_images:,}"))
        rows.append(("test images", f"{started.test_images:,}"))
    known: dict[str, Mapping[str, type]] = {
        "optimizer": OPTIMIZERS,
        "schedule": {name: type(schedule) for name, schedule in SCHEDULES.items()},
        "loss": LOSSES,
        "augment": {"Augmentation": Augmentation},
    }
    for name, kinds in known.items():
        if settings.get(name):
            rows.append((name, call_text(settings[name], kinds.values())))
    rows += [(text, settings.get(name)) for name, text in _PLAIN.items()]
    rows += [(text, settings.get(name) or None) for name, text in _UNLESS_ZERO.items()]
    shown = (*_SHOWN, *_PLAIN, *_UNLESS_ZERO, *known)
    others = [f"{key}={value}" for key, value in subject.options.items() if key not in shown]
    rows.append(("other options", ", ".join(others)))
    if started is not None:
        precision = "" if started.precision == "ieee" else f", {started.precision}"
        rows.append(("computed by", f"{started.backend}, {started.dtype}{precision}"))
    rows.append(("trained by", subject.version and f"gpucnn {subject.version}"))
    return [
        (name, _text(value))
        for name, value in rows
        if value not in (None, "") and value is not False
    ]


def _text(value: object) -> str:
    text = "yes" if value is True else str(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def call_text(description: Any, kinds: Any = ()) -> str:
    """Return the description of an object as it would be written in Python, without defaults.

    >>> call_text({"type": "SGD", "lr": 0.05, "nesterov": None})
    'SGD(lr=0.05)'
    """
    if not isinstance(description, Mapping):
        return str(description)
    name = str(description.get("type"))
    kind = next((kind for kind in kinds if kind.__name__ == name and is_dataclass(kind)), None)
    defaults = {f.name: f.default for f in fields(kind)} if kind else {}
    arguments = [
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in description.items()
        if key != "type"
        and value is not None
        and (key in _ALWAYS or value != defaults.get(key, MISSING))
    ]
    return f"{name}({', '.join(arguments)})"


def test_figures(evaluation: Evaluation | RegressionEvaluation) -> list[tuple[str, str]]:
    """Return the names and values of the figures of an evaluation."""
    if isinstance(evaluation, Evaluation):
        wrong = evaluation.count - evaluation.correct
        found = [
            ("test accuracy", percent(evaluation.accuracy)),
            ("misread", f"{wrong:,} of {evaluation.count:,}"),
        ]
    else:
        values = evaluation.figures
        found = [(f"test {f.title}", f.show(values[f.name])) for f in NUMBERS.figures]
    return [*found, ("test loss", f"{evaluation.loss:.4f}")]


_OTHERS: dict[str, Callable[[Subject], str]] = {
    "parameters": lambda s: f"{s.model.size:,}" if s.model else "-",
    "epochs": lambda s: f"{s.epochs[-1].epoch}" if s.epochs else "-",
    "training": lambda s: f"{s.seconds:,.1f} s" if s.epochs else "-",
}
_USUAL = ("test accuracy", "misread", "test loss")
"""The figures of runs of which none was evaluated."""


def results_table(subjects: Sequence[Subject]) -> Table:
    """Return a row of figures for each run."""
    found = [dict(test_figures(s.evaluation)) if s.evaluation else {} for s in subjects]
    names = list(dict.fromkeys(name for figures in found for name in figures if name != _USUAL[-1]))
    names = [*names, _USUAL[-1]] if names else list(_USUAL)
    rows = [
        (
            *(s.title, s.data or "-"),
            *(figures.get(name, "-") for name in names),
            *(show(s) for show in _OTHERS.values()),
        )
        for s, figures in zip(subjects, found, strict=True)
    ]
    return Table("Results of the runs.", ("run", "data", *names, *_OTHERS), rows, left=2)
