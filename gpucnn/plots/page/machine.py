"""The report on a restricted Boltzmann machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gpucnn.files import write_atomically
from gpucnn.plots.machines import rbm_filters, reconstructions, samples
from gpucnn.plots.page.document import Figure, Section, Table, Text
from gpucnn.plots.page.render import Page, render
from gpucnn.plots.page.settings import versions
from gpucnn.plots.svg import save_all


@dataclass(frozen=True)
class Machine:
    """What is known of a machine and of its run.

    Attributes:
        title: the title of the page.
        lead: a sentence below it.
        figures: the names and values of a few figures.
        settings: the names and values of its settings.
        epochs: headings and rows of the table of epochs; no rows if they are unknown.
        weights: (hidden, C, H, W).
        samples: (N, C, H, W) from 0 to 1, after ``steps`` Gibbs steps from test images, or from
            random hidden units if there are none.
        steps: their number.
        images: test images, uint8 (N, C, H, W), None if there are none.
        reconstructed: their reconstructions, from 0 to 1.
        notes: what is missing or unusual.
    """

    title: str
    lead: str
    figures: Sequence[tuple[str, str]]
    settings: Mapping[str, Any]
    epochs: tuple[Sequence[str], Sequence[Sequence[str]]]
    weights: NDArray[Any]
    samples: NDArray[Any]
    steps: int
    images: NDArray[Any] | None = None
    reconstructed: NDArray[Any] | None = None
    notes: Sequence[str] = ()


def write_machine_report(machine: Machine, out: Path, png: Path | None) -> tuple[int, int]:
    """Write the report as one HTML file, and its figures to the folder ``png``.

    Returns the number of figures, and the size of the file in bytes. OSError, and SettingError for
    ``png``, if a file cannot be written.
    """
    sections = _sections(machine)
    page = Page(
        *("Training report", machine.title, machine.lead, machine.figures, machine.notes, sections)
    )
    content = render(page)
    write_atomically(out, content)
    figures = {figure.name: figure.plot for part in sections for figure in part.figures()}
    if png is not None:
        save_all(png, figures)
    return len(figures), len(content)


def _sections(machine: Machine) -> list[Section]:
    rows = [
        (name, "-" if value is None else str(value)) for name, value in machine.settings.items()
    ]
    settings = Table("Settings.", ("setting", "value"), rows, left=2)
    sections = [Section("Settings and versions", [settings, Text(versions())])]
    headings, epochs = machine.epochs
    if epochs:
        caption = (
            "Figures after each epoch: the mean squared difference between images and their"
            " reconstructions, and for an image the pseudo-likelihood in nats and the free energy."
            " A machine overfits where the free energy of test images grows relative to that of"
            " training images."
        )
        sections.append(Section("Training", [Table(caption, headings, epochs)]))
    start = "random hidden units" if machine.images is None else "test images"
    filters = Figure(
        "filters",
        rbm_filters(machine.weights),
        "The weights of each hidden unit as an image: the pixels that turn it on are red.",
        f"Weights of {len(machine.weights)} hidden units as images.",
    )
    drawn = Figure(
        "samples",
        samples(machine.samples, machine.steps),
        "Images that the machine draws by itself: the probabilities of their pixels after Gibbs"
        f" sampling that started from {start}.",
        f"{len(machine.samples)} images drawn by the machine.",
    )
    sections.append(Section("Hidden units", [filters]))
    if machine.images is not None and machine.reconstructed is not None:
        found = Figure(
            "reconstructions",
            reconstructions(machine.images, machine.reconstructed),
            "Test images, and below each what the machine makes of the probabilities of its hidden"
            " units.",
            "Test images with their reconstructions.",
        )
        sections.append(Section("Reconstructions", [found]))
    return [*sections, Section("Samples", [drawn])]
