"""Output on terminals of any width, and in files: readable, and nothing is lost."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest
from small import save_npz, small_data

import gpucnn
from gpucnn.cli import run as run_command
from gpucnn.cli.console import make_console
from gpucnn.cli.runs import resume_command

LONGEST = "binary_cross_entropy_with_logits"
WIDTHS = [0, 20, 24, 60, 80, 100, 200]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*descriptor: int) -> os.terminal_size:
        raise OSError("no terminal")

    monkeypatch.setattr(os, "get_terminal_size", unknown)
    monkeypatch.setenv("TERM", "dumb")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def shown(words: list[str], columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what a command prints on a terminal of a width."""
    with monkeypatch.context() as patch:
        output = Terminal()
        patch.setattr(sys, "stdout", output)
        patch.setenv("COLUMNS", str(columns))
        assert run_command(words) == 0
    return output.getvalue()


def piped(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    with monkeypatch.context() as patch:
        output = io.StringIO()
        patch.setattr(sys, "stdout", output)
        assert run_command(words) == 0
    return output.getvalue()


def content(text: str) -> list[str]:
    """The words of an output, without times and the lines of tables."""
    text = re.sub(r"\d+\.\d+ (s|ms)\b|[\d,]+ images/s|ratio|\b\d+\.\d\d\b", "", text)
    return re.sub(r"[|+:]|-{2,}", " ", text).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a-folder-with-a-rather-long-name-that-is-not-cut-off")
    save_npz(folder / "small.npz", small_data())
    PIL.Image.new("RGB", (40, 30), (200, 100, 50)).save(folder / "photo.png")
    data = gpucnn.data.load(folder / "small.npz")
    model = gpucnn.models.mlp(channels=1, size=(8, 8), classes=4)
    gpucnn.fit(model, data, epochs=1, checkpoint=folder / "model.npz")
    words = ["train", "--data", str(folder / "small.npz"), "--model", "mlp", "--epochs", "1"]
    assert run_command([*words, "--out", str(folder / "some" / "run-of-a-model-with-a-name")]) == 0
    return folder


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize(
    "command", ["evaluate", "summary", "doctor", "check", "filter", "runs", "train"]
)
def test_nothing_is_lost_at_any_width(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    columns: int,
) -> None:
    data = ["--data", str(folder / "small.npz")]
    words = {
        "evaluate": ["evaluate", str(folder / "model.npz"), *data],
        "summary": ["summary", "lenet5"],
        "doctor": ["doctor"],
        "check": ["check", "relu", LONGEST, "one_hot", "--backend", "numpy"],
        "filter": ["filter", str(folder / "photo.png"), "sobel", "--out", str(folder / "out.png")],
        "runs": ["runs", str(folder)],
        "train": ["train", *data, "--model", "mlp", "--epochs", "2", "--seed", "1"],
    }[command]
    places = [[], []]
    if command == "train":
        long = tmp_path / "a folder with many words in its name"
        places = [["--out", str(long / name)] for name in ("first", "other")]
    wanted = piped(words + places[0], monkeypatch).replace("first", "other")
    text = shown(words + places[1], columns, monkeypatch)
    width = columns or 80
    # Words that fit are whole; of longer ones, as of paths, all characters are there.
    fit = {word for word in content(wanted) if len(word) <= width - 4}
    assert not fit - set(content(text)), text
    if command == "train":
        joined = re.sub(r"[\s|]", "", text)
        assert re.sub(r"\s", "", f"{long}/other/") in joined
        assert f"{long}/other/" in wanted, "a pipe has no width"
    for line in text.splitlines():
        is_command = line.lstrip().startswith("->")  # it is one line, however long
        assert is_command or len(line.rstrip()) <= width, line


@pytest.mark.parametrize("columns", ["0", "-5", "7", "many"])
def test_the_variable_columns(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    wide = piped(["summary"], monkeypatch)
    monkeypatch.setenv("COLUMNS", columns)
    assert piped(["summary"], monkeypatch) == wide
    assert make_console().width >= 20


def test_a_piped_check_has_whole_names(monkeypatch: pytest.MonkeyPatch) -> None:
    text = piped(["check", LONGEST, "--backend", "numpy"], monkeypatch)
    assert re.search(rf"\| {LONGEST} \| +\d+ \| +0\.\d+ \| +0\.\d+ \| +1\.8e-05 \|", text)


@pytest.mark.parametrize("columns", [24, 80, 200])
def test_the_command_that_resumes_is_one_line(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """It is quoted, and names the Python file of the model, which only the command line may."""
    command = resume_command(Path("my run"), "/home/me/my net.py:build")
    assert command == "gpucnn train --resume 'my run' --model '/home/me/my net.py:build'"
    assert resume_command(Path("-x"), "lenet5") == "gpucnn train --resume ./-x"
    output = Terminal()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setenv("COLUMNS", str(columns))
    make_console().print_command("stopped at step 3. Continue with:", command)
    text = f"stopped at step 3. Continue with: {command}\n"
    lines = output.getvalue().splitlines()
    assert lines[-1] == (text.rstrip() if columns == 200 else f"  {command}")


@pytest.mark.skipif(os.name != "posix", reason="POSIX terminals")
@pytest.mark.parametrize("columns", [0, 24, 60])
def test_the_live_display_fits(folder: Path, tmp_path: Path, columns: int) -> None:
    """On a real terminal; one of 0 columns does not know its width and counts as 80."""
    import fcntl
    import pty
    import termios

    own, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    words = ["train", "--data", str(folder / "small.npz"), "--model", "mlp", "--epochs", "2"]
    words += ["--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "gpucnn", *words], stdout=other, stderr=other, env=env
    )
    os.close(other)
    written = b""
    try:
        while chunk := os.read(own, 4096):
            written += chunk
    except OSError:  # the other end has closed
        pass
    os.close(own)
    assert process.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.decode())
    lines = [line.rstrip() for line in re.split(r"[\r\n]", text)]
    assert all(len(line) <= (columns or 80) for line in lines), lines
    assert "left" in text
    assert "…" not in text
