"""The sections of a report on the parts of a network: layers, filters, feature maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpucnn.nn.layers import Conv2d
from gpucnn.nn.sequential import Sequential
from gpucnn.plots.inputs import receptive_field
from gpucnn.plots.layers import feature_maps
from gpucnn.plots.page.document import Block, Figure, Section, Table, Text
from gpucnn.plots.page.subject import Subject
from gpucnn.plots.weights import filters
from gpucnn.training.results.regression import RegressionEvaluation
from gpucnn.training.task import NUMBERS
from gpucnn.training.times import LayerTime, LayerTimes

MAX_IMAGES = 3
"""Images whose feature maps are shown: correct ones of different classes, and a mistake."""

MAX_FIELDS = 4
"""Layers whose receptive field is drawn."""


def network_sections(subject: Subject, prefix: str) -> list[Section]:
    """Return the sections on a subject's network; ``prefix`` begins the figures' names."""
    assert subject.model is not None
    sections = [Section("Layers", [_layers(subject.model, subject.times)])]
    if any(isinstance(layer, Conv2d) for layer in subject.model.every_layer().values()):
        sections.append(Section("Filters", [_filters(subject.model, prefix)]))
    if subject.test is not None and subject.evaluation is not None:
        sections.append(Section("Feature maps", _feature_maps(subject, prefix)))
        if fields := _receptive_fields(subject, prefix):
            sections.append(Section("Receptive fields", fields))
    return sections


def _layers(model: Sequential, times: LayerTimes | None) -> Table:
    summary = model.summary()
    caption = (
        "The layers: the shape of their output, and what one image costs. The receptive field is"
        " the part of the input, in pixels, that decides on one output; its stride is the distance"
        " to the next."
    )
    headings, totals = list(summary.headings), list(summary.totals)
    rows = [list(row.cells) for row in summary.rows]
    if times is not None:
        caption += (
            f" Times are of one image in a batch of {times.batch_size}, in microseconds, on"
            f" {times.device} ({times.backend}, {times.dtype})."
        )
        headings += ["forward", "backward"]
        for row, layer in zip(rows, times.layers, strict=True):
            row += _microseconds(times, [layer])
        totals += _microseconds(times, times.outermost)
    return Table(caption, headings, rows, totals, left=2)


def _microseconds(times: LayerTimes, layers: Sequence[LayerTime]) -> list[str]:
    """Return the time of one image, forward and backward, of some layers together."""
    forward = sum(layer.forward.seconds for layer in layers)
    backward = sum(layer.backward.seconds for layer in layers)
    return [f"{1e6 * seconds / times.batch_size:,.1f}" for seconds in (forward, backward)]


def _filters(model: Sequential, prefix: str) -> Figure:
    name, layer = next(
        (name, layer) for name, layer in model.every_layer().items() if isinstance(layer, Conv2d)
    )
    count, channels, height, width = layer.parameters["weight"].shape
    caption = f"Filters of the first convolution, {name}."
    alt = f"The {count} filters of layer {name}, {channels} x {height} x {width} weights each."
    return Figure(f"{prefix}filters", filters(model, name), caption, alt)


def _chosen(subject: Subject) -> list[tuple[int, str]]:
    """Return test images to look at and what they are: correct ones, and the surest mistake."""
    evaluation = subject.evaluation
    assert evaluation is not None
    if isinstance(evaluation, RegressionEvaluation):
        return _chosen_numbers(evaluation)
    names, found = evaluation.classes, []
    correct = evaluation.predictions == evaluation.labels
    seen: set[int] = set()
    for index in map(int, np.flatnonzero(correct)):
        label = int(evaluation.labels[index])
        if label not in seen:
            seen.add(label)
            found.append((index, f"test image {index}, correctly read as {names[label]}"))
        if len(seen) == MAX_IMAGES - 1:
            break
    wrong = np.flatnonzero(~correct & (evaluation.predictions >= 0))
    if len(wrong):
        rows = evaluation.probabilities[wrong]
        index = int(wrong[np.nan_to_num(rows.max(1), nan=-np.inf).argmax()])
        true, read = evaluation.labels[index], evaluation.predictions[index]
        found.append((index, f"test image {index}, a {names[true]} misread as {names[read]}"))
    return found


def _chosen_numbers(evaluation: RegressionEvaluation) -> list[tuple[int, str]]:
    """Return the test images with the smallest and the largest error of the first target."""
    sizes = np.abs(evaluation.errors[:, 0])
    finite = np.flatnonzero(np.isfinite(sizes))
    if not len(finite):
        return []
    order = finite[np.argsort(sizes[finite], kind="stable")]
    show = NUMBERS.main.show
    return [
        (
            int(index),
            f"test image {index}, {evaluation.targets[0]} {show(evaluation.labels[index, 0])}"
            f" predicted as {show(evaluation.predictions[index, 0])}",
        )
        for index in dict.fromkeys((order[0], order[-1]))
    ]


def _feature_maps(subject: Subject, prefix: str) -> list[Block]:
    assert subject.model is not None
    assert subject.test is not None
    chosen = _chosen(subject)
    if not chosen:
        return [Text("No test image has outputs that can be shown.", note=True)]
    what = "; ".join(text for _, text in chosen)
    plot = feature_maps(subject.model, subject.test.images[[index for index, _ in chosen]])
    caption = f"What each layer computes, from left to right, of {what}."
    return [Figure(f"{prefix}feature_maps", plot, caption, f"Outputs of all layers for {what}.")]


def _receptive_fields(subject: Subject, prefix: str) -> list[Block]:
    """Return the receptive fields of the middle unit of the first layers, as the fields grow."""
    model, test = subject.model, subject.test
    assert model is not None
    assert test is not None
    chosen = _chosen(subject)
    if not chosen:
        return []
    index, what = chosen[0]
    blocks: list[Block] = []
    seen = (1, 1)
    for row in model.summary().outermost:
        if row.receptive_field is None or len(row.output_shape) != 3 or len(blocks) == MAX_FIELDS:
            break
        sizes = (row.receptive_field[0].size, row.receptive_field[1].size)
        if sizes == seen:  # that of the layer before it
            continue
        seen = sizes
        y, x = row.output_shape[1] // 2, row.output_shape[2] // 2
        caption = (
            f"The receptive field of the unit in row {y} and column {x} of layer {row.name}, in"
            f" {what}: {sizes[0]}x{sizes[1]} pixels."
        )
        plot = receptive_field(model, row.name, y, x, test.images[index])
        name = f"{prefix}receptive_field-{len(blocks) + 1}"
        blocks.append(Figure(name, plot, caption, caption))
    return blocks
