"""Running a command: its dispatch, its exit status and its error messages.

Exit statuses: 0 success, 1 failure, 2 invalid input, 130 and 143 stopped by SIGINT and SIGTERM,
141 standard output closed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from gpucnn.cli.output import printable, silence_stdout
from gpucnn.cli.parser import COMMANDS, MainParser
from gpucnn.cli.signals import StopRequest
from gpucnn.errors import GpucnnError, SettingError

FOR_RANKS = ("train", "doctor")
"""Commands that several processes may run that were started together; others write the same files
or do the same work several times."""

_ARGUMENT = re.compile(r"((?:\w+: )?)(\w+)\b")
"""The argument that a message is on, at its beginning or after the name of a class."""


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status. Expected errors are printed as one line.

    Signals are handled if this is the main thread, and handled as before afterwards.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open until the end)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # characters that the locale lacks are escaped
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in (sys.argv if argv is None else argv)
    command = None
    try:
        with _plain_warnings():
            try:
                arguments = MainParser().parse(argv)
            except SettingError as error:
                status = _refuse(error, sys.argv[1:] if argv is None else argv)
            else:
                command = arguments.command
                status = _dispatch(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        silence_stdout()
        return 141
    except KeyboardInterrupt as stop:
        return getattr(stop, "status", 130)
    except Exception as error:
        message = _one_line(error, command)
        if message is None:
            raise
        if debug:
            traceback.print_exc()
        else:
            print(f"gpucnn: {printable(message)}", file=sys.stderr)
        return error.status if isinstance(error, GpucnnError) else 1


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print a warning as one line, without the place in the source that Python adds."""

    def one_line(message: Warning | str, *place: Any) -> str:
        return f"gpucnn: warning: {' '.join(str(message).split())}\n"

    before = warnings.formatwarning
    warnings.formatwarning = one_line  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.formatwarning = before


def _dispatch(arguments: argparse.Namespace) -> int:
    # Only the command that runs is imported, so that --help and errors in options are printed at
    # once.
    name = arguments.command
    module, function = COMMANDS[name][1].split(":")
    with StopRequest().handling():
        if name not in FOR_RANKS and not _is_only_process(name):
            return SettingError.status
        command = getattr(import_module(f"gpucnn.cli.{module}"), function)
        status: int = command(arguments)
    return status


def _refuse(error: SettingError, words: Sequence[str]) -> int:
    """Raise an error in the options; of several processes, only the first one prints it."""
    from gpucnn.machine.launch import find_launch

    launch = find_launch()
    if launch is not None and words[:1] == ["train"] and "alone" not in words:
        from gpucnn.cli.ranks import refuse_together

        return refuse_together(error, "--debug" in words)
    if launch is not None and launch.rank:
        return error.status
    raise error


def _is_only_process(command: str) -> bool:
    """Return whether this process was started alone.

    SettingError if there are others, on the first of them: one message is enough.
    """
    from gpucnn.machine.launch import find_launch

    launch = find_launch()
    if launch is not None and launch.rank == 0:
        raise SettingError(
            f"{launch.size} processes were started together, but gpucnn {command} is run by one: "
            "start it without mpiexec or srun; only gpucnn train shares its work"
        )
    return launch is None


def _one_line(error: Exception, command: str | None) -> str | None:
    """Return the message for an error of the input, the machine or a device, None for a defect."""
    if isinstance(error, MemoryError):
        hint = "; try a smaller --batch-size" if command == "train" else ""
        return f"out of memory: {error}{hint}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, GpucnnError | OSError):
        message = " ".join(str(error).split())
        return _with_option(message, command) if isinstance(error, SettingError) else message
    from gpucnn.backends import device_error

    return device_error(error)


def _with_option(message: str, command: str | None) -> str:
    """Return a message that begins with an argument of Python with the option in its place.

    ``command`` is the one that was run, None if there is none.
    """
    found = _ARGUMENT.match(message)
    if found is None or command is None:
        return message
    for action in MainParser().command(command)._actions:
        if action.dest == found[2] and action.type in (int, float):
            return f"{found[1]}{action.option_strings[-1]}{message[found.end() :]}"
    return message
