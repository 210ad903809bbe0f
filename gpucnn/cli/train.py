"""``gpucnn train``: settings, the run's folder, its log, and what signals do."""

from __future__ import annotations

import argparse
import errno
import itertools
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpucnn.checkpoint import load, write_atomically
from gpucnn.cli import make_parser, silence_stdout
from gpucnn.cli.display import make_console, make_display, plain_json, show_cursor
from gpucnn.cli.sources import build_model, make_backend, read_data, shape_for
from gpucnn.errors import SettingError, unknown
from gpucnn.events import EpochEnded, Event, StepEnded, Stopped
from gpucnn.losses import LOSSES
from gpucnn.optim import OPTIMIZERS, Optimizer
from gpucnn.schedules import SCHEDULES
from gpucnn.settings import RECIPES, Settings, default_optimizer
from gpucnn.train import fit
from gpucnn.version import __version__

Options = dict[str, Any]

RUN_FILES = ("checkpoint.npz", "config.json", "log.jsonl")
NOT_SAVED = ("command", "debug", "resume", "out")


def train(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    stop = StopRequest()
    with stop.listening():
        _train(arguments, stop)
    return stop.status


def _train(arguments: argparse.Namespace, stop: StopRequest) -> None:
    given = {key: value for key, value in vars(arguments).items() if key not in NOT_SAVED}
    if given.get("data", "mnist") != "mnist":
        given["data"] = _absolute(given["data"])
    if ".py:" in given.get("model", ""):
        given["model"] = _absolute(given["model"])
    folder, options = _folder_and_options(arguments, given)
    settings = make_settings(options)
    seed = settings.seed
    data = read_data(options.get("data", "mnist"), options.get("resize"), seed)
    if "limit" in options:
        data = data.limit(options["limit"])
    spec = options.get("model", "lenet5")
    model = build_model(spec, shape_for(data), seed)

    backend, note = make_backend(options.get("backend", "auto"))
    with _run_folder(folder, f"{Path(spec).stem}-{data.name}") as folder:
        checkpoint = folder / "checkpoint.npz"
        saved = load(checkpoint) if arguments.resume is not None and checkpoint.exists() else None
        events = fit(
            model,
            data,
            **vars(settings),
            backend=backend,
            checkpoint=checkpoint,
            checkpoint_every=options.get("checkpoint_every"),
            resume=saved,
            should_stop=stop.requested,
        )
        _write_config(folder, options, settings)
        log = Log(folder / "log.jsonl", saved.metadata["epoch"] if saved else None)
        _follow(events, folder, f"{Path(spec).name} on {data.name}", note, stop, log)


def make_settings(options: Options) -> Settings:
    """Return the recipe's settings with those options that were given in their places."""
    recipe = options.get("recipe", "default")
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    settings = RECIPES[recipe]()
    names = ("epochs", "batch_size", "seed", "validation", "early_stopping", "keep_best")
    changes: Options = {name: options[name] for name in names if name in options}
    if "schedule" in options:
        changes["schedule"] = _named("schedule", options["schedule"], SCHEDULES)
    if "loss" in options:
        changes["loss"] = _named("loss", options["loss"], LOSSES)()
    changes["optimizer"] = _make_optimizer(settings.optimizer, options)
    return replace(settings, **changes)


def _make_optimizer(default: Optimizer, options: Options) -> Optimizer:
    optimizer = default
    if "optimizer" in options:
        kind = _named("optimizer", options["optimizer"], OPTIMIZERS)
        usual = (default, default_optimizer())  # sgd means the default recipe's, momentum and all
        optimizer = next((known for known in usual if type(known) is kind), kind())
    changes = {
        name: options[name] for name in ("lr", "momentum", "weight_decay") if name in options
    }
    if "momentum" in changes and not hasattr(optimizer, "momentum"):
        raise SettingError(f"{type(optimizer).__name__} has no momentum setting")
    return replace(optimizer, **changes)  # type: ignore[type-var]


def _named(kind: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise unknown(kind, name, known)
    return known[name]


# --- the run's folder ---------------------------------------------------------------------------


def _folder_and_options(
    arguments: argparse.Namespace, given: Options
) -> tuple[Path | None, Options]:
    """Return the folder, None for a new one, and the options: given now, or when it began."""
    out = getattr(arguments, "out", None)
    if out == "":
        raise SettingError("--out needs a folder's name")
    if arguments.resume is None:
        folder = None if out is None else Path(out)
        if folder is not None and any((folder / name).exists() for name in RUN_FILES):
            raise SettingError(
                f"{folder} already holds a run: --resume goes on with it, another --out begins anew"
            )
        return folder, given
    folder = _resumed_folder(arguments.resume, out)
    config = folder / "config.json"
    if not config.exists():
        if (folder / "checkpoint.npz").exists():
            raise SettingError(f"{config} is missing: cannot tell what run {folder} holds")
        if arguments.resume is not True:
            raise SettingError(f"there is no run in {folder} to resume")
        print(f"no run in {folder} yet: beginning anew", file=sys.stderr)
        return folder, given
    saved = _read_options(config)
    for key, value in given.items():
        if key != "backend" and value != saved.get(key):
            option = key.replace("_", "-")
            was = f"{saved[key]!r}" if key in saved else "left to the recipe"
            raise SettingError(f"--{option} was {was} when {folder} began, now {value!r}")
    return folder, saved | given


def _resumed_folder(resume: str | bool, out: str | None) -> Path:
    """Return the folder that ``--resume [DIR]`` and ``--out DIR`` mean."""
    place = out if resume is True else str(resume)
    if place is None:
        raise SettingError("--resume needs the run's folder: --resume DIR")
    folder = Path(place)
    if folder.suffix == ".npz":
        if folder.name != "checkpoint.npz":
            raise SettingError(f"--resume takes a run's folder or its checkpoint.npz, not {folder}")
        folder = folder.parent
    if out is not None and Path(out).resolve() != folder.resolve():
        raise SettingError(f"--out {out} and --resume {place} are two folders: give one")
    return folder


def _read_options(config: Path) -> Options:
    """Return the options in a config.json, checked by the parser like those that are typed."""
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
def _run_folder(folder: Path | None, name: str) -> Iterator[Path]:
    """Make the run's folder, by default the first free runs/NAME-N, and keep other runs out of it.

    A folder that this made is taken away again if nothing was written to it.
    """
    made = folder is None or not folder.exists()
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
        with suppress(OSError):  # not empty: there is a run in it
            if made:
                folder.rmdir()
                folder.parent.rmdir()


def _next_folder(name: str) -> Path:
    """Make and return the first of runs/NAME-1, runs/NAME-2, … that does not exist."""
    for number in itertools.count(1):
        folder = Path("runs", f"{name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("unreachable")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder against other processes, until this one ends in whatever way."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingError(f"another run is at work in {folder}") from None
        yield
    finally:
        os.close(descriptor)


def _write_config(folder: Path, options: Options, settings: Settings) -> None:
    text = json.dumps(
        {"gpucnn": __version__, "options": options, "settings": settings.as_dict()}, indent=2
    )
    write_atomically(folder / "config.json", (text + "\n").encode())


def _absolute(path: str) -> str:
    """Return a path, or FILE.py:FUNCTION, that still holds in another working directory."""
    file, colon, function = path.rpartition(":") if ".py:" in path else (path, "", "")
    return f"{Path(file).resolve()}{colon}{function}"


# --- while it runs ------------------------------------------------------------------------------


class StopRequest:
    """SIGINT and SIGTERM: the first asks the run to save and stop, a second leaves at once."""

    def __init__(self) -> None:
        self.status = 0

    def requested(self) -> bool:
        """Return whether the run has been asked to stop."""
        return self.status != 0

    def ask(self, status: int) -> None:
        """Ask the run to stop; the command then exits with ``status``."""
        self.status = status

    def withdraw(self) -> None:
        """Forget a signal that came when the run was at its end anyway."""
        if self.status > 128 and self.status != 141:
            self.status = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the two signals within the block."""
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
    """Show and log all events of a run, and how it ended."""
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


@contextmanager
def _stopping_quietly(stop: StopRequest) -> Iterator[None]:
    """Have the run save and stop when standard output can no longer be written."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads any more
        silence_stdout()
        stop.ask(141)
    except OSError as error:
        silence_stdout()
        stop.ask(1)
        print(f"gpucnn: cannot write standard output: {error.strerror}", file=sys.stderr)


class Log:
    """log.jsonl: all events but steps, one JSON object a line.

    ``completed`` is the number of epochs that a resumed run's checkpoint knows of, None for a new
    run: what was logged of later ones, and a line cut short, is dropped.
    """

    def __init__(self, path: Path, completed: int | None) -> None:
        lines = [] if completed is None else list(_lines_up_to(path, completed))
        write_atomically(path, "".join(lines).encode())
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (open until the run ends)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def write(self, event: Event) -> None:
        """Append one event, at once readable by others."""
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
