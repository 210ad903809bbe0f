"""The folder of a run: its choice, its files config.json and log.jsonl, and its lock."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gpucnn.cli.display import plain_json
from gpucnn.errors import SettingError
from gpucnn.files import lock, open_to_append, write_atomically
from gpucnn.training.event_types import EpochEnded, Event, StepEnded
from gpucnn.training.records.folder import CONFIG_NAME, LOG_NAME
from gpucnn.training.records.log import read_log
from gpucnn.training.records.metrics import COLUMNS, METRICS_NAME, MetricsFile
from gpucnn.version import __version__

Values = dict[str, Any]
"""Options of ``gpucnn train`` by name, with their values; only those that were given."""


def resume_command(folder: Path, model: str = "", ranks: int = 1) -> str:
    """Return the command that resumes a run, ready to be pasted into a shell.

    ``model`` is the run's --model; a Python file is imported only if the command names it.
    ``ranks`` is the number of processes that mpiexec started.
    """
    name = str(folder)
    started = ["mpiexec", "-n", str(ranks)] if ranks > 1 else []
    words = [*started, "gpucnn", "train", "--resume", f"./{name}" if name.startswith("-") else name]
    if ".py:" in model:
        words += ["--model", model]
    return shlex.join(words)


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
        raise SettingError(f"cannot write to {folder or 'runs'}: {error.strerror}") from None
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
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    """Lock an open folder; SettingError if another process trains there."""
    for attempt in range(3):
        try:
            lock(descriptor, folder)
            return
        except BlockingIOError:  # "gpucnn runs" holds a lock for a moment
            time.sleep(0.01 * attempt)
    raise SettingError(f"another process is training in {folder}")


def write_config(folder: Path, options: Values, settings: Values) -> None:
    """Write config.json: the options that were given and the settings that result."""
    text = json.dumps({"gpucnn": __version__, "options": options, "settings": settings}, indent=2)
    write_atomically(folder / CONFIG_NAME, (text + "\n").encode())


def absolute(path: str) -> str:
    """Return a path, or FILE.py:FUNCTION, with the path made absolute."""
    file, colon, function = path.rpartition(":") if ".py:" in path else (path, "", "")
    return f"{Path(file).resolve()}{colon}{function}"


class Log:
    """log.jsonl: all events except steps, as one JSON object per line; and metrics.csv.

    ``completed`` is the number of epochs in the checkpoint of a resumed run, None for a new run.
    Lines of later epochs, and incomplete lines, are removed. ``columns`` are those of metrics.csv.
    """

    def __init__(
        self, folder: Path, completed: int | None, columns: Sequence[str] = COLUMNS
    ) -> None:
        path = folder / LOG_NAME
        kept = [] if completed is None else list(_lines_up_to(path, completed))
        write_atomically(path, "".join(line for _, line in kept).encode())
        epochs = (event for event, _ in kept if event["event"] == EpochEnded.name)
        self.metrics = MetricsFile(folder / METRICS_NAME, epochs, columns)
        self.file = open_to_append(path)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()
        self.metrics.close()

    def write(self, event: Event) -> None:
        """Append one event and flush the file."""
        if not isinstance(event, StepEnded):
            self.file.write(json.dumps(plain_json(event.as_dict()), allow_nan=False) + "\n")
            self.file.flush()
        if event.name == EpochEnded.name:
            self.metrics.write(event)


def _lines_up_to(path: Path, completed: int) -> Iterator[tuple[Values, str]]:
    for event, line in read_log(path):
        epoch = event.get("epoch")
        if event["event"] != EpochEnded.name or (type(epoch) is int and epoch <= completed):
            yield event, line
