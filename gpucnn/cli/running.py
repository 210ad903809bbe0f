"""What the training of all kinds of models shares: data, events, messages."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from gpucnn.cli.display import PlainDisplay
from gpucnn.cli.output import silence_stdout
from gpucnn.cli.runs import Log, Values, resume_command
from gpucnn.cli.signals import Interrupted, StopRequest
from gpucnn.cli.sources import label_options, read_data
from gpucnn.data import Data
from gpucnn.errors import DataError
from gpucnn.training.event_types import (
    CheckpointWritten,
    Event,
    RunStarted,
    StepEnded,
    Stopped,
)
from gpucnn.training.records.tensorboard import TensorBoard
from gpucnn.training.steps import Planned


def read_run_data(options: Values, seed: int, resumed: Path | None) -> Data:
    """Return the data of a run; ``resumed`` is its folder if it is resumed."""
    name = options.get("data", "mnist")
    try:
        labels = label_options(options.get("regression"), options.get("targets"))
        data = read_data(name, options.get("resize"), seed, options.get("transpose"), labels)
    except DataError as error:
        if resumed is None or Path(name).exists():
            raise
        command = f"{resume_command(resumed, options.get('model', ''))} --data PATH"
        raise DataError(f"{error} (if the data were moved: {command})") from None
    return data.limit(options["limit"]) if "limit" in options else data


def note_epochs(folder: Path, before: int, settings: Planned) -> None:
    """Print what another number of epochs than ``before`` means for a resumed run."""
    now = settings.epochs
    if now > before:
        progress = np.linspace(before / now, 1, 100, endpoint=False)
        rates = [settings.optimizer.lr * settings.schedule.factor(float(p)) for p in progress]
        first, last = (f"{rate:g}" for rate in (rates[0], rates[-1]))
        lr = f"learning rate {first}" if first == last else f"learning rates {first} to {last}"
        many = now - before > 1
        added = f"epochs {before + 1} to {now} are" if many else f"epoch {now} is"
        print(f"{folder}: {added} added, with {lr}", file=sys.stderr)
    elif now < before:
        print(f"{folder}: the run ends after epoch {now} instead of {before}", file=sys.stderr)


def note_workers(folder: Path, before: int, now: int) -> None:
    """Print what another number of processes than ``before`` means for a resumed run."""
    if now != before:
        processes = "process" if now == 1 else "processes"
        print(
            f"{folder}: continues with {now} {processes} instead of {before}: gradients are "
            "rounded otherwise, and dropout masks and batch statistics are of other parts of a "
            "batch",
            file=sys.stderr,
        )


def follow(
    events: Iterable[Event],
    display: PlainDisplay,
    folder: Path,
    again: str,
    stop: StopRequest,
    log: Log,
    board: TensorBoard | None,
) -> bool:
    """Show and log all events of a run, then print the table of results.

    ``again`` is the command that resumes the run. Returns whether it ended without interruption.
    """
    saved = 0
    try:
        with log, display, ExitStack() as stack:
            for event in _measured(events, stop):
                log.write(event)
                if board is not None:
                    board(event)
                with _stopping_quietly(stop):
                    display.show(event)
                if isinstance(event, RunStarted):
                    stack.enter_context(stop.finishing_steps())
                elif isinstance(event, CheckpointWritten):
                    saved = event.step
    except Interrupted:
        with _stopping_quietly(stop):
            last = f"stopped; the last checkpoint is of step {saved:,}. Continue with:"
            display.console.print_command(last, again)
        raise
    if isinstance(event, Stopped):
        if event.reason != "interrupted":
            stop.withdraw()
        with _stopping_quietly(stop):
            display.print_results(event, f"{folder}{os.sep}")
            if event.reason == "interrupted":
                last = f"stopped at step {event.step:,}. Continue with:"
                display.console.print_command(last, again)
    return isinstance(event, Stopped) and event.reason != "interrupted"


def _measured(events: Iterable[Event], stop: StopRequest) -> Iterator[Event]:
    """Pass the events on, and the time of a step and a checkpoint to ``stop``.

    The evaluation after an epoch needs no time: where it is interrupted, all steps are saved.
    """
    seconds = {StepEnded: 0.0, CheckpointWritten: 0.0}
    images = 0
    began = time.perf_counter()
    for event in events:
        if isinstance(event, RunStarted):
            images = event.train_images
        elif type(event) in seconds:
            seconds[type(event)] = time.perf_counter() - began
            stop.expect(sum(seconds.values()))
        if isinstance(event, StepEnded) and event.images == images:
            stop.expect(0)
        yield event
        began = time.perf_counter()


@contextmanager
def _stopping_quietly(stop: StopRequest) -> Iterator[None]:
    """Have the run stop after a checkpoint if standard output cannot be written."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe
        silence_stdout()
        stop.ask(141)
    except OSError as error:
        silence_stdout()
        stop.ask(1)
        print(f"gpucnn: cannot write standard output: {error.strerror}", file=sys.stderr)
