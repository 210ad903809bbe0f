"""fit: it trains to the end, shows its progress, calls back, and returns the history."""

from __future__ import annotations

import gc
import io
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import start, train
from small import small_data, small_model

import gpucnn
from gpucnn.errors import DivergedError
from gpucnn.optim import SGD
from gpucnn.training import EpochEnded, Event, History, RunStarted, StepEnded, Stopped
from gpucnn.training import progress as display


def fit(**options: Any) -> History:
    return gpucnn.fit(small_model(), small_data(), **{"epochs": 2, "batch_size": 16, **options})


# --- the history --------------------------------------------------------------------------------


def test_fit_is_the_events_to_the_end(tmp_path: Path) -> None:
    model, events = train(validation=10, keep_best=True)
    seen: list[Event] = []
    fitted = small_model()
    history = gpucnn.fit(
        fitted, small_data(), epochs=2, batch_size=16, validation=10, keep_best=True,
        checkpoint=tmp_path / "c.npz", on_event=seen.append,
    )  # fmt: skip
    np.testing.assert_array_equal(fitted.flat_parameters, model.flat_parameters)
    assert [e.name for e in seen if e.name != "checkpoint"] == [e.name for e in events]
    epochs = [event for event in events if isinstance(event, EpochEnded)]
    assert history["test_loss"] == [epoch.test_loss for epoch in epochs]
    assert history["validation_accuracy"] == [epoch.validation_accuracy for epoch in epochs]
    assert history["epoch"] == [1, 2]
    assert len(history) == len(history.epochs) == 2
    assert history.started is seen[0]
    assert history.stopped == events[-1]
    assert (history.reason, history.best_epoch) == ("finished", events[-1].best_epoch)
    assert (history.test_loss, history.test_accuracy) == (
        events[-1].test_loss,
        events[-1].test_accuracy,
    )


def test_a_wrong_column_is_named_with_the_right_ones() -> None:
    history = fit(epochs=1)
    for column in history.columns:
        assert len(history[column]) == 1
    with pytest.raises(KeyError, match=r"no column 'accuracy'; the columns are .*test_accuracy"):
        history["accuracy"]


def made_up(epochs: int, validation: int = 0, reason: Any = "finished") -> History:
    """A history of a run that learns a little more with every epoch."""
    first: RunStarted = next(start(validation=validation, epochs=max(epochs, 1)))  # type: ignore[assignment]
    rows = [
        EpochEnded(
            step=10 * epoch, epoch=epoch, train_loss=1 / epoch, train_accuracy=1.0,
            test_loss=2 / epoch, test_accuracy=1 - 0.5 / epoch,
            validation_loss=3 / epoch if validation else None,
            validation_accuracy=1 - 0.25 / epoch if validation else None,
            lr=0.1, seconds=3600.0, images_per_second=1e5,
        )
        for epoch in range(1, epochs + 1)
    ]  # fmt: skip
    figures = (rows[-1].test_loss, rows[-1].test_accuracy) if epochs else (None, None)
    best = epochs if validation else None
    return History(rows, first, Stopped(10 * epochs + 3, epochs, reason, best, *figures))


def test_a_history_prints_as_a_table() -> None:
    assert repr(made_up(2)).splitlines() == [
        "epoch  train loss  accuracy  test loss  accuracy  seconds",
        "    1      1.0000  100.00 %     2.0000   50.00 %   3600.0",
        "    2      0.5000  100.00 %     1.0000   75.00 %   3600.0",
        "finished after epoch 2 of 2; test accuracy 75.00 %",
    ]
    lines = repr(made_up(1, validation=6, reason="early stopping")).splitlines()
    assert "".join(lines[1].split()) == "11.0000100.00%3.000075.00%2.000050.00%3600.0"
    assert lines[2] == "early stopping after epoch 1 of 1; best epoch 1; test accuracy 50.00 %"
    assert max(map(len, lines)) <= 80
    interrupted = repr(made_up(0, reason="interrupted")).splitlines()
    assert interrupted[1] == "interrupted after epoch 0 of 1, step 3"


def test_a_long_history_fits_on_a_screen() -> None:
    lines = repr(made_up(1000)).splitlines()
    assert len(lines) <= 24
    assert [line.split()[0] for line in lines[10:13]] == ["10", "...", "991"]
    assert lines[-2].split()[0] == "1000"
    assert len(repr(made_up(20)).splitlines()) == 22
    assert "..." not in repr(made_up(20))


def test_a_notebook_shows_the_same_table() -> None:
    history = made_up(21, validation=6)
    html = history._repr_html_()
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows]
    lines = repr(history).splitlines()
    assert [" ".join(row) for row in cells] == [" ".join(line.split()) for line in lines[:-1]]
    assert f"<p>{lines[-1]}</p>" in html


# --- callbacks ----------------------------------------------------------------------------------


def test_callbacks_get_every_event_in_order() -> None:
    calls: list[tuple[str, str]] = []
    fit(
        epochs=1,
        on_event=[lambda e: calls.append(("a", e.name)), lambda e: calls.append(("b", e.name))],
    )
    names = ["start", *["step"] * 5, "epoch", "stop"]
    assert calls == [(who, name) for name in names for who in "ab"]


def test_a_callback_that_fails_ends_the_run() -> None:
    ended: list[str] = []

    def fail(event: Event) -> None:
        if event.step == 2:
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        fit(on_event=[lambda event: ended.append(event.name), fail])
    assert ended == ["start", "step", "step"]


def test_should_stop_ends_fit() -> None:
    history = fit(should_stop=lambda: True)
    assert (history.reason, len(history), history.test_accuracy) == ("interrupted", 0, None)


# --- progress -----------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class OutStream(io.StringIO):
    """Like IPython's standard output, by the name of its module."""


OutStream.__module__ = "ipykernel.iostream"


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redraw after every step, on a terminal of 80 columns."""
    monkeypatch.setattr(display, "REFRESH_SECONDS", 0.0)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")


def shown(monkeypatch: pytest.MonkeyPatch, stream: Any, **options: Any) -> str:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        fit(**options)
    return stream.getvalue() if stream is not None else ""


def on_screen(output: str) -> list[str]:
    """What a terminal shows after the output: a carriage return goes back to the first column."""
    lines = []
    for row in output.split("\n"):
        screen = ""
        for part in row.split("\r"):
            screen = part + screen[len(part) :]
        lines.append(screen.rstrip())
    return lines


def redrawn(output: str) -> list[str]:
    """The lines that were drawn over each other."""
    return re.findall(r"\r(epoch \d+/\d+ \[[^\r\n]*)", output)


@pytest.mark.parametrize("stream", [Terminal, OutStream])
def test_a_terminal_and_a_notebook_show_a_line_that_is_redrawn(
    stream: type, every_step: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = shown(monkeypatch, stream())
    *lines, end = on_screen(output)
    assert end == ""
    assert lines[0] == "training on blobs: 226 parameters, 70 images, numpy backend"
    assert [line[:10] for line in lines[1:]] == ["epoch 1/2 ", "epoch 2/2 "]
    drawn = redrawn(output)
    assert len(drawn) == 10
    figures = r"loss \d\.\d{4}  accuracy \d+\.\d\d %  0:00 left *"
    assert re.fullmatch(rf"epoch 1/2 \[####-{{12}}\]  30%  {figures}", drawn[2])
    assert "[################] 100%" in drawn[-1]
    assert all(len(line) < 80 for line in drawn)


def test_progress_is_plain_lines_elsewhere(
    every_step: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(monkeypatch, io.StringIO()) == ""
    assert shown(monkeypatch, Terminal(), progress=False) == ""
    assert shown(monkeypatch, OutStream(), progress=False) == ""
    assert shown(monkeypatch, None, progress=True) == ""  # a process without standard output
    plain = shown(monkeypatch, io.StringIO(), progress=True)
    assert "\r" not in plain
    assert len(plain.splitlines()) == 3
    monkeypatch.setenv("TERM", "dumb")
    assert "\r" not in shown(monkeypatch, Terminal())


def test_lines_do_not_wrap(every_step: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    drawn = redrawn(shown(monkeypatch, Terminal()))
    assert drawn
    assert all(len(line) == 39 for line in drawn)
    assert all("epoch " in line and " left" in line for line in drawn)


def test_progress_of_a_run_that_is_resumed_or_stopped(
    every_step: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"checkpoint": tmp_path / "c.npz"}
    answers = iter([False, False, True])
    stopped = shown(monkeypatch, Terminal(), should_stop=lambda: next(answers), **options)
    assert on_screen(stopped)[-2:] == ["interrupted: stopped after step 3", ""]
    resumed = shown(monkeypatch, Terminal(), resume=tmp_path / "c.npz", **options)
    assert on_screen(resumed)[1] == "resuming from step 3"
    assert "40%" in redrawn(resumed)[0]


def test_the_time_left_is_estimated_from_this_process_alone() -> None:
    progress = display.Progress(io.StringIO(), redraw=True)
    progress.epochs, progress.steps, progress.first_step = 2, 10, 3
    event = StepEnded(5, 1, 80, 1e3, 0.1, lambda: (0.5, 0.25))
    line = progress._step_line(event, seconds=8.0)  # of two steps
    assert line.endswith("] " + " 50%  loss 0.5000  accuracy 25.00 %  0:20 left")


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (16, " 50%  0:20 left"),
        (30, "epoch 1/2  50%  0:20 left    "),
        (36, "epoch 1/2 [###----]  50%  0:20 left"),
        (60, "epoch 1/2 [########--------]  50%  loss 0.5000  0:20 left  "),
    ],
)
def test_a_narrow_terminal_shows_fewer_figures(columns: int, shown: str) -> None:
    progress = display.Progress(io.StringIO(), redraw=True)
    progress.epochs, progress.steps, progress.first_step = 2, 10, 3
    event = StepEnded(5, 1, 80, 1e3, 0.1, lambda: (0.5, 0.25))
    assert progress._step_line(event, 8.0, columns) == shown
    assert len(shown) == columns - 1


def test_an_error_leaves_no_half_line(every_step: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with pytest.raises(DivergedError):
            fit(optimizer=SGD(lr=1e30))
    assert redrawn(stream.getvalue())
    assert on_screen(stream.getvalue())[-1] == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3661, "1:01:01")]
)
def test_durations(seconds: float, text: str) -> None:
    assert display._duration(seconds) == text


def test_readme_example_in_a_notebook() -> None:
    """It finishes, shows its progress and ends with a table, without a terminal."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    code = (
        "import gpucnn\n"
        "data = gpucnn.data.mnist().limit(1000)\n"
        "model = gpucnn.models.lenet5(seed=0)\n"
        "history = gpucnn.fit(model, data, epochs=2, seed=0)\n"
        "history"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the kernel's transport
        nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    *streams, result = notebook.cells[0].outputs
    text = "".join(output["text"] for output in streams)
    assert re.search(r"\repoch 1/2 \[[#-]{16}\] ", text)
    lines = on_screen(text)
    assert [line[:10] for line in lines[1:3]] == ["epoch 1/2 ", "epoch 2/2 "]
    assert result["data"]["text/plain"].splitlines()[-1].startswith("finished after epoch 2 of 2;")
    assert result["data"]["text/html"].startswith("<table>")


# --- the iterator -------------------------------------------------------------------------------


def test_an_iterator_that_is_never_used_warns() -> None:
    """Else `training.events(model, data)` without a loop would train nothing, silently."""
    message = r"never iterated, so nothing was trained: .* call gpucnn\.fit"
    with pytest.warns(RuntimeWarning, match=message):
        start()


@pytest.mark.parametrize("use", [next, list, lambda events: events.close()])
def test_an_iterator_that_is_used_or_closed_does_not_warn(use: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        events = start(epochs=1)
        use(events)
        del events
        gc.collect()


def test_nothing_is_trained_before_the_first_event_is_asked_for() -> None:
    model = small_model()
    before = model.flat_parameters.copy()
    events = start(model)
    assert next(events).name == "start"
    np.testing.assert_array_equal(model.flat_parameters, before)
    next(events)
    assert not np.array_equal(model.flat_parameters, before)
    events.close()
    with pytest.raises(StopIteration):
        next(events)
