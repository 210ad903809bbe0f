"""What a report is given of one run or network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gpucnn.data import Split
from gpucnn.errors import GpucnnError
from gpucnn.nn.sequential import Sequential
from gpucnn.training.event_types import EpochEnded, RunStarted, Stopped
from gpucnn.training.history import History
from gpucnn.training.records.folder import RunRecord
from gpucnn.training.results.figures import Evaluation
from gpucnn.training.results.regression import RegressionEvaluation
from gpucnn.training.task import CLASSES
from gpucnn.training.times import LayerTimes, layer_times

MAX_BATCH, MAX_MULTIPLY_ADDS = 64, 2e9
"""Images in the batch of which times are measured; fewer if it takes more multiply-adds."""

ROUNDS = 3


@dataclass(frozen=True)
class Subject:
    """What a report is given of one run or network; what is missing is left out of the page.

    Attributes:
        title: its name, unlike those of the other subjects of the report.
        model: the network.
        test: test images, none of which it was trained on.
        evaluation: its figures on them.
        run: the events of its run.
        network: the name of the network, or the function that builds it.
        data: the name of the data.
        version: the version of gpucnn that trained it.
        options: the options of ``gpucnn train`` that were given, by name.
        settings: the settings of the run as plain data.
        notes: what is missing or unusual, one sentence each.
        times: the times of the network's layers.
    """

    title: str
    model: Sequential | None = None
    test: Split | None = None
    evaluation: Evaluation | RegressionEvaluation | None = None
    run: History | RunRecord | None = None
    network: str = ""
    data: str = ""
    version: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    times: LayerTimes | None = None

    @property
    def started(self) -> RunStarted | None:
        """How the run started."""
        return self.run.started if self.run else None

    @property
    def epochs(self) -> Sequence[EpochEnded]:
        """The epochs of the run; of a network without a run, none."""
        return self.run.epochs if self.run else ()

    @property
    def stopped(self) -> Stopped | None:
        """How the run ended; None if it was killed or is still running."""
        return self.run.stopped if self.run else None

    @property
    def seconds(self) -> float:
        """Seconds of training, without evaluation."""
        return sum(epoch.seconds for epoch in self.epochs)

    def ending(self) -> str:
        """Return how the run ended, in one sentence; "" if nothing is known of a run."""
        if not self.epochs and self.started is None:
            return ""
        total = (self.settings or (self.started.settings if self.started else {})).get(
            "epochs", "?"
        )
        done = self.epochs[-1].epoch if self.epochs else 0
        if self.stopped is None:
            return (
                f"The run has no end in its log: it was killed or is still running. {done} of"
                f" {total} epochs are complete."
            )
        ends = {
            "finished": f"The run finished after {self.stopped.epoch} of {total} epochs.",
            "early stopping": f"Early stopping ended the run after {self.stopped.epoch} of {total}"
            " epochs.",
            "interrupted": f"The run was interrupted at step {self.stopped.step:,}, after"
            f" {self.stopped.epoch} of {total} epochs.",
        }
        best = self.stopped.best_epoch
        task = self.epochs[-1].task if self.epochs else CLASSES
        chosen = f" Its best epoch by {task.chosen_by} was {best}." if best is not None else ""
        return ends[self.stopped.reason] + chosen


def with_times(subject: Subject) -> Subject:
    """Return the subject with the times of its layers.

    They are left out on the emulator, for models with a ``forward`` of their own, and where the
    memory is too small.
    """
    if subject.model is None:
        return subject
    cost = max(1, subject.model.summary().multiply_adds)
    batch_size = int(max(1, min(MAX_BATCH, MAX_MULTIPLY_ADDS // cost)))
    try:
        return replace(subject, times=layer_times(subject.model, batch_size, ROUNDS))
    except (GpucnnError, MemoryError):
        return subject
