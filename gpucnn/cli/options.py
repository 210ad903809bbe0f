"""The options of a run: those that were given, and those in the config.json of a resumed run.

A run's folder may come from somebody else: its config.json is data, and code that it names runs
only if the command names it too, or the user agrees.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path

from gpucnn.cli.parser import MainParser
from gpucnn.cli.runs import Values, resume_command
from gpucnn.config import check_integer
from gpucnn.errors import SettingError
from gpucnn.training.files.checkpoint import FILE_NAME
from gpucnn.training.files.metadata import parse_json
from gpucnn.training.records.folder import CONFIG_NAME, LOG_NAME
from gpucnn.training.records.log import read_log
from gpucnn.training.records.metrics import METRICS_NAME

RUN_FILES = (FILE_NAME, CONFIG_NAME, LOG_NAME, METRICS_NAME)
NOT_SAVED = ("command", "debug", "help", "resume", "out", "check", "group", "change_workers")

_MAY_DIFFER = (
    "backend",
    "checkpoint_every",
    "data",
    "epochs",
    "report",
    "tensorboard",
    "transpose",
    "workers",
)
"""Options with which a run can be resumed: its checkpoint decides on data, epochs and
processes.

Versions before 0.3 had no "transpose": runs with EMNIST are resumed with the value "no".
"""

RBM = "rbm"
"""The value of --model with which a restricted Boltzmann machine is trained."""

_OF_RBM = ("hidden", "cd_k", "persistent", "binarize")
_ALSO_OF_RBM = (
    "backend", "batch_size", "checkpoint_every", "data", "epochs", "limit", "lr", "model",
    "momentum", "optimizer", "precision", "report", "resize", "schedule", "seed", "transpose",
    "weight_decay",
)  # fmt: skip

_OF_LABELS = ("class_weights", "label_smoothing", "regression", "targets")

_MAX_SIZE = 1 << 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def folder_and_options(arguments: argparse.Namespace, given: Values) -> tuple[Path | None, Values]:
    """Return the folder of the run and its options; the folder is None for a new numbered one.

    The options of a resumed run are those in its config.json and those ``given`` now.
    """
    out = getattr(arguments, "out", None)
    if arguments.resume is None:
        folder = None if out is None else Path(out)
        if folder is not None and any((folder / name).exists() for name in RUN_FILES):
            raise SettingError(
                f"{folder} already holds a run: choose another --out, or continue it with: "
                f"{resume_command(folder, given.get('model', ''))}"
            )
        return folder, given
    folder = _resumed_folder(arguments.resume, out)
    config, checkpoint = folder / CONFIG_NAME, folder / FILE_NAME
    if not config.exists() and checkpoint.exists():
        raise SettingError(
            f"{folder} has a checkpoint but no config.json, so it cannot be resumed. Train its "
            f"weights in a new run: gpucnn train --init {shlex.quote(str(folder))}"
        )
    if not checkpoint.exists():
        _check_nothing_lost(folder)
    if not config.exists():
        if arguments.resume is not True:
            raise SettingError(f"{folder} holds no run to resume")
        print(f"{folder} holds no run: starting a new one", file=sys.stderr)
        return folder, given
    options = _resumed_options(folder, read_options(config), given)
    if not checkpoint.exists():
        print(f"{folder} has no checkpoint yet: starting at step 0", file=sys.stderr)
    return folder, options


def check_model_options(options: Values) -> None:
    """Raise SettingError for an option that the kind of model does not have."""
    model = options.get("model", "lenet5")
    if model == RBM:
        for name in options:
            if name in _OF_LABELS:
                raise SettingError(
                    f"{_option(name)} is for networks: --model rbm learns from images alone, "
                    "without labels or numbers to predict: omit it"
                )
            if name not in (*_OF_RBM, *_ALSO_OF_RBM):
                raise SettingError(f"{_option(name)} is not an option of --model rbm: omit it")
        return
    for name in _OF_RBM:
        if name in options and not (name == "hidden" and model == "mlp"):
            models = "rbm and mlp" if name == "hidden" else "rbm"
            raise SettingError(f"{_option(name)} is for --model {models}, not for {model}: omit it")
    if "hidden" in options:
        check_integer("--hidden", options["hidden"], 1)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _resumed_folder(resume: str | bool, out: str | None) -> Path:
    """Return the folder that ``--resume [DIR]`` and ``--out DIR`` name."""
    path = out if resume is True else str(resume)
    if path is None:
        raise SettingError("--resume needs the folder of the run: --resume DIR")
    folder = Path(path)
    if folder.suffix == ".npz":
        if folder.name != FILE_NAME:
            raise SettingError(
                f"--resume must be the folder of a run or its {FILE_NAME}, got {folder}"
            )
        folder = folder.parent
    if out is not None and Path(out).resolve() != folder.resolve():
        raise SettingError(f"--out {out} and --resume {path} are different folders: give only one")
    return folder


def _check_nothing_lost(folder: Path) -> None:
    """Raise SettingError if the log of a run without a checkpoint shows that there was one."""
    names = [event["event"] for event, _ in read_log(folder / LOG_NAME)]
    if "checkpoint" in names or "epoch" in names:
        raise SettingError(
            f"{folder} has no {FILE_NAME}, but its log has {names.count('epoch')} epochs: "
            "restore the file, or start over in another folder with --out"
        )


def _resumed_options(folder: Path, saved: Values, given: Values) -> Values:
    """Return the saved options with those given now; SettingError for those that may not differ."""
    for key, value in given.items():
        moved = key == "model" and ".py:" in value  # the checkpoint decides on its layers
        if key not in _MAY_DIFFER and not moved and value != saved.get(key):
            option = key.replace("_", "-")
            before = f"{saved[key]!r}" if key in saved else "not given"
            raise SettingError(
                f"--{option} must be as in the run that is resumed: {before}, got {value!r}"
            )
    if ".py:" in saved.get("model", "") and "model" not in given:
        _ask_to_import(folder, saved["model"])
    return saved | given


def _ask_to_import(folder: Path, model: str) -> None:
    """Raise SettingError unless the user agrees on a terminal to run the code of a run's model."""
    file = model.rpartition(":")[0]
    if not Path(file).is_file():
        raise SettingError(
            f"{file}, which defines the model, does not exist. If it was moved: "
            f"{resume_command(folder)} --model PATH.py:FUNCTION"
        )
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SettingError(
            f"{folder / 'config.json'} names Python code, which is run only if the command names "
            f"it: {resume_command(folder, model)}"
        )
    print(
        f"{folder / 'config.json'} names Python code: run {file}? [y/N] ", end="", file=sys.stderr
    )
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise SettingError(f"{file} was not run, so {folder} was not resumed")


def read_options(config: Path) -> Values:
    """Return the options in a config.json: known ones, with values of their types."""
    try:
        if not config.is_file() or config.stat().st_size > _MAX_SIZE:
            raise ValueError("it is not a file of options")
        content = parse_json(config.read_bytes())
        options = content.get("options") if isinstance(content, dict) else None
        if not isinstance(options, dict):
            raise ValueError("it has no options")
        kinds = _kinds()
        for name, value in options.items():
            if name not in kinds:
                raise ValueError(f"{name[:40]!r} is not an option that is saved")
            options[name] = _checked(name, value, kinds[name])
    except ValueError as error:
        raise SettingError(f"{config} is damaged: {error}") from None
    except OSError as error:
        raise SettingError(f"cannot read {config}: {error.strerror}") from None
    return options


def _kinds() -> dict[str, type]:
    """Return the types of the values of ``gpucnn train``'s options, by the names that they have."""
    actions = MainParser().command("train")._actions
    return {
        action.dest: bool if action.nargs == 0 else getattr(action, "type", None) or str
        for action in actions
        if action.dest not in NOT_SAVED
    }


def _checked(name: str, value: object, kind: type) -> object:
    """Return a value of an option as its type; ValueError if it is of another."""
    if kind is float and type(value) in (int, float):
        return float(value)  # type: ignore[arg-type]
    expected = {bool: "true", int: "an integer", float: "a number"}.get(kind, "text in one line")
    valid = value is True if kind is bool else type(value) is kind
    if not valid or (isinstance(value, str) and _CONTROL.search(value)):
        raise ValueError(f"{name} is {str(value)[:40]!r}, expected {expected}")
    return value
