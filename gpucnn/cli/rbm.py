"""``gpucnn train --model rbm``, and networks that begin with the weights of such a run."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

from gpucnn.cli.console import make_console
from gpucnn.cli.display import LiveDisplay, PlainDisplay, make_display
from gpucnn.cli.running import follow, note_epochs, read_run_data
from gpucnn.cli.runs import Log, Values, resume_command, run_folder, write_config
from gpucnn.cli.settings import make_optimizer, named
from gpucnn.cli.signals import StopRequest
from gpucnn.cli.sources import build_model, emulator_mode, make_backend, shape_for
from gpucnn.config import check_integer
from gpucnn.data import Data
from gpucnn.errors import SettingError
from gpucnn.nn.sequential import Sequential
from gpucnn.optim.schedules import SCHEDULES
from gpucnn.rbm import RBM, EpochEnded, Settings, events, load_rbm
from gpucnn.rbm.events import COLUMNS, epoch_line
from gpucnn.rbm.files import find, load
from gpucnn.rbm.progress import error_text
from gpucnn.training.event_types import Event, Stopped
from gpucnn.training.files.checkpoint import FILE_NAME

HIDDEN = 128
"""Hidden units where --hidden is not given: as many as ``models.mlp`` has."""


def make_settings(options: Values) -> Settings:
    """Return the default settings, with the given options in place of their values."""
    default = Settings()
    names = {field.name for field in fields(Settings)}.difference(("optimizer", "schedule"))
    changes: Values = {name: options[name] for name in names if name in options}
    if "cd_k" in options:
        changes["gibbs_steps"] = check_integer("--cd-k", options["cd_k"], 1)
    if "schedule" in options:
        changes["schedule"] = named("schedule", options["schedule"], SCHEDULES)
    changes["optimizer"] = make_optimizer(default.optimizer, options)
    return replace(default, **changes)


def train_rbm(
    folder: Path | None, resumed: bool, options: Values, check: bool, stop: StopRequest
) -> None:
    """Train a machine as the options say, in ``folder`` or a new one."""
    settings = make_settings(options)
    if options.get("report"):
        from gpucnn.cli.report import require_libraries

        require_libraries("--report")
    data = read_run_data(options, settings.seed, folder if resumed else None)
    precision = options.get("precision", "ieee")
    backend, note = make_backend(options.get("backend", "auto"), precision=precision)
    mode, mode_note = emulator_mode(backend, check)
    with run_folder(folder, f"rbm-{data.name}") as folder:
        checkpoint = folder / FILE_NAME
        saved = load(checkpoint) if resumed and checkpoint.exists() else None
        hidden, binary = options.get("hidden", HIDDEN), options.get("binarize", False)
        hidden = check_integer("--hidden", hidden, 1)
        machine = RBM(data.input_shape, hidden, binary=binary, seed=settings.seed)
        run = events(
            machine,
            data,
            settings=settings,
            backend=backend,
            checkpoint=checkpoint,
            checkpoint_every=options.get("checkpoint_every"),
            resume=saved,
            should_stop=stop.requested,
        )
        with mode, closing(run):
            if saved:
                note_epochs(folder, saved.metadata["settings"]["epochs"], settings)
            write_config(folder, options, settings.as_dict())
            log = Log(folder, saved.metadata["epoch"] if saved else None, COLUMNS)
            title = f"rbm of {machine.visible:,} and {machine.hidden:,} units on {data.name}"
            display = make_display(
                make_console(), title, note or mode_note, plain=_PlainDisplay, live=_LiveDisplay
            )
            ended = follow(run, display, folder, resume_command(folder), stop, log, None)
        if ended and options.get("report"):
            from gpucnn.cli.machine_report import write_report
            from gpucnn.cli.report import PAGE_NAME

            title = folder.resolve().name
            metadata = load(checkpoint).metadata
            write_report(machine, metadata, data, folder, title, folder / PAGE_NAME)


class _Figures(PlainDisplay):
    """Prints the figures of a restricted Boltzmann machine."""

    def show(self, event: Event) -> None:
        super().show(event)
        if isinstance(event, EpochEnded):
            self.seconds += event.seconds
            self.images += event.images_per_second * event.seconds
            self.console.print(epoch_line(event, self.epochs))

    def result_rows(self, stopped: Stopped) -> list[tuple[str, str]]:
        if stopped.test_loss is None:
            return []
        return [("reconstruction error of the test images", f"{stopped.test_loss:.5f}")]

    def figures(self, loss: float, accuracy: float) -> str:
        return error_text(loss)


class _PlainDisplay(_Figures):
    pass


class _LiveDisplay(_Figures, LiveDisplay):
    pass


# --- networks that begin with the weights of a machine ------------------------------------------


def machine_in(options: Values) -> RBM | None:
    """Return the machine that ``--init`` names; None without it, or if it names something else."""
    init = options.get("init")
    saved = None if init is None else find(init)
    if saved is None:
        return None
    if "model" not in options:
        raise SettingError(
            f"--init {init} holds a restricted Boltzmann machine, which has no classes: name the "
            "network that begins with its weights, for example --model mlp"
        )
    return load_rbm(saved, "numpy")


def pretrained_model(machine: RBM, options: Values, data: Data, seed: int) -> Sequential:
    """Return the network of ``options`` whose first linear layer has the weights of a machine.

    A resumed run builds it with the "hidden" that is added to the options.
    """
    if options["model"] == "mlp":
        options.setdefault("hidden", machine.hidden)
    hidden = {"hidden": options["hidden"]} if "hidden" in options else {}
    model = build_model(options["model"], {**shape_for(data), **hidden}, seed)
    model.normalization = data.statistics()
    try:
        layer = machine.initialize_layer(model)
    except SettingError as error:
        raise SettingError(f"--init {options['init']}: {error}") from None
    print(f"layer {layer} has the weights of {options['init']}", file=sys.stderr)
    return model
