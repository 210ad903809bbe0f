"""``gpucnn train``: its settings, its folder and log, and the handling of signals."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from gpucnn.cli.display import make_console, make_display, show_cursor
from gpucnn.cli.output import silence_stdout
from gpucnn.cli.runs import (
    NOT_SAVED,
    Log,
    Values,
    absolute,
    folder_and_options,
    run_folder,
    write_config,
)
from gpucnn.cli.sources import build_model, make_backend, read_data, shape_for
from gpucnn.errors import SettingError, unknown
from gpucnn.nn.losses import LOSSES
from gpucnn.optim import OPTIMIZERS, Optimizer
from gpucnn.optim.schedules import SCHEDULES
from gpucnn.training.checkpoint import load
from gpucnn.training.event_types import Event, Stopped
from gpucnn.training.fit import events
from gpucnn.training.settings import RECIPES, Settings, default_optimizer
from gpucnn.training.workers import default_workers


def train(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    stop = StopRequest()
    with stop.handling():
        _train(arguments, stop)
    return stop.status


def _train(arguments: argparse.Namespace, stop: StopRequest) -> None:
    given = {key: value for key, value in vars(arguments).items() if key not in NOT_SAVED}
    if given.get("data", "mnist") != "mnist":
        given["data"] = absolute(given["data"])
    if ".py:" in given.get("model", ""):
        given["model"] = absolute(given["model"])
    folder, options = folder_and_options(arguments, given)
    settings = make_settings(options)
    seed = settings.seed
    data = read_data(
        options.get("data", "mnist"), options.get("resize"), seed, options.get("transpose")
    )
    if "limit" in options:
        data = data.limit(options["limit"])
    spec = options.get("model", "lenet5")
    model = build_model(spec, shape_for(data), seed)

    precision = options.get("precision", "ieee")
    backend, note = make_backend(options.get("backend", "auto"), precision=precision)
    with run_folder(folder, f"{Path(spec).stem}-{data.name}") as folder:
        checkpoint = folder / "checkpoint.npz"
        saved = load(checkpoint) if arguments.resume is not None and checkpoint.exists() else None
        if "workers" not in options:
            if saved:  # it may have been started on a machine with another number of cores
                number = saved.metadata["settings"]["workers"]
            else:
                held_out = 0 if data.validation else settings.validation
                images = len(data.train) - held_out
                number = default_workers(model, backend, images, settings)
            settings = replace(settings, workers=number)
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
        with closing(run):
            write_config(folder, options, settings)
            log = Log(folder / "log.jsonl", saved.metadata["epoch"] if saved else None)
            _follow(run, folder, f"{Path(spec).name} on {data.name}", note, stop, log)


def make_settings(options: Values) -> Settings:
    """Return the settings of the recipe, with the given options in place of its values."""
    recipe = options.get("recipe", "default")
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    settings = RECIPES[recipe]()
    objects = ("optimizer", "schedule", "loss")
    names = {field.name for field in fields(Settings)}.difference(objects)
    changes: Values = {name: options[name] for name in names if name in options}
    if "schedule" in options:
        changes["schedule"] = _named("schedule", options["schedule"], SCHEDULES)
    if "loss" in options:
        changes["loss"] = _named("loss", options["loss"], LOSSES)()
    changes["optimizer"] = _make_optimizer(settings.optimizer, options)
    return replace(settings, **changes)


def _make_optimizer(default: Optimizer, options: Values) -> Optimizer:
    optimizer = default
    if "optimizer" in options:
        kind = _named("optimizer", options["optimizer"], OPTIMIZERS)
        usual = (default, default_optimizer())  # "sgd" has the momentum of the default recipe
        optimizer = next((known for known in usual if type(known) is kind), kind())
    changes = {
        name: options[name] for name in ("lr", "momentum", "weight_decay") if name in options
    }
    if "momentum" in changes and not hasattr(optimizer, "momentum"):
        raise SettingError(
            f"{type(optimizer).__name__} has no momentum: use --optimizer sgd, or omit --momentum"
        )
    return replace(optimizer, **changes)  # type: ignore[type-var]


def _named(kind: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise unknown(kind, name, known)
    return known[name]


# --- during the run -----------------------------------------------------------------------------


class StopRequest:
    """Handles SIGINT and SIGTERM: the first stops the run after a checkpoint, a second at once."""

    def __init__(self) -> None:
        self.status = 0

    def requested(self) -> bool:
        """Return whether the run should stop."""
        return self.status != 0

    def ask(self, status: int) -> None:
        """Have the run stop and the command exit with ``status``."""
        self.status = status

    def withdraw(self) -> None:
        """Discard a signal that arrived when the run had finished."""
        if self.status > 128 and self.status != 141:
            self.status = 0

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Handle the two signals within the block."""
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        if self.status:
            show_cursor()
            os._exit(128 + number)
        self.ask(128 + number)


SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _follow(
    events: Iterable[Event], folder: Path, title: str, note: str, stop: StopRequest, log: Log
) -> None:
    """Show and log all events of a run, then print the table of results."""
    console = make_console()
    display = make_display(console, title, note)
    with log, display:
        for event in events:
            log.write(event)
            with _stopping_quietly(stop):
                display.show(event)
    if isinstance(event, Stopped):
        if event.reason != "interrupted":
            stop.withdraw()
        with _stopping_quietly(stop):
            console.print(display.table(event, f"{folder}{os.sep}"))
            if event.reason == "interrupted":
                command = f"gpucnn train --resume {shlex.quote(str(folder))}"
                console.print(f"stopped at step {event.step:,}. Continue with: {command}")


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
