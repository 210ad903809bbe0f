"""What happens in a training run. ``fit`` yields these; displays, logs and tests consume them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

Reason = Literal["finished", "early stopping", "interrupted"]


@dataclass(frozen=True)
class Event:
    """Base of all events; ``name`` is the value of "event" in the log.

    Epochs count from 1; ``step`` counts the steps done since the beginning of the run.
    """

    name: ClassVar[str]
    step: int

    def as_dict(self) -> dict[str, Any]:
        """Return the event as one line of the log: plain data, callables left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {key: value for key, value in values.items() if not callable(value)}
        return {"event": self.name, **plain}


@dataclass(frozen=True)
class RunStarted(Event):
    """Training is about to begin, or to go on behind ``step``.

    ``eager`` says why the operations of a step are launched one by one, where the backend could
    record and repeat whole steps; else it is None.
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
    settings: dict[str, Any]


@dataclass(frozen=True)
class StepEnded(Event):
    """Parameters have been updated; ``images`` is how many of the epoch's have been seen.

    Where a device repeats recorded steps, an event stands for up to 32 of them.
    ``metrics()`` waits for the device and returns the epoch's mean loss and accuracy so far.
    """

    name = "step"
    epoch: int
    images: int
    images_per_second: float
    lr: float
    metrics: Callable[[], tuple[float, float]]


@dataclass(frozen=True)
class EpochEnded(Event):
    """All training images have been seen once more, and the test images looked at.

    Accuracies are fractions of 1. The training figures are means over the epoch, while the weights
    changed. ``seconds`` is what this process spent on the training part, evaluation left out.
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
    """Everything needed to go on from ``step`` is on disk."""

    name = "checkpoint"
    epoch: int
    path: str


@dataclass(frozen=True)
class Stopped(Event):
    """The run is over: all epochs done, no more progress, or asked to stop.

    ``epoch`` counts the epochs completed. The figures are those of the weights that the model now
    holds, None where a run stopped within an epoch.
    """

    name = "stop"
    epoch: int
    reason: Reason
    best_epoch: int | None
    test_loss: float | None
    test_accuracy: float | None
