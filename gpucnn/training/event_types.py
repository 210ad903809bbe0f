"""The events of a training run: ``training.events`` yields them, ``fit`` passes them on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from gpucnn.training.task import CLASSES, FIGURES, NUMBERS, PARTS, Task

READING = ("waited", "read_per_second")
"""The fields of ``EpochEnded`` on images that are read while steps run."""

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
        """Return the event as plain data, one line of the log.

        Callables are left out, and what a run on other labels has: classes or numbers.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {key: value for key, value in values.items() if not callable(value)}
        for name in self.unused:
            plain.pop(name, None)
        return {"event": self.name, **plain}

    @property
    def unused(self) -> frozenset[str]:
        """The fields that are only for other tasks."""
        return frozenset()


def unused_figures(task: Task) -> frozenset[str]:
    """Return the names of the figures that runs of a task do not have, with those of splits."""
    others = [name for name in FIGURES if name not in task.names]
    return frozenset(f"{part}_{name}" for part in PARTS for name in others)


@dataclass(frozen=True)
class RunStarted(Event):
    """Training is about to begin, or to resume after ``step``.

    ``eager`` is the reason why a backend that could capture and replay whole steps launches their
    operations one by one, else None. ``notes`` are what should be known before training, such as
    images that are in the training and in the test split; one line each. For regression
    ``classes`` is 0, and ``targets`` are the names of the numbers to predict.
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
    targets: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """What is learned: classes or numbers."""
        return NUMBERS if self.targets else CLASSES

    @property
    def unused(self) -> frozenset[str]:
        """As in ``Event``."""
        return frozenset() if self.targets else frozenset({"targets"})


@dataclass(frozen=True)
class StepEnded(Event):
    """The weights have been updated; ``images`` of the epoch have been seen.

    Where a device replays captured steps, an event stands for up to 32 of them. ``metrics()``
    returns the epoch's mean loss and accuracy so far, for regression loss and mean absolute error;
    it waits for the device.
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

    ``waited`` and ``read_per_second`` are for images that are read from files while steps run: the
    part of ``seconds`` in which steps waited for them, and at how many images/s they were read. If
    waiting took a large part, training is as slow as the files are read. They are None for images
    in memory.

    For regression accuracies are None, and errors and R² (``training.task``) take their place, in
    the units of the targets; the losses are of standardised targets.
    """

    name = "epoch"
    epoch: int
    train_loss: float
    train_accuracy: float | None
    test_loss: float
    test_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float
    seconds: float
    images_per_second: float
    train_mse: float | None = None
    train_mae: float | None = None
    train_r2: float | None = None
    test_mse: float | None = None
    test_mae: float | None = None
    test_r2: float | None = None
    validation_mse: float | None = None
    validation_mae: float | None = None
    validation_r2: float | None = None
    waited: float | None = None
    read_per_second: float | None = None

    @property
    def task(self) -> Task:
        """What is learned: classes or numbers."""
        return CLASSES if self.train_accuracy is not None else NUMBERS

    @property
    def unused(self) -> frozenset[str]:
        """As in ``Event``."""
        reading = () if self.waited is not None else READING
        return unused_figures(self.task).union(reading)

    def figure(self, part: str, name: str) -> float:
        """Return a figure of "train", "validation" or "test"; NaN if there is none."""
        value = getattr(self, f"{part}_{name}")
        return math.nan if value is None else float(value)


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
    test_mse: float | None = None
    test_mae: float | None = None
    test_r2: float | None = None

    @property
    def task(self) -> Task:
        """What was learned: classes or numbers; classes if there are no figures."""
        return CLASSES if self.test_mae is None else NUMBERS

    @property
    def unused(self) -> frozenset[str]:
        """As in ``Event``."""
        return unused_figures(self.task)
