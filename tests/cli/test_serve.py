"""``gpucnn serve``: its page, its end, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import seven
from small import small_model

import gpucnn
from gpucnn import cli
from gpucnn.cli import serve

ROOT = Path(gpucnn.__file__).parents[1]


def start(folder: Path, *words: str) -> tuple[subprocess.Popen[str], str]:
    """Start the command at any free port; return its process and the page's address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gpucnn", "serve", "--port", "0", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().partition(" ")[0]


def ask(url: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(url, body, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_page_reads_digits_until_a_signal_ends_it(
    number: int, status: int, tmp_path: Path
) -> None:
    process, url = start(tmp_path)
    try:
        (model,) = ask(f"{url}api/models")
        assert (model["title"], model["prepare"]) == ("lenet5", "digit")
        assert model["test_accuracy"] > 0.99
        if number == signal.SIGTERM:
            (found,) = ask(f"{url}api/predict", seven())["results"]
            assert (found["status"], found["label"]) == ("digit", 7)
    finally:
        process.send_signal(number)
        output, error = process.communicate(timeout=60)
    assert (process.returncode, output) == (status, "")
    assert error == "note: no network given, so the page has the ready-trained lenet5\n"
    assert not list(tmp_path.iterdir()), "nothing is written"


def served(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[Any]]:
    """Run the command until it would serve; return its status and the networks."""
    found: list[Any] = []
    monkeypatch.setattr(serve, "_serve", lambda networks, arguments: found.extend(networks) or 0)
    return cli.run(["serve", *words]), found


def save(path: Path, **attributes: Any) -> str:
    model = small_model()
    model.normalization = ((0.1,), (0.2,))
    model.preparation = "plain"
    for name, value in attributes.items():
        setattr(model, name, value)
    path.parent.mkdir(exist_ok=True)
    gpucnn.save_model(model, path)
    return str(path)


def test_several_networks_have_different_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [save(tmp_path / "a" / "net.npz"), save(tmp_path / "b" / "net.npz")]
    status, networks = served(names, monkeypatch)
    assert status == 0
    assert [each.title for each in networks] == names
    assert len({each.id for each in networks}) == 2
    _, networks = served([names[0], "lenet5"], monkeypatch)
    assert [each.title for each in networks] == ["net.npz", "lenet5"]
    assert [each.prepare for each in networks] == ["plain", "digit"]
    assert [each.test_accuracy is None for each in networks] == [True, False]


def test_code_that_a_file_names_runs_only_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = save(tmp_path / "net.npz")
    code = "from small import small_model as build\nprint('it runs')\n"
    (tmp_path / "net.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    assert served([name], monkeypatch)[0] == 0
    assert capsys.readouterr().out == ""
    assert served([name, "--model", "net.py:build"], monkeypatch)[0] == 0
    assert capsys.readouterr().out == "it runs\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "65536"], "--port must be 0 to 65535, got 65536"),
        (["--port", "-1"], "--port must be 0 to 65535, got -1"),
        (["--prepare", "digits"], "unknown --prepare 'digits': did you mean 'digit'?"),
        (["runs/none"], "no checkpoint at runs/none"),
        (["--host", "203.0.113.1"], "--host 203.0.113.1 is not an address of this computer"),
        (["--host", "no such host"], "give an address of this computer"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["serve", *words]) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert error[-1].startswith("gpucnn: ")


def test_a_port_in_use_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.run(["serve", "--port", str(port)]) == 2
    line = f"gpucnn: --port {port} is in use: choose another, or any with --port 0"
    assert capsys.readouterr().err.splitlines()[-1] == line


def test_digits_need_a_network_for_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = gpucnn.models.small_cnn(channels=3, size=(16, 16), classes=2)
    model.normalization = tuple(np.full((2, 3), 0.5).tolist())
    gpucnn.save_model(model, tmp_path / "net.npz")
    assert cli.run(["serve", str(tmp_path / "net.npz")]) == 2
    assert "give --prepare digit or --prepare plain" in capsys.readouterr().err
    assert cli.run(["serve", str(tmp_path / "net.npz"), "--prepare", "digit"]) == 2
    assert "digits need a network for square images of one channel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "library"), [("starlette", "Starlette"), ("uvicorn", "uvicorn"), ("scipy", "SciPy")]
)
def test_without_the_extra_one_line_says_what_to_install(
    module: str, library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.run(["serve"]) == 2
    expected = f"gpucnn: gpucnn serve needs {library}: pip install 'gpucnn[web]'\n"
    assert capsys.readouterr().err == expected
