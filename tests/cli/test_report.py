"""``gpucnn report`` and ``train --report``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import save_npz, small_data, small_model

import gpucnn
from gpucnn.cli.main import run
from gpucnn.cli.report import distinct_titles
from gpucnn.data import Data, Split
from gpucnn.errors import SettingError
from gpucnn.plots.page import making
from gpucnn.plots.page.subject import Subject
from gpucnn.training.files import checkpoint

MODEL = """
from pathlib import Path
from dataclasses import dataclass
import gpucnn
from gpucnn.nn.layers import Flatten, Layer, Linear
Path("imported").touch()

@dataclass(eq=False)
class Twice(Layer):
    def forward(self, be, x, training=None):
        return x + x, None
    def backward(self, be, grad, saved, input_grad=True):
        return grad + grad

def build(channels, size, classes):
    layers = {"flatten": Flatten(), "twice": Twice(), "fc": Linear(channels * 64, classes)}
    return gpucnn.Sequential(layers, (channels, *size))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and the run of one epoch in it; tests have copies."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        save_npz("small.npz", small_data())
        words = ["train", "--data", "small.npz", "--model", "mlp", "--epochs", "1"]
        assert run([*words, "--batch-size", "35", "--out", "mine"]) == 0
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the run "mine"; its data are where they were."""
    shutil.copytree(trained / "mine", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def subjects(monkeypatch: pytest.MonkeyPatch) -> list[Subject]:
    """What the reports are on that are made from now on; nothing is drawn or written."""
    found: list[Subject] = []

    def write(subjects: Any, out: Path, png: Path | None) -> tuple[int, int]:
        found[:] = subjects
        return 0, 0

    monkeypatch.setattr(making, "write_report", write)
    return found


Captured = pytest.CaptureFixture[str]


def test_a_run_gives_a_page_in_its_folder(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpucnn.plots.svg.DPI", 40)  # small images are drawn faster
    assert run(["report", "mine", "--png", "figures"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("report with ")
    assert captured.out.endswith(" kB: mine/report.html, and as images in figures\n")
    assert captured.err == ""
    page = Path("mine/report.html").read_text("utf-8")
    for text in (
        "<h1>mine</h1>",
        "mlp, a network of ",
        "on 70 images of small",
        "Confusion matrix",
    ):
        assert text in page
    figures = list(Path("figures").glob("*.png"))
    assert Path("figures/confusion_matrix.png") in figures
    assert len(figures) == page.count("<figure>")


def test_the_page_is_on_the_images_that_evaluate_uses(
    folder: Path, subjects: list[Subject]
) -> None:
    assert run(["report", "mine"]) == 0
    (subject,) = subjects
    assert subject.model is not None
    assert subject.evaluation == gpucnn.evaluate(subject.model, small_data().test)
    assert subject.notes == ()


def test_a_run_whose_data_are_gone_is_shown_without_test_images(
    folder: Path, trained: Path, subjects: list[Subject], capsys: Captured
) -> None:
    moved = (trained / "small.npz").rename(folder / "moved.npz")
    try:
        assert run(["report", "mine"]) == 0
        assert "note: mine: there are no test images: " in capsys.readouterr().err
        assert subjects[0].model is not None
        assert subjects[0].evaluation is None
        assert len(subjects[0].notes) == 1
        assert run(["report", "mine", "--data", "moved.npz"]) == 0
        assert subjects[0].evaluation is not None
        assert run(["report", "mine", "--data", "nowhere.npz"]) == 2
    finally:
        moved.rename(trained / "small.npz")


def test_data_that_changed_are_not_used_unless_the_command_names_them(
    folder: Path, trained: Path, subjects: list[Subject], capsys: Captured
) -> None:
    before = (trained / "small.npz").read_bytes()
    try:
        data = small_data()
        images = data.test.images.copy()
        images[0, 0, 0, 0] += 1
        save_npz(
            trained / "small.npz",
            Data(data.train, Split(images, data.test.labels), data.classes, "x"),
        )
        assert run(["report", "mine"]) == 0
        assert (
            "no longer holds the data of the run: give test data with --data"
            in capsys.readouterr().err
        )
        assert subjects[0].test is None
        assert run(["report", "mine", "--data", str(trained / "small.npz")]) == 0
        assert subjects[0].test is not None
    finally:
        (trained / "small.npz").write_bytes(before)


def test_test_images_that_the_run_was_trained_on_are_left_out(
    folder: Path, subjects: list[Subject], capsys: Captured
) -> None:
    data = small_data()
    images = np.concatenate([data.train.images[:15], data.test.images])
    labels = np.concatenate([data.train.labels[:15], data.test.labels])
    save_npz("mixed.npz", Data(data.train, Split(images, labels), data.classes, "mixed"))
    assert run(["report", "mine", "--data", "mixed.npz"]) == 0
    assert "15 of 55 test images of mixed were used in training" in capsys.readouterr().err
    assert subjects[0].test is not None
    assert len(subjects[0].test) == 40
    assert "they are left out" in subjects[0].notes[0]
    save_npz("all.npz", Data(data.train, data.train, data.classes, "all"))
    assert run(["report", "mine", "--data", "all.npz"]) == 2
    assert "none is left" in capsys.readouterr().err


def test_code_that_a_folder_names_runs_only_if_the_command_names_it(
    folder: Path, trained: Path, subjects: list[Subject], capsys: Captured
) -> None:
    Path("net.py").write_text(MODEL)
    words = ["train", "--data", str(trained / "small.npz"), "--model", "net.py:build"]
    assert run([*words, "--epochs", "1", "--out", "custom"]) == 0
    Path("imported").unlink()
    saved = checkpoint.load("custom")
    for row in saved.metadata["model"]["layers"]:  # the class Twice is known in this process
        row["type"] = row["type"].replace("Twice", "Elsewhere")
    checkpoint.save("custom/checkpoint.npz", saved)
    capsys.readouterr()
    assert run(["report", "custom"]) == 0
    assert not Path("imported").exists()
    assert "note: custom: the network cannot be shown: " in capsys.readouterr().err
    assert subjects[0].model is None
    assert len(subjects[0].epochs) == 1
    Path("net.py").write_text(MODEL.replace("Twice", "Elsewhere"))
    assert run(["report", "custom", "--model", "net.py:build"]) == 0
    assert Path("imported").exists()
    assert subjects[0].evaluation is not None


def test_a_run_that_was_killed_has_a_page(
    folder: Path, subjects: list[Subject], capsys: Captured
) -> None:
    log = Path("mine/log.jsonl")
    lines = [line for line in log.read_text().splitlines() if '"event": "stop"' not in line]
    log.write_text("\n".join(lines) + '\n{"event": "epo')
    assert run(["report", "mine"]) == 0
    assert "was killed or is still running. 1 of 1 epochs" in subjects[0].ending()
    Path("mine/checkpoint.npz").unlink()
    assert run(["report", "mine"]) == 0
    assert "there is no checkpoint.npz" in capsys.readouterr().err
    assert len(subjects[0].epochs) == 1


def test_runs_that_are_named_alike_have_different_titles(folder: Path) -> None:
    for name in ("a/x/seed", "b/x/seed", "b/other"):
        Path(name).mkdir(parents=True)
    titles = distinct_titles([Path("a/x/seed"), Path("b/x/seed"), Path("b/other")])
    assert titles == ["a/x/seed", "b/x/seed", "other"]
    with pytest.raises(SettingError, match=r"b/x/\.\./other is given twice"):
        distinct_titles([Path("b/other"), Path("b/x/../other/")])


def test_several_runs_and_files_are_compared_in_the_current_folder(
    folder: Path, subjects: list[Subject], capsys: Captured
) -> None:
    gpucnn.save_model(small_model(), "model.npz")
    assert run(["report", "mine", "model.npz", "lenet5"]) == 0
    captured = capsys.readouterr()
    assert captured.out.endswith(": report.html\n")
    assert "note: model: there are no test images: the file does not name its data" in captured.err
    assert [subject.title for subject in subjects] == ["mine", "model", "lenet5"]
    assert [subject.evaluation is None for subject in subjects] == [False, True, False]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nowhere", "no checkpoint at nowhere"),
        (".", ". holds no run: expected a folder that gpucnn train has written"),
        ("mine --out .", "--out is a file, but . is a folder: try report.html"),
        ("mine --out no/a.html", "--out no/a.html: there is no folder no"),
        ("mine mine/", "mine is given twice"),
        ("mine --data mnist", "the classes of mnist are"),
        ("", "the following arguments are required: RUN"),
    ],
)
def test_refused_words(folder: Path, capsys: Captured, words: str, message: str) -> None:
    assert run(["report", *words.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(folder.glob("**/*.html"))


def test_a_damaged_checkpoint_is_an_error(folder: Path, capsys: Captured) -> None:
    path = Path("mine/checkpoint.npz")
    path.write_bytes(path.read_bytes()[:-100])
    assert run(["report", "mine"]) == 2
    assert "mine/checkpoint.npz" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["report mine", "train --report --out new"])
def test_without_the_extra_one_line_names_it(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert run(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("needs Jinja2: pip install 'gpucnn[report]'")
    assert not Path("new").exists()


def test_training_writes_the_report_at_its_end_also_after_a_resume(
    folder: Path,
    trained: Path,
    subjects: list[Subject],
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [
        "train",
        "--data",
        str(trained / "small.npz"),
        "--epochs",
        "1",
        "--schedule",
        "constant",
    ]
    words += ["--model", "mlp", "--out", "new"]
    assert run([*words, "--report"]) == 0
    assert capsys.readouterr().out.endswith(": new/report.html\n")
    (subject,) = subjects
    assert subject.title == "new"
    assert len(subject.epochs) == 1
    assert subject.evaluation is not None
    assert subject.stopped is not None
    assert subject.evaluation.accuracy == subject.stopped.test_accuracy
    subjects.clear()
    assert run(["train", "--resume", "new", "--epochs", "2"]) == 0
    assert [len(subject.epochs) for subject in subjects] == [2]


def test_a_run_that_is_interrupted_has_no_report(
    folder: Path, trained: Path, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpucnn.cli.signals.StopRequest.requested", lambda self: True)
    words = ["train", "--data", str(trained / "small.npz"), "--model", "mlp", "--out", "new"]
    run([*words, "--report"])
    assert subjects == []
    assert Path("new/checkpoint.npz").exists()
