"""``gpucnn report``: what is known of runs, on one page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gpucnn.cli.console import make_console
from gpucnn.cli.machine_report import machine_in, report_machine
from gpucnn.cli.output import printable
from gpucnn.cli.subjects import SubjectReader, subject_of_training
from gpucnn.config import import_extra
from gpucnn.data import Data
from gpucnn.errors import SettingError
from gpucnn.nn.losses import Loss
from gpucnn.nn.sequential import Sequential
from gpucnn.plots.page.subject import Subject

PAGE_NAME = "report.html"


def report_command(arguments: argparse.Namespace) -> int:
    """Write a report on a run, or on several that are compared."""
    require_libraries("gpucnn report")
    out = _out(arguments)
    titles = distinct_titles([Path(name) for name in arguments.runs])
    machine = machine_in(arguments.runs)
    if machine is not None:
        report_machine(arguments, machine, titles[0], out)
        return 0
    reader = SubjectReader(arguments)
    subjects = [
        reader.subject(name, title) for name, title in zip(arguments.runs, titles, strict=True)
    ]
    write(subjects, out, arguments.png)
    return 0


def require_libraries(purpose: str) -> None:
    """Raise SettingError, one line, if a library that a report needs is not installed."""
    import_extra("jinja2", "Jinja2", purpose, "report")
    import_extra("matplotlib", "Matplotlib", purpose, "report")


def write(subjects: Sequence[Subject], out: Path, png: str | None = None) -> None:
    """Write the report on some subjects and print where it is."""
    from gpucnn.plots.page.making import write_report  # imports Matplotlib

    for subject in subjects:
        for note in subject.notes:
            print(printable(f"note: {subject.title}: {note}"), file=sys.stderr)
    count, size = write_report(subjects, out, None if png is None else Path(png))
    make_console().print_report(count, size, out, png)


def _out(arguments: argparse.Namespace) -> Path:
    """Return the file to write; SettingError if it cannot be one."""
    if arguments.out is None:
        folder = Path(arguments.runs[0])
        alone = len(arguments.runs) == 1 and folder.is_dir()
        return folder / PAGE_NAME if alone else Path(PAGE_NAME)
    out = Path(arguments.out)
    if out.is_dir():
        raise SettingError(f"--out is a file, but {out} is a folder: try {out / PAGE_NAME}")
    if not out.parent.is_dir():
        raise SettingError(f"--out {out}: there is no folder {out.parent}")
    return out


def distinct_titles(paths: Sequence[Path]) -> list[str]:
    """Return a short name for each run: the end of its path that no other has.

    Raises SettingError if a run is there twice.
    """
    resolved = [path.resolve() for path in paths]
    for index, path in enumerate(resolved):
        if path in resolved[:index]:
            raise SettingError(f"{paths[index]} is given twice: name each run once")
    parts = [path.with_suffix("").parts if path.is_file() else path.parts for path in resolved]
    titles = []
    for index, own in enumerate(parts):
        others = [other for number, other in enumerate(parts) if number != index]
        length = 1
        while length < len(own) and any(other[-length:] == own[-length:] for other in others):
            length += 1
        titles.append("/".join(own[-length:]))
    # The folder "a" and the file "a.npz".
    return titles if len(set(titles)) == len(titles) else [str(path) for path in paths]


def report_on_training(folder: Path, model: Sequential, data: Data, loss: Loss) -> None:
    """Write the report on a run that has just ended, into its folder."""
    write([subject_of_training(folder, model, data, loss)], folder / PAGE_NAME)
