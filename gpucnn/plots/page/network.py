"""The sections of a report on what is in a network: its layers."""

from __future__ import annotations

from gpucnn.nn.sequential import Sequential
from gpucnn.plots.page.document import Section, Table
from gpucnn.plots.page.subject import Subject


def network_sections(subject: Subject, prefix: str) -> list[Section]:
    """Return the sections on a subject's network; ``prefix`` begins the figures' names."""
    assert subject.model is not None
    return [Section("Layers", [_layers(subject.model)])]


def _layers(model: Sequential) -> Table:
    summary = model.summary()
    return Table(
        "The layers: the shape of their output, and what one image costs. The receptive field is"
        " the part of the input, in pixels, that decides on one output; its stride is the distance"
        " to the next.",
        summary.headings,
        [row.cells for row in summary.rows],
        summary.totals,
        left=2,
    )
