"""``gpucnn report`` on a restricted Boltzmann machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gpucnn.cli.console import make_console
from gpucnn.cli.output import printable
from gpucnn.cli.recorded import data_for, record_of
from gpucnn.cli.sources import make_backend
from gpucnn.data import Data
from gpucnn.errors import DataError, GpucnnError, SettingError
from gpucnn.rbm import RBM, evaluate, load_rbm
from gpucnn.rbm.events import epoch_table
from gpucnn.rbm.files import find, read_epochs
from gpucnn.training.files.checkpoint import Checkpoint
from gpucnn.training.settings import flatten

CHAINS, STEPS = 64, 200
"""Samples in the report, and their Gibbs steps."""

IMAGES = 20
"""Reconstructions in the report."""


def machine_in(names: list[str]) -> Checkpoint | None:
    """Return the machine that a report is on, None if it is on networks.

    Raises SettingError if machines are to be compared.
    """
    found = {name: saved for name in names if (saved := find(name)) is not None}
    if found and len(names) > 1:
        raise SettingError(
            f"{next(iter(found))} holds a restricted Boltzmann machine, which is not compared with "
            "other runs: give it alone"
        )
    return next(iter(found.values()), None)


def report_machine(arguments: argparse.Namespace, saved: Checkpoint, title: str, out: Path) -> None:
    """Write the report on a machine that is saved in a file or in the folder of a run."""
    folder = Path(arguments.runs[0])
    backend, _ = make_backend(arguments.backend, precision=arguments.precision)
    machine, notes = load_rbm(saved, backend), []
    data = None
    try:
        data = data_for(saved, record_of(arguments.runs[0]), arguments)
        if data.input_shape != machine.input_shape:
            raise DataError(f"its images are {data.input_shape}, not {machine.input_shape}")
    except GpucnnError as error:
        if arguments.data is not None:
            raise
        notes.append(f"there are no test images: {error}")
    write_report(machine, saved.metadata, data, folder, title, out, arguments.png, tuple(notes))


def write_report(
    machine: RBM,
    metadata: dict[str, Any],
    data: Data | None,
    folder: Path,
    title: str,
    out: Path,
    png: str | None = None,
    notes: tuple[str, ...] = (),
) -> None:
    """Write the report on a machine, with reconstructions of the data's test images."""
    from gpucnn.plots.page.machine import Machine, write_machine_report  # imports Matplotlib

    for note in notes:
        print(printable(f"note: {title}: {note}"), file=sys.stderr)
    figures = [("parameters", f"{machine.size:,}")]
    first = None if data is None else data.test.images[:CHAINS]
    if data is not None:
        found = evaluate(machine, data.test.images)
        figures = [
            ("reconstruction error", f"{found.error:.5f}"),
            ("pseudo-likelihood", f"{found.pseudo_likelihood:.1f}"),
            *figures,
        ]
    weights = machine.backend.to_numpy(machine.weight).reshape(-1, *machine.input_shape)
    name = metadata["data"]["name"] if "data" in metadata else ""
    subject = Machine(
        title,
        f"A restricted Boltzmann machine of {machine.visible:,} visible and {machine.hidden:,} "
        f"hidden units{', trained on ' if name else ''}{name}.",
        figures,
        {**metadata["rbm"], **flatten(metadata.get("settings", {}))},
        epoch_table(read_epochs(folder)),
        weights,
        machine.sample(CHAINS if first is None else len(first), STEPS, images=first),
        STEPS,
        None if first is None else machine.prepare(first[:IMAGES]),
        None if first is None else machine.reconstruct(first[:IMAGES]),
        notes,
    )
    count, size = write_machine_report(subject, out, None if png is None else Path(png))
    make_console().print_report(count, size, out, png)
