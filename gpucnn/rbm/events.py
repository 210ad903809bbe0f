"""The event of an epoch, and the table of all epochs; other events are those of ``training``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from gpucnn.nn.tables import html_table, text_table
from gpucnn.training.event_types import Event, Reason, RunStarted, Stopped


@dataclass(frozen=True)
class EpochEnded(Event):
    """All training images have been seen once more, and the machine has been evaluated.

    The figures are those of ``rbm.evaluate``, after the epoch: of the test images, and of the first
    training images, as many as there are test images. ``seconds`` and ``images_per_second`` are of
    the training part.
    """

    name = "epoch"
    epoch: int
    train_error: float
    test_error: float
    train_pseudo_likelihood: float
    test_pseudo_likelihood: float
    train_free_energy: float
    test_free_energy: float
    lr: float
    seconds: float
    images_per_second: float


_TABLE: dict[str, tuple[str, Callable[[Any], str]]] = {
    "epoch": ("epoch", str),
    "train_error": ("error", "{:.5f}".format),
    "test_error": ("test error", "{:.5f}".format),
    "train_pseudo_likelihood": ("pseudo-likelihood", "{:.2f}".format),
    "test_pseudo_likelihood": ("test", "{:.2f}".format),
    "train_free_energy": ("free energy", "{:.2f}".format),
    "test_free_energy": ("test", "{:.2f}".format),
    "seconds": ("seconds", "{:.1f}".format),
}
"""The columns of the table: their headings and formats."""


@dataclass(frozen=True, repr=False)
class History:
    """The history of a run: ``history["test_error"]`` lists a column, a value for each epoch.

    Attributes:
        epochs: an ``EpochEnded`` for each epoch of this call; after a resume, from the first epoch
            that ended in it.
        started: the event that the run began with.
        stopped: the event that it ended with; its test loss is the reconstruction error.
    """

    epochs: Sequence[EpochEnded]
    started: RunStarted
    stopped: Stopped

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return COLUMNS

    @property
    def reason(self) -> Reason:
        """Why the run ended: "finished" or "interrupted"."""
        return self.stopped.reason

    def __len__(self) -> int:
        return len(self.epochs)

    def __getitem__(self, column: str) -> list[Any]:
        if column not in self.columns:
            raise KeyError(f"no column {column!r}; the columns are {', '.join(self.columns)}")
        return [getattr(row, column) for row in self.epochs]

    def __repr__(self) -> str:
        return f"{text_table(*epoch_table(self.epochs))}\n{self._summary()}"

    def _repr_html_(self) -> str:
        return html_table(*epoch_table(self.epochs), line=self._summary())

    def _summary(self) -> str:
        of = self.started.settings["epochs"]
        return f"{self.reason} after epoch {self.stopped.epoch} of {of}"


COLUMNS = tuple(field.name for field in fields(EpochEnded))
"""The names of the figures of an epoch."""


def epoch_table(epochs: Sequence[EpochEnded]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of the table of epochs."""
    rows = [[show(getattr(epoch, name)) for name, (_, show) in _TABLE.items()] for epoch in epochs]
    return [heading for heading, _ in _TABLE.values()], rows


def epoch_line(event: EpochEnded, epochs: int) -> str:
    """Return the figures of an epoch, at most 80 characters."""
    parts = [
        f"epoch {event.epoch:>{len(str(epochs))}}/{epochs}",
        f"error {event.train_error:.4f}",
        f"test {event.test_error:.4f}",
        f"pseudo-likelihood {event.test_pseudo_likelihood:.1f}",
        f"{event.seconds:.1f} s",
    ]
    return "  ".join(parts)
