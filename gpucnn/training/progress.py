"""The progress of a run as text: a line that is redrawn in place, or one line for each epoch."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from typing import TextIO

from gpucnn.training.event_types import EpochEnded, Event, RunStarted, StepEnded, Stopped
from gpucnn.training.task import CLASSES

REFRESH_SECONDS = 0.1
"""The line is redrawn at most this often: reading the figures waits for the device."""

MIN_WAITED = 0.1
"""The part of an epoch for which waiting for images is worth a line."""

_BAR = 16


def start_lines(event: RunStarted, title: str, note: str = "") -> list[str]:
    """Return what is trained on what and where; ``note`` is the reason for the backend."""
    workers = event.settings.get("workers", 1)
    parts = [
        f"{title}: {event.parameters:,} parameters",
        f"{event.train_images:,} images",
        f"{event.validation_images:,} for validation" if event.validation_images else "",
        f"{event.backend} backend",
        event.precision if event.precision != "ieee" else "",
    ]
    first = ", ".join(part for part in parts if part)
    first += (f" ({note})" if note else "") + (f", {workers} processes" if workers > 1 else "")
    lines = [*(f"note: {note}" for note in event.notes), first]
    if event.eager:
        lines.append(f"{event.eager}, so training steps run eagerly instead of as a CUDA graph")
    if event.step:
        lines.append(f"resuming from step {event.step:,}")
    return lines


def epoch_lines(event: EpochEnded, epochs: int) -> list[str]:
    """Return the figures of an epoch; a line more if steps waited long for images from files."""
    lines, waited = [epoch_line(event, epochs)], event.waited or 0.0
    if waited > max(MIN_WAITED * event.seconds, 0.5):
        lines.append(
            f"steps waited {waited:.1f} s for images, which were read at "
            f"{event.read_per_second:,.0f} images/s"
        )
    return lines


def epoch_line(event: EpochEnded, epochs: int) -> str:
    """Return the figures of an epoch, at most 80 characters."""
    main = event.task.main
    parts = [
        f"epoch {event.epoch:>{len(str(epochs))}}/{epochs}",
        f"loss {event.train_loss:.4f}",
        f"{main.title} {main.show(event.figure('train', main.name))}",
    ]
    if event.validation_loss is not None:
        parts.append(f"validation {main.show(event.figure('validation', main.name))}")
    parts.append(f"test {main.title} {main.show(event.figure('test', main.name))}")
    if event.task is not CLASSES:
        last = event.task.figures[-1]
        parts.append(f"{last.title} {last.show(event.figure('test', last.name))}")
    return "  ".join([*parts, f"{event.seconds:.1f} s"])


class Progress:
    """Writes the progress of a run to ``stream`` when it is called with the run's events.

    With ``redraw`` the last line is rewritten in place while steps run. It uses carriage returns,
    which terminals and notebooks understand.
    """

    def __init__(self, stream: TextIO, redraw: bool) -> None:
        self.stream, self.redraw = stream, redraw
        self.epochs = self.steps = self.first_step = 0
        self.main = CLASSES.main
        self.began, self.drawn = 0.0, -math.inf
        self.drawn_length = 0  # characters of the line that is redrawn

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._erase()

    def __call__(self, event: Event) -> None:
        """Write what there is to show of an event."""
        if isinstance(event, RunStarted):
            self.epochs = int(event.settings["epochs"])
            self.steps, self.first_step = self.epochs * event.steps_per_epoch, event.step
            self.main = event.task.main
            self.began = time.perf_counter()
            self.drawn = -math.inf  # so that the first step is shown at once
            for line in start_lines(event, f"training on {event.data}"):
                self._write_line(line)
        elif isinstance(event, StepEnded):
            now = time.perf_counter()
            if self.redraw and now - self.drawn >= REFRESH_SECONDS:
                self.drawn = now
                columns = shutil.get_terminal_size().columns
                self._draw(self._step_line(event, now - self.began, columns))
        elif isinstance(event, EpochEnded):
            for line in epoch_lines(event, self.epochs):
                self._write_line(line)
        elif isinstance(event, Stopped) and event.reason != "finished":
            self._write_line(f"{event.reason}: stopped after step {event.step:,}")

    def _step_line(self, event: StepEnded, seconds: float, columns: int = 100) -> str:
        """Return the figures of a step, without those for which ``columns`` are too few.

        A line that is as wide as the terminal may wrap; a shortened one fills it up to there.
        """
        figures = self.figures(*event.metrics())
        done = event.step / self.steps
        left = seconds * (self.steps - event.step) / (event.step - self.first_step)
        parts = {
            "epoch": f"epoch {event.epoch}/{self.epochs} ",
            "bar": f"[{'#' * int(_BAR * done):-<{_BAR}}] ",
            "percent": f"{done:4.0%}  ",
            **figures,
            "left": f"{_duration(left)} left",
        }
        if sum(map(len, parts.values())) < columns:
            return "".join(parts.values())
        for name in (*reversed(figures), "bar", "epoch"):
            excess = sum(map(len, parts.values())) - columns + 1
            short = _BAR - excess
            if name == "bar" and 4 <= short < _BAR:
                parts[name] = f"[{'#' * int(short * done):-<{short}}] "
            elif excess > 0:
                parts[name] = ""
        return "".join(parts.values())[: columns - 1].ljust(columns - 1)

    def figures(self, loss: float, main: float) -> dict[str, str]:
        """Return what is shown of a step's metrics, the most important first."""
        shown = f"{self.main.title} {self.main.show(main)}  "
        return {"loss": f"loss {loss:.4f}  ", self.main.name: shown}

    def _draw(self, line: str) -> None:
        self.stream.write("\r" + line.ljust(self.drawn_length))
        self.stream.flush()
        self.drawn_length = len(line)

    def _erase(self) -> None:
        if self.drawn_length:
            self.stream.write("\r" + " " * self.drawn_length + "\r")
            self.stream.flush()
        self.drawn_length = 0

    def _write_line(self, line: str) -> None:
        self._erase()
        self.stream.write(line + "\n")
        self.stream.flush()


def make_progress(shown: bool | None) -> Progress | None:
    """Return the progress display for ``fit(progress=shown)``, None for no display."""
    return choose_progress(shown, Progress)


def choose_progress(shown: bool | None, kind: type[Progress]) -> Progress | None:
    """Return a display of a ``kind`` for ``progress=shown``, None for no display."""
    stream = sys.stdout
    if stream is None or shown is False:  # None: a process without standard output
        return None
    is_terminal = getattr(stream, "isatty", None)
    terminal, notebook = is_terminal is not None and is_terminal(), _is_notebook(stream)
    if shown is None and not (terminal or notebook):
        return None
    return kind(stream, redraw=notebook or (terminal and os.environ.get("TERM") != "dumb"))


def _is_notebook(stream: TextIO) -> bool:
    """Return whether ``stream`` is shown in a notebook: IPython's kernels replace sys.stdout."""
    return type(stream).__module__.startswith("ipykernel.")


def _duration(seconds: float) -> str:
    """Return seconds as "0:07" or "1:02:03"."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
