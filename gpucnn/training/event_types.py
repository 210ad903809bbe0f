"""The events of a training run: ``training.events`` yields them, ``fit`` passes them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

Reason = Literal["finished", "early stopping", "interrupted"]


@dataclass(frozen=True)
class Event:
    """Base of all events.

    Epochs count from 1; ``step`` is the number of steps since the beginning of the run. ``name`` is
    the value of "event" in the log.
    """

    name: ClassVar[str]
    step: int

    def as_dict(self) -> dict[str, Any]:
        """Return the event as plain data, one line of the log; callables are left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {key: value for key, value in values.items() if not callable(value)}
        return {"event": self.name, **plain}


@dataclass(frozen=True)
class RunStarted(Event):
    """Training is about to begin, or to resume after ``step``.

    ``eager`` is the reason why a backend that could capture and replay whole steps launches their
    operations one by one, else None. ``notes`` are what should be known before training, such as
    images that are in the training and in the test split; one line each.
    """

    name = "start"
    version: str
    backend: str
    dtype: str
    precision: str
    data: str
    classes: int
    train_images: int
    validation_images: int
    test_images: int
    parameters: int
    steps_per_epoch: int
    eager: str | None
    notes: tuple[str, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class StepEnded(Event):
    """The weights have been updated; ``images`` of the epoch have been seen.

    Where a device replays captured steps, an event stands for up to 32 of them. ``metrics()``
    returns the epoch's mean loss and accuracy so far; it waits for the device.
    """

    name = "step"
    epoch: int
    images: int
    images_per_second: float
    lr: float
    metrics: Callable[[], tuple[float, float]]


@dataclass(frozen=True)
class EpochEnded(Event):
    """All training images have been seen once more, and the test images have been evaluated.

    Accuracies are fractions of 1. The training figures are means over the epoch, in which the
    weights changed. ``seconds`` and ``images_per_second`` are of the training part in this process,
    without evaluation.
    """

    name = "epoch"
    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class CheckpointWritten(Event):
    """Everything that is needed to resume after ``step`` is on disk."""

    name = "checkpoint"
    epoch: int
    path: str


@dataclass(frozen=True)
class Stopped(Event):
    """The run is over: all epochs done, early stopping, or asked to stop.

    ``epoch`` is the number of epochs completed. The test figures are those of the weights that the
    model now has, None if the run stopped within an epoch.
    """

    name = "stop"
    epoch: int
    reason: Reason
    best_epoch: int | None
    test_loss: float | None
    test_accuracy: float | None
