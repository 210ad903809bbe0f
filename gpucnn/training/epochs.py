"""Whether a run may be continued to another number of epochs."""

from __future__ import annotations

import numpy as np

from gpucnn.errors import CheckpointError
from gpucnn.training.files.checkpoint import Checkpoint
from gpucnn.training.settings import Settings
from gpucnn.training.steps import Planned


class EpochsError(CheckpointError):
    """A run cannot be continued with another number of epochs."""


def check_epochs(saved: Checkpoint, settings: Settings, steps: int) -> None:
    """Raise EpochsError unless the run may continue to ``settings.epochs``.

    It may if every step that is done would have had the same learning rate: then the result is that
    of a run with this number of epochs from the start.
    """
    metadata = saved.metadata
    if metadata["settings"]["epochs"] == settings.epochs:
        return
    check_rates(saved, settings, steps)
    patience, found = settings.early_stopping, metadata["best"]
    if patience and found and metadata["epoch"] - found["epoch"] >= patience:
        raise EpochsError(
            f"the run has ended by early stopping after epoch {metadata['epoch']}: with another "
            "number of epochs it would end there as well"
        )
    best = saved.group("best")
    if best and metadata["best"]["epoch"] != metadata["epoch"] and not metadata["index"]:
        last = saved.group("parameters")
        if all(np.array_equal(best[name], last[name], equal_nan=True) for name in best):
            raise EpochsError(
                f"the run has ended with the weights of its best epoch, {metadata['best']['epoch']}"
                f" (keep_best): those of epoch {metadata['epoch']} are gone"
            )


def check_rates(saved: Checkpoint, settings: Planned, steps: int) -> None:
    """Raise EpochsError if with ``settings.epochs`` a step that is done had another learning rate.

    CheckpointError if more epochs are done.
    """
    metadata = saved.metadata
    before, now = metadata["settings"]["epochs"], settings.epochs
    started = metadata["epoch"] + (metadata["index"] > 0)
    if now < started:
        raise CheckpointError(
            f"epochs is {now}, but {started} epochs of the run are done or started"
        )
    done, schedule = metadata["epoch"] * steps + metadata["index"], settings.schedule
    for step in range(done):
        first, second = (schedule.factor(step / (epochs * steps)) for epochs in (before, now))
        if first != second:
            raise EpochsError(
                f"epochs cannot change from {before} to {now}: with {schedule}, the learning rate "
                f"of step {step + 1} was {settings.optimizer.lr * first:g} and would "
                f"have been {settings.optimizer.lr * second:g}"
            )
