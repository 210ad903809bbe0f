"""README's Python runs, and its commands are those that CI runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from small import small_data

import gpucnn
from gpucnn.backends.cuda.sources import kernel_folder
from gpucnn.cli.parser import MainParser
from gpucnn.cli.sources import build_model, shape_for

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
(INTERFACE,) = (block for block in PYTHON if "gpucnn.fit(" in block)
(MODEL,) = (block for block in PYTHON if "def build(" in block)
SHELL = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def test_the_interface_in_twenty_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mnist = gpucnn.data.mnist().limit(500)
    monkeypatch.setattr(gpucnn.data, "mnist", lambda: mnist)
    assert len(INTERFACE.splitlines()) <= 20
    exec(INTERFACE.replace("epochs=5", "epochs=1"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["epoch", "train", "loss"]
    assert lines[2].startswith("finished after epoch 1 of 1; test accuracy ")
    assert "61,706" in lines[-2]
    assert lines[-1] == "(8, 6, 14, 14)"


def test_a_custom_model(tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(MODEL)
    data = small_data()
    model = build_model(f"{tmp_path}/mynet.py:build", shape_for(data))
    assert model(np.zeros((2, 1, 8, 8), np.float32)).shape == (2, 4)


def test_the_commands() -> None:
    assert SHELL[0].strip().endswith(".venv/bin/pip install . && .venv/bin/gpucnn train")
    assert SHELL[1].strip() in (ROOT / ".ci" / "run").read_text().splitlines()
    for line in "".join(SHELL[2:]).replace("\\\n", "").splitlines():
        words = line.split("#")[0].split()
        if words[:2] == ["mpiexec", "-n"]:
            words = words[3:]
        if words[:1] == ["gpucnn"]:
            MainParser().parse(words[1:])


def test_the_pictures_are_small() -> None:
    """They travel with every checkout; the wheel has no bench/."""
    screenshots = set(re.findall(r"\(([\w/.-]+\.png)\)", README))
    assert len(screenshots) == 2
    for name in screenshots:
        assert (ROOT / name).stat().st_size < 150_000


def test_the_kernel_that_is_shown_is_the_one_that_runs() -> None:
    (shown,) = re.findall(r"```cuda\n(.*?)```", README, re.DOTALL)
    assert shown in (kernel_folder() / "relu.cu").read_text(encoding="utf-8")
