"""Curves of loss and accuracy over the epochs of runs."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from gpucnn.errors import DataError, SettingError
from gpucnn.files import PathLike
from gpucnn.plots.style import INK, MUTED, SERIES, WIDTH, Plot, clean, number_ticks, style
from gpucnn.training.event_types import EpochEnded, RunStarted
from gpucnn.training.records.folder import LOG_NAME, RunRecord, read_record
from gpucnn.training.task import CLASSES, NUMBERS, Task

_SPLITS = {"train": "training", "validation": "validation", "test": "test"}
_DASHES: dict[str, Any] = {"train": (0, (1, 1.2)), "validation": (0, (4, 1.5)), "test": "-"}
_MARKERS = "os^Dv<>P"
_MANY = 40
"""Runs of more epochs are drawn without a marker at each."""


@runtime_checkable
class RunLike(Protocol):
    """The epochs of a run and how it started: a ``History`` or a ``RunRecord``."""

    @property
    def epochs(self) -> Sequence[EpochEnded]:
        """The epochs in their order."""

    @property
    def started(self) -> RunStarted | None:
        """How the run started or was resumed, None if unknown."""


@dataclass(frozen=True)
class _Run:
    """The figures of a run: for each column an array of one value per epoch, NaN where missing."""

    name: str
    epochs: NDArray[np.int64]
    columns: dict[str, NDArray[np.float64]]
    resumed: float | None
    task: Task

    @property
    def best(self) -> tuple[str, int] | None:
        """The split that decides and the index of its best epoch, the first.

        It has the highest accuracy, of a regression the lowest loss.
        """
        for split in ("validation", "test"):
            is_loss = self.task is NUMBERS
            values = self.columns[f"{split}_loss" if is_loss else f"{split}_accuracy"]
            if np.isfinite(values).any():
                known = np.where(np.isfinite(values), -values if is_loss else values, np.nan)
                return split, int(np.nanargmax(known))
        return None


def curves(*runs: RunLike | PathLike, names: Sequence[str] | None = None) -> Plot:
    """Draw loss and accuracy over the epochs of one or several runs.

    A ring marks the epoch with the best validation accuracy, or without validation images, with
    the best test accuracy. A loss of NaN or infinity interrupts its line; a cross on the upper edge
    marks its epoch. Of a regression, the mean absolute error is drawn in place of the accuracy, and
    the ring marks the lowest loss.

    Args:
        runs: what ``fit`` returned, or folders of ``gpucnn train``.
        names: a name for each run; by default those of the folders, and "run 1", ...

    Returns:
        A figure with two pairs of axes: losses, and accuracies in percent or errors.

    Raises:
        SettingError: no run, a run that is neither, a number of names other than of runs, or runs
            on classes and on numbers together.
        DataError: a folder has no log, or a run no epoch.

    Example:
        >>> data = gpucnn.data.mnist().limit(200)
        >>> history = gpucnn.fit(gpucnn.models.mlp(), data, epochs=2, batch_size=20)
        >>> figure = gpucnn.plots.curves(history)
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['Loss', 'Accuracy']
    """
    if not runs:
        raise SettingError("curves needs at least one run: a History, or the folder of a run")
    if names is not None and len(names) != len(runs):
        raise SettingError(f"curves got {len(names)} names for {len(runs)} runs")
    read = [_read(run, index) for index, run in enumerate(runs, 1)]
    if len({run.task.chosen_by for run in read}) > 1:
        raise SettingError("curves draws runs on classes or runs on numbers, not both together")
    measures = ("loss", read[0].task.main.name)
    labels = [clean(name, 28) for name in names or [run.name for run in read]]
    with style():
        figure = Plot(figsize=(WIDTH, 3.3), layout="constrained")
        both = figure.subplots(1, 2, sharex=True)
        for axes, measure in zip(both, measures, strict=True):
            for index, run in enumerate(read):
                _draw(axes, run, measure, index if len(read) > 1 else None)
            title = "Loss" if measure == "loss" else read[0].task.main.title
            _finish(axes, measure, title[0].upper() + title[1:])
        rows = _legend(figure, read, labels)
        figure.set_figheight(3.1 + 0.2 * rows)
        return figure.lay_out()


def _read(run: RunLike | PathLike, number: int) -> _Run:
    record: RunLike
    if isinstance(run, RunLike):
        record = run
    elif isinstance(run, str | os.PathLike):
        folder = Path(run)
        record = read_record(folder.parent if folder.name == LOG_NAME else folder)
    else:
        raise SettingError(
            f"a run must be a History or the folder of a run, got {type(run).__name__}"
        )
    name = str(getattr(record, "title", f"run {number}"))
    if not record.epochs:
        where = f"{record.folder}: {LOG_NAME}" if isinstance(record, RunRecord) else name
        raise DataError(f"{where} has no epoch: expected a run with at least one")
    columns = {
        f"{split}_{measure}": np.array(
            [_number(getattr(epoch, f"{split}_{measure}")) for epoch in record.epochs]
        )
        for split in _SPLITS
        for measure in record.epochs[0].task.names
    }
    started, resumed = record.started, None
    if started is not None and started.step and started.steps_per_epoch:
        resumed = started.step / started.steps_per_epoch
    numbers = np.array([epoch.epoch for epoch in record.epochs])
    return _Run(name, numbers, columns, resumed, record.epochs[0].task)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _draw(axes: Axes, run: _Run, measure: str, index: int | None) -> None:
    """Draw the lines of a run: one colour for each split, or for run ``index`` of several."""
    factor = 100 if measure == "accuracy" else 1
    for number, split in enumerate(_SPLITS):
        values = factor * run.columns[f"{split}_{measure}"]
        finite = np.isfinite(values)
        if not finite.any() and (split == "validation" or measure != "loss"):
            continue
        colour = SERIES[(number if index is None else index) % len(SERIES)]
        marker = _MARKERS[(number if index is None else index) % len(_MARKERS)]
        axes.plot(
            run.epochs,
            np.where(finite, values, np.nan),
            color=colour,
            linestyle=_DASHES[split],
            marker=marker if len(values) <= _MANY and (index is None or split == "test") else "",
            label=f"{split} {run.name}",
        )
        if measure == "loss" and not finite.all():
            edge = axes.get_xaxis_transform()
            lost = run.epochs[~finite]
            top = np.full(len(lost), 0.98)
            axes.plot(lost, top, "x", color=colour, transform=edge, markersize=7, label="diverged")
        best = run.best
        if best is not None and best[0] == split and finite[best[1]]:
            x, y = run.epochs[best[1]], values[best[1]]
            axes.plot([x], [y], "o", markersize=11, fillstyle="none", color=INK, label="best")
    if index is None and run.resumed is not None:
        axes.axvline(run.resumed + 0.5, color=MUTED, linewidth=1, linestyle=":", label="resumed")


def _finish(axes: Axes, measure: str, title: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    drawn = [np.asarray(line.get_ydata(), float) for line in axes.lines if _is_curve(line)]
    values = np.concatenate(drawn) if drawn else np.array([])
    values = values[np.isfinite(values)]
    if not values.size:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", color=MUTED)
    elif measure == "accuracy":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        low, high = values.min(), values.max()
        room = max(0.08 * (high - low), 0.5)
        axes.set_ylim(max(low - room, -2), min(high + room, 102))
    elif values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
        number_ticks(axes.yaxis)
    else:
        low, high = min(0, values.min()), values.max()
        axes.set_ylim(low, high + 0.07 * ((high - low) or 1))


def _is_curve(line: Any) -> bool:
    return str(line.get_label()).split(" ")[0] in _SPLITS


def _legend(figure: Plot, runs: Sequence[_Run], labels: Sequence[str]) -> int:
    """Write the legend under the axes, and return how many rows it has.

    It names the splits by their dashes, and several runs by their colours.
    """
    from matplotlib.lines import Line2D

    loss = figure.axes[0]
    found = {str(line.get_label()).split(" ")[0]: line for line in loss.lines}
    splits = [split for split in _SPLITS if split in found]
    entries: list[tuple[Any, str]] = []
    if len(runs) == 1:
        entries = [(found[split], _SPLITS[split]) for split in splits]
    else:
        for index, label in enumerate(labels):
            colour, marker = SERIES[index % len(SERIES)], _MARKERS[index % len(_MARKERS)]
            entries.append((Line2D([], [], color=colour, marker=marker), label))
        for split in splits:
            entries.append((Line2D([], [], color=MUTED, linestyle=_DASHES[split]), _SPLITS[split]))
    ring = Line2D([], [], color=INK, marker="o", markersize=9, fillstyle="none", linestyle="")
    entries.append((ring, _best_text(runs)))
    if "diverged" in found:
        cross = Line2D([], [], color=MUTED, marker="x", markersize=7, linestyle="")
        entries.append((cross, "NaN or infinity"))
    if "resumed" in found:
        entries.append((found["resumed"], "resumed"))
    handles, texts = zip(*entries, strict=True)
    columns = max(1, min(4, len(texts), 96 // (max(map(len, texts)) + 8)))
    figure.legend(handles, texts, loc="outside lower center", ncols=columns)
    return -(-len(texts) // columns)


def _best_text(runs: Sequence[_Run]) -> str:
    """Return what the ring means: of one run with the epoch and its accuracy."""
    best = runs[0].best
    if len(runs) > 1 or best is None:
        return "best epoch"
    split, index = best
    main = runs[0].task.main
    value = runs[0].columns[f"{split}_{main.name}"][index]
    shown = main.show(value) if runs[0].task is CLASSES else f"{main.title} {main.show(value)}"
    return f"best epoch: {runs[0].epochs[index]} ({shown})"
