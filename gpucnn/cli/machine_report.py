"""``gpucnn report`` on a restricted Boltzmann machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gpucnn.cli.console import make_console
from gpucnn.cli.output import printable
from gpucnn.cli.sources import make_backend, read_data
from gpucnn.data import Data
from gpucnn.errors import DataError, GpucnnError, SettingError
from gpucnn.rbm import RBM, evaluate, load_rbm
from gpucnn.rbm.events import epoch_table
from gpucnn.rbm.files import find, read_epochs
from gpucnn.training.files.checkpoint import Checkpoint
from gpucnn.training.records.folder import CONFIG_NAME, read_record
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
    options = _texts(read_record(folder).options) if folder.is_dir() else {}
    backend, _ = make_backend(arguments.backend, precision=arguments.precision)
    machine, notes = load_rbm(saved, backend), []
    data = None
    try:
        data = _data(arguments, saved, options)
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
    where = f"{out}" if png is None else f"{out}, and as images in {png}"
    make_console().print(printable(f"report with {count} figures, {size / 1000:,.0f} kB: {where}"))


def _data(arguments: argparse.Namespace, saved: Checkpoint, options: dict[str, str]) -> Data:
    """Return the data of the run: those of --data, or those in its options, if still the same."""
    seed = saved.metadata.get("settings", {}).get("seed", 0)
    if arguments.data is not None:
        return read_data(arguments.data, arguments.resize, seed, arguments.transpose)
    trained_on = saved.metadata.get("data")
    if trained_on is None:
        raise SettingError("the file does not name its data; give them with --data PATH")
    if trained_on["builtin"]:
        return read_data("mnist", None)
    if "data" not in options:
        raise SettingError(
            f"{CONFIG_NAME} does not name the data, {trained_on['name']!r}; give them with "
            "--data PATH"
        )
    transpose, resize = options.get("transpose"), options.get("resize")
    data = read_data(options["data"], arguments.resize or resize, seed, transpose)
    if data.test.fingerprint() != trained_on["test_fingerprint"]:
        raise DataError(
            f"{options['data']} no longer holds those of the run; give them with --data PATH"
        )
    return data


def _texts(options: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in options.items() if isinstance(value, str)}
