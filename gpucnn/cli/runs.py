"""The folder of a run: its choice, its files config.json and log.jsonl, and its lock."""

from __future__ import annotations

import argparse
import errno
import itertools
import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gpucnn.cli.display import plain_json
from gpucnn.cli.parser import make_parser
from gpucnn.errors import SettingError
from gpucnn.files import lock, open_to_append, write_atomically
from gpucnn.training.event_types import EpochEnded, Event, StepEnded
from gpucnn.training.settings import Settings
from gpucnn.version import __version__

Values = dict[str, Any]
"""Options of ``gpucnn train`` by name, with their values; only those that were given."""

RUN_FILES = ("checkpoint.npz", "config.json", "log.jsonl")
NOT_SAVED = ("command", "debug", "resume", "out")


def folder_and_options(arguments: argparse.Namespace, given: Values) -> tuple[Path | None, Values]:
    """Return the folder of the run and its options; the folder is None for a new numbered one.

    The options of a resumed run are those in its config.json and those ``given`` now.
    """
    out = getattr(arguments, "out", None)
    if out == "":
        raise SettingError("--out must be the name of a folder, got ''")
    if arguments.resume is None:
        folder = None if out is None else Path(out)
        if folder is not None and any((folder / name).exists() for name in RUN_FILES):
            raise SettingError(
                f"{folder} already holds a run: choose another --out, or continue it with: "
                f"{resume_command(folder, given.get('model', ''))}"
            )
        return folder, given
    folder = _resumed_folder(arguments.resume, out)
    config = folder / "config.json"
    if not config.exists():
        if (folder / "checkpoint.npz").exists():
            raise SettingError(f"{folder} has a checkpoint but no config.json: cannot resume")
        if arguments.resume is not True:
            raise SettingError(f"{folder} holds no run to resume")
        print(f"{folder} holds no run: starting a new one", file=sys.stderr)
        return folder, given
    saved = _read_options(config)
    for key, value in given.items():
        if key != "backend" and value != saved.get(key):
            option = key.replace("_", "-")
            before = f"{saved[key]!r}" if key in saved else "not given"
            raise SettingError(
                f"--{option} must be as in the run that is resumed: {before}, got {value!r}"
            )
    return folder, saved | given


def resume_command(folder: Path, model: str = "") -> str:
    """Return the command that resumes a run, ready to be pasted into a shell.

    ``model`` is the run's --model; a Python file is imported only if the command names it.
    """
    name = str(folder)
    words = ["gpucnn", "train", "--resume", f"./{name}" if name.startswith("-") else name]
    if ".py:" in model:
        words += ["--model", model]
    return shlex.join(words)


def _resumed_folder(resume: str | bool, out: str | None) -> Path:
    """Return the folder that ``--resume [DIR]`` and ``--out DIR`` name."""
    path = out if resume is True else str(resume)
    if path is None:
        raise SettingError("--resume needs the folder of the run: --resume DIR")
    folder = Path(path)
    if folder.suffix == ".npz":
        if folder.name != "checkpoint.npz":
            raise SettingError(
                f"--resume must be the folder of a run or its checkpoint.npz, got {folder}"
            )
        folder = folder.parent
    if out is not None and Path(out).resolve() != folder.resolve():
        raise SettingError(f"--out {out} and --resume {path} are different folders: give only one")
    return folder


def _read_options(config: Path) -> Values:
    """Return the options in a config.json, validated by the parser of the command line."""
    try:
        options = json.loads(config.read_text(encoding="utf-8"))["options"]
        words = ["train"]
        for key, value in options.items():
            words.append("--" + key.replace("_", "-"))
            words += [] if value is True else [str(value)]
        parsed = vars(make_parser().parse(words))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingError(f"{config} is damaged: {error}") from None
    return {key: value for key, value in parsed.items() if key not in NOT_SAVED}


@contextmanager
def run_folder(folder: Path | None, name: str) -> Iterator[Path]:
    """Create and lock the folder of a run, by default the first free runs/NAME-N.

    A folder that was created here is removed if it is empty in the end.
    """
    created = folder is None or not folder.exists()
    try:
        if folder is None:
            folder = _next_folder(name)
        else:
            folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise SettingError(f"--out {folder or 'runs'}: {error.strerror}") from None
    try:
        with _locked(folder):
            yield folder
    finally:
        with suppress(OSError):  # it is not empty
            if created:
                folder.rmdir()
                folder.parent.rmdir()


def _next_folder(name: str) -> Path:
    """Create and return the first of runs/NAME-1, runs/NAME-2, … that does not exist."""
    for number in itertools.count(1):
        folder = Path("runs", f"{name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("unreachable")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder. The system releases the lock when the process ends, even if it is killed."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            lock(descriptor, folder)
        except BlockingIOError:
            raise SettingError(f"another process is training in {folder}") from None
        yield
    finally:
        os.close(descriptor)


def write_config(folder: Path, options: Values, settings: Settings) -> None:
    """Write config.json: the options that were given and the settings that result."""
    text = json.dumps(
        {"gpucnn": __version__, "options": options, "settings": settings.as_dict()}, indent=2
    )
    write_atomically(folder / "config.json", (text + "\n").encode())


def absolute(path: str) -> str:
    """Return a path, or FILE.py:FUNCTION, with the path made absolute."""
    file, colon, function = path.rpartition(":") if ".py:" in path else (path, "", "")
    return f"{Path(file).resolve()}{colon}{function}"


class Log:
    """log.jsonl: all events except steps, as one JSON object per line.

    ``completed`` is the number of epochs in the checkpoint of a resumed run, None for a new run.
    Lines of later epochs, and incomplete lines, are removed.
    """

    def __init__(self, path: Path, completed: int | None) -> None:
        lines = [] if completed is None else list(_lines_up_to(path, completed))
        write_atomically(path, "".join(lines).encode())
        self.file = open_to_append(path)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def write(self, event: Event) -> None:
        """Append one event and flush the file."""
        if not isinstance(event, StepEnded):
            self.file.write(json.dumps(plain_json(event.as_dict()), allow_nan=False) + "\n")
            self.file.flush()


def _lines_up_to(path: Path, completed: int) -> Iterator[str]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
            keep = event["event"] != EpochEnded.name or event["epoch"] <= completed
        except (ValueError, KeyError, TypeError):
            continue
        if keep:
            yield line + "\n"
