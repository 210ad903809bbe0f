"""``gpucnn train``: its settings, its folder and log, and the handling of signals."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from gpucnn.backends import Backend, prefer_gpu
from gpucnn.cli.board import RUN_FOLDER, make_board
from gpucnn.cli.console import make_console
from gpucnn.cli.display import make_display
from gpucnn.cli.options import NOT_SAVED, RBM, check_model_options
from gpucnn.cli.ranks import (
    adding_by,
    folder_and_options_of,
    follow_quietly,
    refuse_ranks,
    run_on_ranks,
    with_ranks,
)
from gpucnn.cli.running import follow, note_epochs, note_workers, read_run_data
from gpucnn.cli.runs import Log, Values, absolute, resume_command, run_folder, write_config
from gpucnn.cli.settings import make_settings, with_class_weights, with_recipe_model
from gpucnn.cli.signals import StopRequest
from gpucnn.cli.sources import emulator_mode, first_model, make_backend, model_name
from gpucnn.data import Data
from gpucnn.errors import CheckpointError
from gpucnn.nn.sequential import Sequential
from gpucnn.training.epochs import EpochsError
from gpucnn.training.files.checkpoint import FILE_NAME, Checkpoint, load
from gpucnn.training.files.pretrained import find
from gpucnn.training.fit import events
from gpucnn.training.history import columns
from gpucnn.training.processes.choice import make_group
from gpucnn.training.processes.group import Group
from gpucnn.training.processes.workers import default_workers
from gpucnn.training.settings import Settings, settle
from gpucnn.training.task import task_of


def train_command(arguments: argparse.Namespace) -> int:
    """Train a network; the first signal ends the run after its step, with a checkpoint."""
    stop = StopRequest()
    with stop.handling():
        name = getattr(arguments, "group", "auto")
        group = make_group(name if name in ("mpi", "alone") else "auto")

        def train() -> None:
            with adding_by(name, group) as ranks:
                _train(arguments, stop, ranks)

        return run_on_ranks(group, stop, train, getattr(arguments, "debug", False))


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


def _train(arguments: argparse.Namespace, stop: StopRequest, group: Group) -> None:
    """Train what --model names, in a new folder or in that of a resumed run."""
    given = _given(arguments)
    folder, options = folder_and_options_of(group, arguments, given)
    options = with_recipe_model(options)
    check_model_options(options)
    if options.get("model") == RBM:
        from gpucnn.cli.rbm import train_rbm

        refuse_ranks(group, "--model rbm")
        check = getattr(arguments, "check", False)
        train_rbm(folder, arguments.resume is not None, options, check, stop)
        return
    _train_network(arguments, folder, options, given, stop, group)


def _train_network(
    arguments: argparse.Namespace,
    folder: Path | None,
    options: Values,
    given: Values,
    stop: StopRequest,
    group: Group,
) -> None:
    """Train a network; ``options`` are those ``given`` and those of a resumed run."""
    resumed = folder if arguments.resume is not None else None
    settings, data = _read(options, resumed)
    prefer_gpu(group.local_rank)
    backend, mode, note = _backend(options, getattr(arguments, "check", False))
    name = model_name(options)
    own_folder = run_folder(folder, f"{Path(name).stem}-{data.name}")
    with own_folder if group.rank == 0 else nullcontext() as folder:
        checkpoint = group.broadcast(folder and folder / FILE_NAME)
        found = checkpoint if resumed and checkpoint and checkpoint.exists() else None
        saved = group.broadcast(load(found) if found else None)
        model = first_run_model(options, data, settings.seed, saved)
        board = make_board(options, folder, model, data, resumed is not None) if folder else None
        if group.size > 1:
            settings, options = with_ranks(group, settings, options, given)
        elif "workers" not in options:
            settings = replace(settings, workers=_workers(saved, model, backend, data, settings))
        with _explained(folder, options, saved, settings):
            run = events(
                model,
                data,
                settings=settings,
                backend=backend,
                checkpoint=checkpoint,
                checkpoint_every=options.get("checkpoint_every"),
                resume=saved,
                should_stop=stop.requested,
                group=group,
                change_workers=hasattr(arguments, "change_workers"),
            )
        with mode, closing(run):
            if folder is None or board is None:
                follow_quietly(run, stop)
                return
            log = _open_records(folder, options, saved, settings, data)
            display = make_display(make_console(), f"{name} on {data.name}", note)
            again = resume_command(folder, options.get("model", ""), group.size)
            with board as writer:
                ended = follow(run, display, folder, again, stop, log, writer)
        if ended and options.get("report"):
            from gpucnn.cli.report import report_on_training

            report_on_training(folder, model, data, settings.loss)


def _backend(options: Values, check: bool) -> tuple[Backend, AbstractContextManager[None], str]:
    """Return the backend, the context in which its kernels run, and a note for the user."""
    precision = options.get("precision", "ieee")
    backend, note = make_backend(options.get("backend", "auto"), precision=precision)
    mode, mode_note = emulator_mode(backend, check)
    return backend, mode, note or mode_note


def _read(options: Values, resumed: Path | None) -> tuple[Settings, Data]:
    """Return the settings and the data of a run; ``resumed`` is the folder of a resumed one."""
    settings = make_settings(options)
    if options.get("report"):  # before anything that takes long
        from gpucnn.cli.report import require_libraries

        require_libraries("--report")
    data = read_run_data(options, settings.seed, resumed)
    return with_class_weights(settle(settings, data.is_regression), options, data), data


@contextmanager
def _explained(
    folder: Path | None, options: Values, saved: Checkpoint | None, settings: Settings
) -> Iterator[None]:
    """Add the command of a new run to an error that more epochs cannot be resumed."""
    try:
        yield
    except EpochsError as error:
        further = _train_further(folder, options, saved, settings)
        raise CheckpointError(f"{error}. Train the weights in a new run: {further}") from None


def _open_records(
    folder: Path, options: Values, saved: Checkpoint | None, settings: Settings, data: Data
) -> Log:
    """Write config.json, print what is otherwise in a resumed run than before, return the log."""
    if saved:
        before = saved.metadata["settings"]
        note_epochs(folder, before["epochs"], settings)
        note_workers(folder, before["workers"], settings.workers)
    write_config(folder, options, settings.as_dict())
    shown = columns(task_of(data.is_regression))
    return Log(folder, saved.metadata["epoch"] if saved else None, shown)


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
    folder: Path | None, options: Values, saved: Checkpoint | None, settings: Settings
) -> str:
    """Return the command of a new run that starts from the weights of the one in ``folder``."""
    done = saved.metadata["epoch"] if saved else 0
    words = ["gpucnn", "train", "--init", str(folder)]
    for name, value in options.items():
        if name not in ("backend", "epochs", "init", "tensorboard"):
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    return shlex.join([*words, "--epochs", str(max(1, settings.epochs - done))])
