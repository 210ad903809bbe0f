"""``gpucnn train``: its settings, its folder and log, and the handling of signals."""

from __future__ import annotations

import argparse
import shlex
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from gpucnn.backends import Backend
from gpucnn.cli.board import RUN_FOLDER, make_board
from gpucnn.cli.console import make_console
from gpucnn.cli.display import make_display
from gpucnn.cli.options import NOT_SAVED, RBM, check_model_options, folder_and_options
from gpucnn.cli.running import follow, note_epochs, read_run_data
from gpucnn.cli.runs import Log, Values, absolute, resume_command, run_folder, write_config
from gpucnn.cli.settings import make_settings, with_class_weights, with_recipe_model
from gpucnn.cli.signals import StopRequest
from gpucnn.cli.sources import emulator_mode, first_model, make_backend, model_name
from gpucnn.data import Data
from gpucnn.errors import CheckpointError
from gpucnn.nn.sequential import Sequential
from gpucnn.training.files.checkpoint import FILE_NAME, Checkpoint, load
from gpucnn.training.files.pretrained import find
from gpucnn.training.fit import events
from gpucnn.training.history import columns
from gpucnn.training.processes.workers import default_workers
from gpucnn.training.settings import Settings, settle
from gpucnn.training.state import EpochsError
from gpucnn.training.task import task_of


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
    options = with_recipe_model(options)
    resumed = folder if arguments.resume is not None else None
    check_model_options(options)
    check = getattr(arguments, "check", False)
    if options.get("model") == RBM:
        from gpucnn.cli.rbm import train_rbm

        train_rbm(folder, resumed is not None, options, check, stop)
        return
    settings = make_settings(options)
    if options.get("report"):
        from gpucnn.cli.report import report_on_training, require_libraries

        require_libraries("--report")
    data = read_run_data(options, settings.seed, resumed)
    settings = with_class_weights(settle(settings, data.is_regression), options, data)
    precision = options.get("precision", "ieee")
    backend, note = make_backend(options.get("backend", "auto"), precision=precision)
    mode, mode_note = emulator_mode(backend, check)
    name = model_name(options)
    with run_folder(folder, f"{Path(name).stem}-{data.name}") as folder:
        checkpoint = folder / FILE_NAME
        saved = load(checkpoint) if resumed is not None and checkpoint.exists() else None
        model = first_run_model(options, data, settings.seed, saved)
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
                note_epochs(folder, saved.metadata["settings"]["epochs"], settings)
            write_config(folder, options, settings.as_dict())
            shown = columns(task_of(data.is_regression))
            log = Log(folder, saved.metadata["epoch"] if saved else None, shown)
            display = make_display(make_console(), f"{name} on {data.name}", note or mode_note)
            again = resume_command(folder, options.get("model", ""))
            with board as writer:
                ended = follow(run, display, folder, again, stop, log, writer)
        if ended and options.get("report"):
            report_on_training(folder, model, data, settings.loss)


def first_run_model(
    options: Values, data: Data, seed: int, saved: Checkpoint | None = None
) -> Sequential:
    """Return the model of a run; ``saved`` is the checkpoint of a resumed one."""
    if "init" in options and saved is None:
        from gpucnn.cli.rbm import machine_in, pretrained_model

        if (machine := machine_in(options)) is not None:
            return pretrained_model(machine, options, data, seed)
    return first_model(options, data, seed, saved)


def _workers(
    saved: Checkpoint | None, model: Sequential, backend: Backend, data: Data, settings: Settings
) -> int:
    """Return the number of processes that share the batches where it was not given."""
    if saved:  # it may have been started on a machine with another number of cores
        metadata = saved.metadata
        return int(metadata["settings"]["workers"]) if "settings" in metadata else 1
    held_out = 0 if data.validation else settings.validation
    return default_workers(model, backend, len(data.train) - held_out, settings)


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
