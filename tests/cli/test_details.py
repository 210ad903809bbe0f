"""Parts of the command line that a whole run hardly shows."""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from cuda_errors import illegal_address
from small import save_npz, small_data

from gpucnn.cli import machine
from gpucnn.cli.console import PlainConsole
from gpucnn.cli.display import PlainDisplay, ReadingProgress
from gpucnn.cli.main import run
from gpucnn.cli.runs import run_folder
from gpucnn.cli.settings import make_settings, with_recipe_model
from gpucnn.cli.train import StopRequest
from gpucnn.errors import SettingError
from gpucnn.machine import doctor
from gpucnn.training.event_types import EpochEnded, Stopped


def test_the_folder_of_a_run_is_locked_exclusively(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with run_folder(tmp_path, "x"):
        descriptor = os.open(tmp_path, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)


def test_a_resumed_run_may_use_another_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_npz("small.npz", small_data())
    words = ["train", "--data", "small.npz", "--model", "mlp", "--epochs", "1", "--out", "r"]
    assert run([*words, "--backend", "auto"]) == 0
    assert run(["train", "--resume", "r", "--backend", "numpy"]) == 0


def test_evaluate_refuses_fewer_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = small_data()
    save_npz("small.npz", data)
    few = {
        f"{axis}_{name}": array[split.labels < 3]
        for name, split in (("train", data.train), ("test", data.test))
        for axis, array in (("x", split.images), ("y", split.labels))
    }
    np.savez("few.npz", **few)
    run(["train", "--data", "small.npz", "--model", "mlp", "--epochs", "1", "--out", "r"])
    assert run(["evaluate", "r", "--data", "few.npz"]) == 2
    assert "the classes of few are 0, 1, 2; those of the network" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, 3), (10.0, 0)])
def test_reading_for_long_prints_lines_where_there_is_no_terminal(
    seconds: float, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gpucnn.cli.display.READING_LINE_SECONDS", seconds)
    with ReadingProgress() as progress:
        for done in (1000, 1500, 2000):
            progress("read", done, 2000)
    output, error = capsys.readouterr()
    assert output == ""
    assert error.splitlines()[1:2] == ["read 1,500 of 2,000 images"][:lines]
    assert error.count("\n") == lines


class Screen(StringIO):
    def isatty(self) -> bool:
        return True


def test_reading_on_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("gpucnn.cli.display.READING_SECONDS", 0.0)
    monkeypatch.setattr("gpucnn.cli.display.is_fancy", lambda console: True)
    monkeypatch.setattr("sys.stderr", screen := Screen())
    with ReadingProgress() as progress:
        progress("examined", 3, 80)
        progress("read", 40, 80)
    assert "examined 3 of 80 images" in screen.getvalue()
    assert "read 40 of 80 images" in screen.getvalue()


def test_a_signal_after_the_end_is_discarded_but_a_failed_output_is_not() -> None:
    for status, left in ((130, 0), (143, 0), (141, 141), (1, 1)):
        stop = StopRequest()
        stop.ask(status)
        stop.withdraw()
        assert stop.status == left
        assert stop.requested() == (left != 0)


def test_sgd_named_for_another_recipe_is_that_of_the_default_recipe() -> None:
    optimizer = make_settings({"recipe": "adam", "optimizer": "sgd"}).optimizer
    assert (optimizer.lr, vars(optimizer)["momentum"]) == (0.05, 0.9)
    optimizer = make_settings({"recipe": "adam", "optimizer": "adamw"}).optimizer
    assert optimizer.lr == 1e-3
    optimizer = make_settings({"recipe": "fast", "optimizer": "adam"}).optimizer
    assert vars(optimizer)["betas"] == (0.7, 0.9)


def test_the_number_of_figures_of_a_report() -> None:
    output = StringIO()
    console = PlainConsole(file=output)
    console.print_report(1, 1234, Path("a.html"), None)
    console.print_report(2, 1999, Path("a.html"), "figures")
    assert output.getvalue().splitlines() == [
        "report with 1 figure, 1 kB: a.html",
        "report with 2 figures, 2 kB: a.html, and as images in figures",
    ]


def test_the_speed_is_a_mean_over_all_epochs() -> None:
    output = StringIO()
    display = PlainDisplay(PlainConsole(file=output), "title")
    for epoch, seconds, rate in ((1, 1.0, 400.0), (2, 3.0, 200.0)):
        figures = (0.5, 0.5, 0.5, 0.5, None, None, 0.1)
        display.show(EpochEnded(epoch * 10, epoch, *figures, seconds, rate))
    display.print_results(Stopped(20, 2, "finished", None, 0.5, 0.5), "r/")
    assert "| training      | 4.0 s, 250 images/s |\n" in output.getvalue()


@pytest.mark.parametrize(
    ("words", "message"),
    [("train --resize 0x3", "got '0x3'"), ("train -", "unexpected argument '-'")],
)
def test_refused_words(capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    assert run(words.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["train", "--data", ""], "--data"),
        (["train", "--out="], "--out"),
        (["train", "--model", ""], "--model"),
        (["train", "--resume", ""], "--resume"),
        (["evaluate", ""], "CHECKPOINT"),
        (["predict", "run", "a.png", ""], "IMAGE"),
    ],
)
def test_an_empty_argument_is_not_the_working_directory(
    capsys: pytest.CaptureFixture[str], command: list[str], option: str
) -> None:
    assert run(command) == 2
    expected = f"gpucnn: {option} is empty: see gpucnn {command[0]} --help\n"
    assert capsys.readouterr().err == expected


def test_an_interrupt_outside_of_training_exits_with_status_130(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "doctor_command", interrupted)
    assert run(["doctor"]) == 130


def test_memory_and_file_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = {
        "gpucnn: out of memory: 3 GiB\n": MemoryError("3 GiB"),
        "gpucnn: x.npz: Permission denied\n": PermissionError(13, "Permission denied", "x.npz"),
        "gpucnn: two lines\n": SettingError("two\nlines"),
        "gpucnn: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered\n": (
            illegal_address()
        ),
    }
    for message, error in errors.items():

        def failing(arguments: object, error: Exception = error) -> int:
            raise error

        monkeypatch.setattr(machine, "doctor_command", failing)
        assert run(["doctor"]) == (2 if isinstance(error, SettingError) else 1)
        assert capsys.readouterr().err == message


def test_only_training_can_use_smaller_batches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*arguments: object) -> None:
        raise MemoryError("3 GiB")

    monkeypatch.setattr("gpucnn.cli.train.train_command", failing)
    assert run(["train"]) == 1
    expected = "gpucnn: out of memory: 3 GiB; try a smaller --batch-size\n"
    assert capsys.readouterr().err == expected


def test_other_errors_are_defects_and_show_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(arguments: object) -> int:
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

    monkeypatch.setattr(machine, "doctor_command", failing)
    with pytest.raises(RuntimeError):
        run(["doctor"])


def test_versions_of_cuda_have_a_dot() -> None:
    assert [doctor._dotted(number) for number in (12080, 13000)] == ["12.8", "13.0"]


@pytest.mark.parametrize("given", [{"model": "mlp"}, {"init": "model.npz"}])
def test_a_recipe_names_its_network_unless_one_is_given(given: dict[str, str]) -> None:
    assert with_recipe_model({"recipe": "best"})["model"] == "digits_cnn"
    assert with_recipe_model({"recipe": "best", **given}) == {"recipe": "best", **given}
    assert "model" not in with_recipe_model({"recipe": "quick"})
