"""``gpucnn train``: its settings, its folder and log, and the handling of signals."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from gpucnn.backends import Backend
from gpucnn.cli.board import RUN_FOLDER, make_board
from gpucnn.cli.console import make_console
from gpucnn.cli.display import PlainDisplay, make_display
from gpucnn.cli.options import NOT_SAVED, folder_and_options
from gpucnn.cli.output import silence_stdout
from gpucnn.cli.runs import Log, Values, absolute, resume_command, run_folder, write_config
from gpucnn.cli.settings import make_settings, with_class_weights
from gpucnn.cli.signals import Interrupted, StopRequest
from gpucnn.cli.sources import emulator_mode, first_model, make_backend, model_name, read_data
from gpucnn.data import Data
from gpucnn.errors import CheckpointError, DataError
from gpucnn.nn.sequential import Sequential
from gpucnn.training.event_types import (
    CheckpointWritten,
    Event,
    RunStarted,
    StepEnded,
    Stopped,
)
from gpucnn.training.files.checkpoint import FILE_NAME, Checkpoint, load
from gpucnn.training.files.pretrained import find
from gpucnn.training.fit import events
from gpucnn.training.records.tensorboard import TensorBoard
from gpucnn.training.settings import Settings
from gpucnn.training.state import EpochsError
from gpucnn.training.workers import default_workers


def train_command(arguments: argparse.Namespace) -> int:
    """Train a network; the first signal ends the run after its step, with a checkpoint."""
    stop = StopRequest()
    with stop.handling():
        _train(arguments, stop)
    return stop.status


def _given(arguments: argparse.Namespace) -> Values:
    """Return the options that were given, with absolute paths."""
    given = {key: value for key, value in vars(arguments).items() if key not in NOT_SAVED}
    if given.get("data", "mnist") != "mnist":
        given["data"] = absolute(given["data"])
    if ".py:" in given.get("model", ""):
        given["model"] = absolute(given["model"])
    if "init" in given and find(given["init"]) is None:
        given["init"] = absolute(given["init"])
    if "tensorboard" in given:
        where = given["tensorboard"]
        given["tensorboard"] = RUN_FOLDER if where is True else absolute(where)
    return given


def _train(arguments: argparse.Namespace, stop: StopRequest) -> None:
    folder, options = folder_and_options(arguments, _given(arguments))
    resumed = folder if arguments.resume is not None else None
    settings = make_settings(options)
    if options.get("report"):
        from gpucnn.cli.report import report_on_training, require_libraries

        require_libraries("--report")
    data = _read_data(options, settings.seed, resumed)
    settings = with_class_weights(settings, options, data)
    precision = options.get("precision", "ieee")
    backend, note = make_backend(options.get("backend", "auto"), precision=precision)
    mode, mode_note = emulator_mode(backend, getattr(arguments, "check", False))
    name = model_name(options)
    with run_folder(folder, f"{Path(name).stem}-{data.name}") as folder:
        checkpoint = folder / FILE_NAME
        saved = load(checkpoint) if resumed is not None and checkpoint.exists() else None
        model = first_model(options, data, settings.seed, saved)
        board = make_board(options, folder, model, data, resumed is not None)
        if "workers" not in options:
            settings = replace(settings, workers=_workers(saved, model, backend, data, settings))
        try:
            run = events(
                model,
                data,
                settings=settings,
                backend=backend,
                checkpoint=checkpoint,
                checkpoint_every=options.get("checkpoint_every"),
                resume=saved,
                should_stop=stop.requested,
            )
        except EpochsError as error:
            further = _train_further(folder, options, saved, settings)
            raise CheckpointError(f"{error}. Train the weights in a new run: {further}") from None
        with mode, closing(run):
            if saved:
                _note_epochs(folder, saved.metadata["settings"]["epochs"], settings)
            write_config(folder, options, settings)
            log = Log(folder, saved.metadata["epoch"] if saved else None)
            display = make_display(make_console(), f"{name} on {data.name}", note or mode_note)
            again = resume_command(folder, options.get("model", ""))
            with board as writer:
                ended = _follow(run, display, folder, again, stop, log, writer)
        if ended and options.get("report"):
            report_on_training(folder, model, data, settings.loss)


def _read_data(options: Values, seed: int, resumed: Path | None) -> Data:
    """Return the data of a run; ``resumed`` is its folder if it is resumed."""
    name = options.get("data", "mnist")
    try:
        data = read_data(name, options.get("resize"), seed, options.get("transpose"))
    except DataError as error:
        if resumed is None or Path(name).exists():
            raise
        command = f"{resume_command(resumed, options.get('model', ''))} --data PATH"
        raise DataError(f"{error} (if the data were moved: {command})") from None
    return data.limit(options["limit"]) if "limit" in options else data


def _workers(
    saved: Checkpoint | None, model: Sequential, backend: Backend, data: Data, settings: Settings
) -> int:
    """Return the number of processes that share the batches where it was not given."""
    if saved:  # it may have been started on a machine with another number of cores
        metadata = saved.metadata
        return int(metadata["settings"]["workers"]) if "settings" in metadata else 1
    held_out = 0 if data.validation else settings.validation
    return default_workers(model, backend, len(data.train) - held_out, settings)


def _note_epochs(folder: Path, before: int, settings: Settings) -> None:
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


def _train_further(
    folder: Path, options: Values, saved: Checkpoint | None, settings: Settings
) -> str:
    """Return the command of a new run that starts from the weights of the one in ``folder``."""
    done = saved.metadata["epoch"] if saved else 0
    words = ["gpucnn", "train", "--init", str(folder)]
    for name, value in options.items():
        if name not in ("backend", "epochs", "init", "tensorboard"):
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    return shlex.join([*words, "--epochs", str(max(1, settings.epochs - done))])


# --- during the run -----------------------------------------------------------------------------


def _follow(
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
