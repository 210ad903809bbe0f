"""The output of a run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from typing import Any

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from gpucnn.cli.console import PlainConsole, is_fancy, print_table
from gpucnn.training.event_types import EpochEnded, Event, RunStarted, StepEnded, Stopped
from gpucnn.training.progress import REFRESH_SECONDS, epoch_lines, start_lines
from gpucnn.training.task import CLASSES, percent

READING_SECONDS, READING_LINE_SECONDS = 0.5, 10.0
"""The progress of reading is shown after this time, and then, without a terminal, this often."""


class PlainDisplay:
    """Prints a line at the start and one for each epoch, which are readable in a log file."""

    def __init__(self, console: PlainConsole, title: str, note: str = "") -> None:
        self.console = console
        self.title = title
        self.note = note
        self.epochs = 0
        self.learned = CLASSES
        self.seconds = 0.0
        self.images = 0.0

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def show(self, event: Event) -> None:
        """Print the line of an event, if it has one."""
        if isinstance(event, RunStarted):
            self.epochs, self.learned = int(event.settings["epochs"]), event.task
            for line in start_lines(event, self.title, self.note):
                self.console.print(line)
        elif isinstance(event, EpochEnded):
            self.seconds += event.seconds
            self.images += event.images_per_second * event.seconds
            for line in epoch_lines(event, self.epochs):
                self.console.print(line)

    def print_results(self, stopped: Stopped, folder: str) -> None:
        """Print the table of results."""
        rows = self.result_rows(stopped)
        rows.append(("epochs", f"{stopped.epoch} of {self.epochs}, {stopped.reason}"))
        if self.seconds:
            rate = self.images / self.seconds
            rows.append(("training", f"{self.seconds:.1f} s, {rate:,.0f} images/s"))
        rows.append(("saved to", folder))
        print_table(self.console, rows, left=2)

    def result_rows(self, stopped: Stopped) -> list[tuple[str, str]]:
        """Return the first rows of the table of results: the figures of the model."""
        rows = []
        if stopped.test_loss is not None:
            for figure in self.learned.figures:
                value = getattr(stopped, f"test_{figure.name}")
                rows.append((f"test {figure.title}", figure.show(value)))
            if stopped.test_accuracy is not None:
                rows.append(("test error", percent(1 - stopped.test_accuracy)))
            rows.append(("test loss", f"{stopped.test_loss:.4f}"))
        if stopped.best_epoch is not None:
            rows.append(("best epoch", f"{stopped.best_epoch}, by {self.learned.chosen_by}"))
        return rows


class LiveDisplay(PlainDisplay):
    """Shows a progress bar as well, which is redrawn in place."""

    def __init__(self, console: PlainConsole, title: str, note: str = "") -> None:
        super().__init__(console, title, note)
        columns: list[tuple[int, ProgressColumn]] = [
            (36, TextColumn("{task.description}")),
            (80, BarColumn(bar_width=None)),
            (0, TextColumn("{task.percentage:3.0f} %")),
            (64, TextColumn("{task.fields[figures]}")),
            (100, TextColumn("{task.fields[speed]}")),
            (0, TextColumn("left")),
            (0, TimeRemainingColumn(compact=True)),
        ]
        self.progress = Progress(
            *(column for width, column in columns if console.width >= width),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self.task: TaskID | None = None
        self.drawn = 0.0

    def __enter__(self) -> LiveDisplay:
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def show(self, event: Event) -> None:
        """Print the line of an event, if it has one, and redraw the progress bar."""
        super().show(event)
        if isinstance(event, RunStarted):
            total = self.epochs * event.steps_per_epoch
            self.task = self.progress.add_task(
                "", total=total, completed=event.step, figures="", speed=""
            )
        elif isinstance(event, StepEnded) and self.task is not None:
            now = time.perf_counter()
            if now - self.drawn < REFRESH_SECONDS:
                return
            self.drawn = now
            self.progress.update(
                self.task,
                completed=event.step,
                description=f"epoch {event.epoch}/{self.epochs}",
                figures=self.figures(*event.metrics()),
                speed=f"{event.images_per_second:,.0f} images/s",
            )
            self.progress.refresh()

    def figures(self, loss: float, main: float) -> str:
        """Return what is shown of a step's metrics."""
        return f"loss {loss:.4f}  {self.learned.main.title} {self.learned.main.show(main)}"


def make_display(
    console: PlainConsole,
    title: str,
    note: str = "",
    plain: type[PlainDisplay] = PlainDisplay,
    live: type[LiveDisplay] = LiveDisplay,
) -> PlainDisplay:
    """Return the display for the console. The first line has ``title`` and ``note``."""
    kind = live if is_fancy(console) else plain
    return kind(console, title, note)


class ReadingProgress:
    """Shows on standard error how many images are read: a bar, or a line every ten seconds.

    Call it with what was done to how many of how many, as ``gpucnn.data.load`` does.
    """

    def __init__(self) -> None:
        self.console = PlainConsole(stderr=True, highlight=False, markup=False)
        self.progress: Progress | None = None
        self.task = TaskID(0)
        if is_fancy(self.console):
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TimeRemainingColumn(compact=True),
            )
            self.progress = Progress(
                *columns, console=self.console, auto_refresh=False, transient=True
            )
            self.task = self.progress.add_task("", total=None)
        self.began = self.printed = time.monotonic()

    def __enter__(self) -> ReadingProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.progress is not None:
            self.progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that ``done`` images of ``total`` were "read", or bytes "verified"."""
        unit = "bytes" if what == "verified" else "images"
        now, text = time.monotonic(), f"{what} {done:,} of {total:,} {unit}"
        if self.progress is not None and now - self.began >= READING_SECONDS:
            self.progress.start()
            self.progress.update(self.task, description=text, completed=done, total=total)
            self.progress.refresh()
        elif self.progress is None and now - self.printed >= READING_LINE_SECONDS:
            self.printed = now
            self.console.print(text)


def plain_json(value: Any) -> Any:
    """Return ``value`` with NaN and infinity, which JSON cannot represent, replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain_json(item) for key, item in value.items()}
    return [plain_json(item) for item in value] if isinstance(value, list | tuple) else value
