"""Training by several processes that ``mpiexec`` started: rank 0 prints for all of them."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

from gpucnn.cli.options import folder_and_options
from gpucnn.cli.output import printable
from gpucnn.cli.runs import Values
from gpucnn.cli.signals import StopRequest
from gpucnn.errors import SettingError, WorkerError, unknown
from gpucnn.training.event_types import Event, RunStarted, Stopped
from gpucnn.training.processes.agreement import check_same_run, reporting
from gpucnn.training.processes.choice import GROUPS, make_group
from gpucnn.training.processes.group import Group
from gpucnn.training.processes.nccl import nccl
from gpucnn.training.settings import Settings

_PATHS = ("data", "init", "model", "tensorboard")
"""Options that may be other paths on other machines; what they lead to is compared later."""


def run_on_ranks(
    group: Group, stop: StopRequest, train: Callable[[], None], debug: bool = False
) -> int:
    """Run ``train`` on every rank and return the exit status, which is the same on all of them.

    Only rank 0 prints, and raises what it or another rank raised. A signal to one rank stops all.
    """
    quiet = group.rank > 0
    stop.patient = quiet
    try:
        with reporting(group), ExitStack() as stack:
            if quiet:
                stack.enter_context(_silence())
            train()
            stop.ask(max(group.gather(stop.status)))
    except BaseException as error:
        if not quiet:
            raise
        if debug:
            traceback.print_exc()
        elif group.rank == 1 and isinstance(error, WorkerError) and error.lost == 0:
            print(f"gpucnn: {printable(str(error))}", file=sys.stderr)
        default = 130 if isinstance(error, KeyboardInterrupt) else 1
        return int(getattr(error, "status", default))
    finally:
        group.close()
    return stop.status


@contextmanager
def adding_by(name: str, group: Group) -> Iterator[Group]:
    """Return the ranks of ``group`` with sums as --group asks for, which end with the block."""
    if name not in GROUPS:
        raise unknown("--group", name, GROUPS)
    if name != "nccl":
        yield group
        return
    ranks = nccl(group)
    try:
        with reporting(ranks):
            yield ranks
    finally:
        ranks.release()


def refuse_together(error: SettingError, debug: bool) -> int:
    """Raise an error that was found before the ranks have joined; rank 0 alone prints it.

    The others wait for this process, whether they found the same error or none.
    """

    def refuse() -> None:
        raise error

    try:
        group = make_group()
    except SettingError:  # it cannot join them
        raise error from None
    return run_on_ranks(group, StopRequest(), refuse, debug)


def follow_quietly(events: Iterable[Event], stop: StopRequest) -> None:
    """Run to the end without output, as ``running.follow`` does on rank 0."""
    with ExitStack() as stack:
        for event in events:
            if isinstance(event, RunStarted):
                stack.enter_context(stop.finishing_steps())
    if isinstance(event, Stopped) and event.reason != "interrupted":
        stop.withdraw()


def folder_and_options_of(
    group: Group, arguments: argparse.Namespace, given: Values
) -> tuple[Path | None, Values]:
    """Return what ``folder_and_options`` does: the options of rank 0, and its folder only there.

    SettingError if another option than a path was given to one rank only.
    """
    if group.size == 1:
        return folder_and_options(arguments, given)
    paths = {name: value for name, value in given.items() if name in _PATHS}
    check_same_run(group, {f"--{k}": v for k, v in given.items() if k not in paths})
    folder, options = None, given
    if group.rank == 0:  # the others may not see the folder
        folder, options = folder_and_options(arguments, given)
    return folder, group.broadcast(options) | paths


def refuse_ranks(group: Group, what: str) -> None:
    """Raise SettingError if there are several processes, for what only one can do."""
    if group.size > 1:
        raise SettingError(f"{what} is trained by one process: start it without mpiexec")


def with_ranks(
    group: Group, settings: Settings, options: Values, given: Values
) -> tuple[Settings, Values]:
    """Return settings and options with the number of processes in place of a saved --workers."""
    if "workers" in given:
        return settings, options  # checked by the run
    if "workers" in options:
        options = {**options, "workers": group.size}
    return replace(settings, workers=group.size), options


@contextmanager
def _silence() -> Iterator[None]:
    """Discard what is printed within the block."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
