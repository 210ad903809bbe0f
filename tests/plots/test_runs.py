from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotting import history, texts
from runs import epochs_of, train

from gpucnn import plots
from gpucnn.cli.runs import Log
from gpucnn.errors import DataError, SettingError
from gpucnn.training import RunStarted
from gpucnn.training.records.folder import read_record


def lines(axes: Any, start: str) -> list[Any]:
    return [line for line in axes.lines if str(line.get_label()).startswith(start)]


def values(line: Any) -> list[float]:
    return np.asarray(line.get_ydata(), float).round(4).tolist()


def test_curves_are_losses_and_accuracies_of_each_split() -> None:
    figure = plots.curves(history([0.9, 0.4], [0.5, 0.8], [0.4, 0.7]))
    loss, accuracy = figure.axes
    assert [values(line) for line in lines(loss, "test")] == [[0.9, 0.4]]
    assert [values(line) for line in lines(loss, "train")] == [[0.81, 0.36]]
    assert [values(line) for line in lines(accuracy, "validation")] == [[40, 70]]
    assert lines(accuracy, "test")[0].get_xdata().tolist() == [1, 2]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["training", "validation", "test", "best epoch: 2 (70.00 %)"]


def test_without_validation_there_is_no_line_for_it() -> None:
    figure = plots.curves(history([0.9, 0.4], [0.5, 0.8]))
    assert not any(lines(axes, "validation") for axes in figure.axes)
    assert "validation" not in texts(figure)


@pytest.mark.parametrize(
    ("validation", "epoch", "percent"), [([0.4, 0.7, 0.7], 2, 70), (None, 3, 80)]
)
def test_a_ring_marks_the_first_best_epoch(
    validation: list[float] | None, epoch: int, percent: float
) -> None:
    figure = plots.curves(history([0.9, 0.4, 0.5], [0.5, 0.6, 0.8], validation))
    (ring,) = lines(figure.axes[1], "best")
    assert (list(ring.get_xdata()), values(ring)) == ([epoch], [percent])
    assert f"best epoch: {epoch} ({percent}.00 %)" in texts(figure)


def test_one_epoch_is_drawn_as_points() -> None:
    figure = plots.curves(history([0.9], [0.5]))
    (line,) = lines(figure.axes[0], "test")
    assert line.get_marker() not in ("", "None")


def test_losses_that_are_nan_or_infinite_interrupt_the_line_and_are_marked() -> None:
    figure = plots.curves(history([0.9, math.nan, 0.8, math.inf], [0.5, 0.1, 0.4, 0.1]))
    (line,) = lines(figure.axes[0], "test")
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False, True]
    marks = lines(figure.axes[0], "diverged")
    assert [list(mark.get_xdata()) for mark in marks] == [[2, 4], [2, 4]]
    assert "NaN or infinity" in texts(figure)
    assert "NaN or infinity" in plots.to_svg(figure)


def test_a_run_with_nothing_finite_is_drawn() -> None:
    figure = plots.curves(history([math.nan] * 2, [math.nan] * 2))
    assert texts(figure).count("no finite value") == 2


def test_losses_of_several_magnitudes_have_a_logarithmic_axis() -> None:
    scales = [
        plots.curves(history(losses, [0.5, 0.6])).axes[0].get_yscale()
        for losses in ([2.0, 1.0], [2.0, 0.01], [2.0, 0.0])
    ]
    assert scales == ["linear", "log", "linear"]


def test_several_runs_have_a_colour_each_and_the_splits_a_dash() -> None:
    first, second = history([0.9, 0.4], [0.5, 0.8]), history([0.8, 0.3, 0.2], [0.5, 0.8, 0.9])
    figure = plots.curves(first, second, names=["lr $0.1$", "lr 1\nagain"])
    test = lines(figure.axes[0], "test")
    assert [len(line.get_xdata()) for line in test] == [2, 3]
    train = lines(figure.axes[0], "train")
    assert [line.get_color() for line in test] == [line.get_color() for line in train]
    assert test[0].get_color() != test[1].get_color()
    assert test[0].get_linestyle() != train[0].get_linestyle()
    legend = figure.legends[0].get_texts()
    assert [text.get_text() for text in legend] == [
        "lr $0.1$", "lr 1 again", "training", "test", "best epoch",
    ]  # fmt: skip
    assert not any(text.get_parse_math() for text in legend)


def test_a_legend_of_many_long_names_lies_in_the_figure() -> None:
    runs = [history([0.9, 0.4], [0.5, 0.8])] * 9
    figure = plots.curves(*runs, names=["a run with a name that is long"] * 9)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    width, height = figure.bbox.size
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 < figure.axes[0].get_window_extent().y0 < height


def test_a_resumed_run_shows_where_it_was_resumed() -> None:
    figure = plots.curves(history([0.5, 0.4], [0.7, 0.8], first=4))
    assert lines(figure.axes[0], "test")[0].get_xdata().tolist() == [4, 5]
    (resumed,) = lines(figure.axes[0], "resumed")
    assert resumed.get_xdata() == [3.5, 3.5]
    assert "resumed" in texts(figure)


def test_the_folder_of_a_run_gives_the_curves_of_its_log(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    _, events = train(validation=10)
    with Log(folder, None) as log:
        for event in events:
            log.write(event)
    expected = [epoch.test_loss for epoch in epochs_of(events)]
    for run in (folder, str(folder), folder / "log.jsonl", read_record(folder)):
        figure = plots.curves(run, run)
        (line, _) = lines(figure.axes[0], "test")
        assert np.asarray(line.get_ydata()).tolist() == expected
        assert texts(figure).count("mine") == 2


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="at least one run"):
        plots.curves()
    with pytest.raises(SettingError, match="History or the folder of a run, got int"):
        plots.curves(3)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="1 names for 2 runs"):
        plots.curves(history([1], [0]), history([1], [0]), names=["a"])
    with pytest.raises(DataError, match="has no epoch"):
        plots.curves(tmp_path)
    start = next(event for event in train(epochs=1)[1] if isinstance(event, RunStarted))
    (tmp_path / "log.jsonl").write_text(json.dumps(start.as_dict()) + "\n")
    with pytest.raises(DataError, match="has no epoch"):
        plots.curves(tmp_path)
