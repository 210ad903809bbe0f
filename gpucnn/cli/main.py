"""Running a command: its dispatch, its exit status, and what becomes of errors.

Exit statuses: 0 done, 1 a failed run, 2 bad input, 130 and 143 stopped by a signal.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from gpucnn.cli.output import silence_stdout
from gpucnn.cli.parser import make_parser
from gpucnn.errors import GpucnnError


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; errors that users can mend are one line."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started the command
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open until the end)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a character that a locale lacks must not end a run
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in (sys.argv if argv is None else argv)
    try:
        arguments = make_parser().parse(argv)
        status = _dispatch(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        silence_stdout()
        return 141
    except KeyboardInterrupt:
        return 130
    except (GpucnnError, OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        else:
            print(f"gpucnn: {_one_line(error)}", file=sys.stderr)
        return error.status if isinstance(error, GpucnnError) else 1


def _dispatch(arguments: argparse.Namespace) -> int:
    # Each command imports what it needs: --help and a mistyped option answer at once.
    if arguments.command == "train":
        from gpucnn.cli.train import train

        return train(arguments)
    from gpucnn.cli import inference, machine

    commands = {
        "check": machine.check_command,
        "doctor": machine.doctor_command,
        "evaluate": inference.evaluate_command,
        "predict": inference.predict_command,
        "summary": inference.summary_command,
    }
    return commands[arguments.command](arguments)


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"out of memory: {error}; a smaller --batch-size needs less"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
