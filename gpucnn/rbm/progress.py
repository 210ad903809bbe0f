"""The progress of a run as text."""

from __future__ import annotations

import math

from gpucnn.rbm.events import EpochEnded, epoch_line
from gpucnn.training.event_types import Event
from gpucnn.training.progress import Progress, choose_progress


class RBMProgress(Progress):
    """Writes the progress of a run to a stream when it is called with the run's events."""

    def __call__(self, event: Event) -> None:
        """Write what there is to show of an event."""
        super().__call__(event)
        if isinstance(event, EpochEnded):
            self._write_line(epoch_line(event, self.epochs))

    def figures(self, first: float, second: float) -> dict[str, str]:
        """Return the reconstruction error, if it is known."""
        return {"loss": f"{text}  "} if (text := error_text(first)) else {}


def error_text(error: float) -> str:
    """Return the reconstruction error of steps, "" if it is not known."""
    return "" if math.isnan(error) else f"error {error:.4f}"


def make_progress(shown: bool | None) -> Progress | None:
    """Return the progress display for ``rbm.fit(progress=shown)``, None for no display."""
    return choose_progress(shown, RBMProgress)
