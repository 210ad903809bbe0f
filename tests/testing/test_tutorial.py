"""The tutorial's files are written and its commands run, as they are printed."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from available import backend_or_skip

import gpucnn.testing
from gpucnn.cli import run

TUTORIAL = Path(gpucnn.testing.__file__).parent / "TUTORIAL.md"
BLOCKS: list[tuple[str, str]] = re.findall(
    r"^```(\w*)\n(.*?)^```$", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
FAILS = ["gpucnn check conv.py:TiledConv --backend emulated"]
"""The commands that fail the first time."""


def test_the_tutorial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend_or_skip("emulated")
    monkeypatch.chdir(tmp_path)
    failing, commands, printed = list(FAILS), 0, ""
    for language, text in BLOCKS:
        if language in ("python", "cuda"):
            write(text)
        elif language == "sh":
            for line in text.splitlines():
                status = 1 if line in failing else 0
                failing = [command for command in failing if command != line]
                assert execute(line) == status, line
                printed = capsys.readouterr().out
                commands += 1
        else:
            assert language == ""
            matches = doctest.OutputChecker().check_output(text, printed, doctest.ELLIPSIS)
            assert matches, f"expected:\n{text}\ngot:\n{printed}"
    assert not failing
    assert commands >= 7


def write(text: str) -> None:
    """Write the file that a block's first line names, or continue it."""
    first, _, rest = text.partition("\n")
    match = re.fullmatch(r"(?:#|//) ([\w.]+)(, continued)?", first)
    assert match, f"the block names no file: {first}"
    with Path(match[1]).open("a" if match[2] else "w") as file:
        file.write(rest if match[2] else text)


def execute(line: str) -> int:
    """Run a command: those of gpucnn in this process."""
    program, *words = shlex.split(line)
    if program == "gpucnn":
        return run(words)
    folders = [str(Path(gpucnn.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # an installed gpucnn has the plugin too
    command = [sys.executable, *words]
    if program == "pytest":
        command[1:1] = ["-m", "pytest", "-p", "gpucnn.testing.pytest", "-p", "no:cacheprovider"]
    else:
        assert program == "python"
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def test_lines_fit_a_page() -> None:
    for language, text in BLOCKS:
        if language in ("python", "cuda"):
            assert max(map(len, text.splitlines())) <= 100
