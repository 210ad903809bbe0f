"""What ``fit`` returns: the figures of every epoch, and how the run ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from gpucnn.nn.tables import html_table, text_table
from gpucnn.training.event_types import (
    READING,
    EpochEnded,
    Reason,
    RunStarted,
    Stopped,
    unused_figures,
)
from gpucnn.training.task import CLASSES, Task

MAX_ROWS = 20
"""Rows of a table that fits on a screen; of longer runs the middle is left out."""


_loss = "{:.4f}".format

_PARTS = {"train": "train", "validation": "valid.", "test": "test"}

Column = tuple[str, Callable[[Any], str]]


def _table(task: Task) -> dict[str, Column]:
    """Return the columns of the table, 80 characters in all: their headings and formats."""
    table: dict[str, Column] = {"epoch": ("epoch", str)}
    for part, title in _PARTS.items():
        table[f"{part}_loss"] = (f"{title} loss", _loss)
        if task is CLASSES or part == "test":
            for figure in task.figures:
                table[f"{part}_{figure.name}"] = (figure.title, figure.show)
    table["seconds"] = ("seconds", "{:.1f}".format)
    return table


@dataclass(frozen=True, repr=False)
class History:
    """The history of a run.

    ``history["test_accuracy"]`` is the list of a column's values, one for each epoch;
    ``history.columns`` lists the names. ``len(history)`` is the number of epochs. Printed, or as
    the last line of a notebook's cell, it is a table.

    Attributes:
        epochs: an ``EpochEnded`` for each epoch of this call; after a resume, from the first epoch
            that ended in it.
        started: the event that the run began with: data, backend, settings, number of parameters.
        stopped: the event that it ended with.
    """

    epochs: Sequence[EpochEnded]
    started: RunStarted
    stopped: Stopped

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return columns(self.started.task)

    @property
    def reason(self) -> Reason:
        """Why the run ended: "finished", "early stopping" or "interrupted"."""
        return self.stopped.reason

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the best validation accuracy, for regression with the lowest validation
        loss; None without validation images."""
        return self.stopped.best_epoch

    @property
    def test_loss(self) -> float | None:
        """Test loss of the weights that the model has now; None if stopped within an epoch."""
        return self.stopped.test_loss

    @property
    def test_accuracy(self) -> float | None:
        """Test accuracy of the weights that the model has now, as a fraction of 1, or None."""
        return self.stopped.test_accuracy

    @property
    def test_mae(self) -> float | None:
        """Mean absolute error on the test images of a regression, as ``test_loss``."""
        return self.stopped.test_mae

    @property
    def test_mse(self) -> float | None:
        """Mean squared error on the test images of a regression, as ``test_loss``."""
        return self.stopped.test_mse

    @property
    def test_r2(self) -> float | None:
        """Coefficient of determination on the test images of a regression, as ``test_loss``."""
        return self.stopped.test_r2

    def __len__(self) -> int:
        return len(self.epochs)

    def __getitem__(self, column: str) -> list[Any]:
        if column not in self.columns:
            raise KeyError(f"no column {column!r}; the columns are {', '.join(self.columns)}")
        return [getattr(row, column) for row in self.epochs]

    def __repr__(self) -> str:
        return f"{text_table(*self._cells())}\n{self._summary()}"

    def _repr_html_(self) -> str:
        return html_table(*self._cells(), line=self._summary())

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        return epoch_table(self.epochs, bool(self.started.validation_images))

    def _summary(self) -> str:
        """Return how the run ended, in one line."""
        of = self.started.settings["epochs"]
        ended = f"{self.reason} after epoch {self.stopped.epoch} of {of}"
        if self.reason == "interrupted":
            ended += f", step {self.stopped.step:,}"
        parts = [ended]
        if self.best_epoch is not None:
            parts.append(f"best epoch {self.best_epoch}")
        for figure in self.started.task.figures:
            if (value := getattr(self.stopped, f"test_{figure.name}")) is not None:
                parts.append(f"test {figure.title} {figure.show(value)}")
        return "; ".join(parts)


def columns(task: Task) -> tuple[str, ...]:
    """Return the names of the columns of a history, those of ``EpochEnded`` for a task."""
    unused = unused_figures(task).union(READING)
    return tuple(field.name for field in fields(EpochEnded) if field.name not in unused)


def epoch_table(
    epochs: Sequence[EpochEnded], validation: bool
) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of the table of epochs; "..." marks rows left out.

    Without ``validation``, it has no columns for validation images.
    """
    table = {
        name: column
        for name, column in _table(epochs[0].task if epochs else CLASSES).items()
        if validation or not name.startswith("validation")
    }
    shown: list[EpochEnded | None] = list(epochs)
    if len(shown) > MAX_ROWS:
        half = MAX_ROWS // 2
        shown[half : len(shown) - half] = [None]
    rows = [
        [
            "..." if epoch is None else show(getattr(epoch, name))
            for name, (_, show) in table.items()
        ]
        for epoch in shown
    ]
    return [heading for heading, _ in table.values()], rows
