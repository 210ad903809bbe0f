"""Functions that build a network: every kind of parameters gets the right values."""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from small import save_npz, small_data

from gpucnn.cli import run
from gpucnn.cli.builders import call_builder
from gpucnn.errors import SettingError

SHAPE = {"channels": 3, "size": (8, 9), "classes": 4, "seed": 7}
Capture = pytest.CaptureFixture[str]


def none() -> Any:
    return ()


def three(channels: Any, size: Any, classes: Any) -> Any:
    return channels, size, classes


def other_order(classes: Any, channels: Any, size: Any = (1, 1)) -> Any:
    return channels, size, classes


def other_names(c: Any, hw: Any, n: Any) -> Any:
    return c, hw, n


def other_names_and_seed(c: Any, hw: Any, n: Any, seed: int = 0, width: int = 5) -> Any:
    return c, hw, n, seed, width


def defaults(channels: int = 1, size: Any = (5, 5), classes: int = 2, width: int = 6) -> Any:
    return channels, size, classes, width


def only_positional(channels: Any, size: Any, classes: Any, /) -> Any:
    return channels, size, classes


def only_keywords(*, size: Any, seed: int) -> Any:
    return size, seed


def open_keywords(**rest: Any) -> Any:
    return rest


class Callable:
    def __call__(self, size: Any) -> Any:
        return size


FUNCTIONS = [
    (none, (), (), []),
    (three, (3, (8, 9), 4), (1, (28, 28), 10), ["channels", "size", "classes"]),
    (other_order, (3, (8, 9), 4), (1, (1, 1), 10), ["classes", "channels"]),
    (other_names, (3, (8, 9), 4), (1, (28, 28), 10), ["channels", "size", "classes"]),
    (
        other_names_and_seed,
        (3, (8, 9), 4, 7, 5),
        (1, (28, 28), 10, 7, 5),
        ["channels", "size", "classes"],
    ),
    (defaults, (3, (8, 9), 4, 6), (1, (5, 5), 2, 6), []),
    (only_positional, (3, (8, 9), 4), (1, (28, 28), 10), ["channels", "size", "classes"]),
    (only_keywords, ((8, 9), 7), ((28, 28), 7), ["size"]),
    (open_keywords, SHAPE, {"seed": 7}, []),
    (Callable(), (8, 9), (28, 28), ["size"]),
    (functools.partial(three, classes=2), (3, (8, 9), 4), (1, (28, 28), 2), ["channels", "size"]),
]


@pytest.mark.parametrize(
    ("function", "full", "alone", "assumed"),
    FUNCTIONS,
    ids=[getattr(row[0], "__name__", "callable") for row in FUNCTIONS],
)
def test_arguments_with_and_without_data(
    function: Any, full: Any, alone: Any, assumed: list[str]
) -> None:
    assert call_builder("f", function, SHAPE) == (full, [])
    assert call_builder("f", function, {"seed": 7}) == (alone, assumed)


@pytest.mark.parametrize("names", ["width", "width, depth", "channels, width", "a, b, c, d"])
def test_other_required_parameters_are_named(names: str) -> None:
    function = eval(f"lambda {names}: None")
    unknown = ", ".join(name for name in names.split(", ") if name != "channels")
    with pytest.raises(SettingError, match=f"^f requires {unknown}: give defaults, or take"):
        call_builder("f", function, SHAPE)


@pytest.fixture
def readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the model of README, which its text calls mynet.py:build."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mynet.py").write_text(next(b for b in blocks if "def build(" in b))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shapes(capsys: Capture, *words: str) -> tuple[Any, int, str]:
    """The shape of the input, the number of outputs and the note of a summary."""
    capsys.readouterr()
    assert run(["summary", *words, "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    return found["input_shape"], found["layers"][-1]["output_shape"][-1], output.err


def test_summary_of_readmes_network(readme: Path, capsys: Capture) -> None:
    shape, classes, note = shapes(capsys, "mynet.py:build")
    assert (shape, classes) == ([1, 28, 28], 10)
    assert note == (
        "note: mynet.py:build is built as for MNIST, with channels=1, size=(28, 28), classes=10;"
        " gpucnn summary --input CxHxW --classes N, or --data PATH, sets other values\n"
    )
    assert shapes(capsys, "mynet.py:build", "--input", "3x32x20", "--classes", "7") == (
        [3, 32, 20],
        7,
        "",
    )
    save_npz("small.npz", small_data())
    assert shapes(capsys, "mynet.py:build", "--data", "small.npz") == ([1, 8, 8], 4, "")
    assert shapes(capsys, "small_cnn", "--input", "1x16x16") == ([1, 16, 16], 10, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--input 32x32", "--input must be CHANNELSxHEIGHTxWIDTH, for example 3x32x32"),
        ("--input 0x32x32", "--input must be CHANNELSxHEIGHTxWIDTH"),
        ("--classes 0", "--classes must be 1 or more, got 0"),
        ("--data mnist --classes 3", "--data has a shape: remove it, or --input and --classes"),
    ],
)
def test_wrong_shapes_of_a_summary(capsys: Capture, words: str, message: str) -> None:
    assert run(["summary", "lenet5", *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_a_pipe_or_folder_in_place_of_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.py")
    Path("folder.py").mkdir()
    for name in ("pipe.py", "folder.py"):
        assert run(["summary", f"{name}:build"]) == 2
        assert capsys.readouterr().err == f"gpucnn: {name} is not a regular file\n"
