"""The command as a process: signals, kills, pipes and terminals."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from available import backend_or_skip
from small import save_npz, small_data

from gpucnn.cli.main import run
from gpucnn.emulator import native
from gpucnn.training.files import checkpoint

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and terminals")

COMMAND = [sys.executable, "-m", "gpucnn"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "small.npz"
    save_npz(path, small_data(600))
    return path


def command(data: Path, out: Path, *options: str, epochs: int = 8) -> list[str]:
    run = ["train", "--data", str(data), "--model", "mlp", "--epochs", str(epochs)]
    run += ["--batch-size", "4", "--out", str(out), "--backend", "numpy"]  # also next to a GPU
    return [*COMMAND, *run, *options]


def start(words: list[str], **options: object) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, text=True, **{**pipes, **options})  # type: ignore[call-overload]


def wait_for(path: Path, text: str) -> None:
    """Wait until a file contains ``text``."""
    deadline = time.monotonic() + 60
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, f"no {text!r} in {path}"
        time.sleep(0.01)


def complete(data: Path, folder: Path, *options: str) -> None:
    """Train to the end, in this process."""
    assert run(command(data, folder, *options)[len(COMMAND) :]) == 0


def final(folder: Path) -> bytes:
    return (folder / "checkpoint.npz").read_bytes()


def test_kills_at_any_moment_change_nothing(tmp_path: Path) -> None:
    """SIGKILL during the start, or some random time after the n-th epoch, and a resume."""
    data = tmp_path / "small.npz"
    save_npz(data, small_data(150))
    complete(data, tmp_path / "complete", "--checkpoint-every", "7")
    rng = random.Random(5)
    reached = set()
    for number in range(-1, 6):
        out = tmp_path / str(number)
        process = start(command(data, out, "--checkpoint-every", "7"))
        if number >= 0:
            wait_for(out / "log.jsonl", f'"epoch": {number},')
        time.sleep(rng.uniform(0.0, 0.03 if number >= 0 else 0.3))
        process.kill()
        process.communicate()
        if (out / "checkpoint.npz").exists():
            reached.add(checkpoint.load(out / "checkpoint.npz").metadata["epoch"])
        complete(data, out, "--checkpoint-every", "7", "--resume")
        assert final(out) == final(tmp_path / "complete"), f"kill {number}"
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        assert [e["epoch"] for e in lines if e["event"] == "epoch"] == list(range(1, 9))
    assert len(reached) > 2, "the kills were not in different epochs"


def test_a_signal_saves_and_resume_continues(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = command(data, out)
    for number, status, epoch in ((signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 4)):
        process = start(words)
        wait_for(out / "log.jsonl", f'"epoch": {epoch},')
        process.send_signal(number)
        output, error = process.communicate(timeout=60)
        assert process.returncode == status, error
        assert error == ""
        assert output.endswith(f". Continue with: gpucnn train --resume {out}\n")
        last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
        assert (last["event"], last["reason"]) == ("stop", "interrupted")
        words = [*COMMAND, "train", "--resume", str(out)]
    subprocess.run(words, check=True, capture_output=True)
    complete(data, tmp_path / "complete")
    assert final(out) == final(tmp_path / "complete")


def test_a_second_signal_ends_the_process_at_once(data: Path, tmp_path: Path) -> None:
    # The first is handled after a step; a process that is suspended cannot finish its step.
    process = start(command(data, tmp_path / "out", epochs=500))
    wait_for(tmp_path / "out" / "log.jsonl", '"event": "epoch"')
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode in (130, 143)
    assert checkpoint.load(tmp_path / "out" / "checkpoint.npz")


def test_a_closed_pipe_ends_the_run_without_a_message(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reader, writer = os.pipe()
    process = start(command(data, out, epochs=500), stdout=writer)
    os.close(writer)
    first = os.read(reader, 10)
    os.close(reader)
    _, error = process.communicate(timeout=60)
    assert first.startswith(b"mlp on")
    assert error == ""
    assert process.returncode == 141
    last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["reason"]) == ("stop", "interrupted")
    result = subprocess.run(
        f"{sys.executable} -m gpucnn summary | true", shell=True, capture_output=True, check=False
    )
    assert result.stderr == b""


def test_a_full_disk_is_one_line_and_keeps_the_checkpoint(data: Path, tmp_path: Path) -> None:
    """The disk is simulated by a limit on file sizes, set after the first checkpoint."""
    resource = pytest.importorskip("resource")
    out = tmp_path / "out"
    process = start(
        command(data, out, epochs=500),
        preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    wait_for(out / "log.jsonl", '"event": "epoch"')
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2000, 2000))
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error.count("\n") == 1
    assert "File too large" in error
    assert checkpoint.load(out / "checkpoint.npz").metadata["epoch"] >= 0
    assert not list(out.glob(".*.tmp"))


def test_closed_and_full_outputs(data: Path, tmp_path: Path) -> None:
    """Output that the shell has closed is ignored; on a full device the run is saved and fails."""
    words = " ".join(command(data, tmp_path / "closed", epochs=2))
    result = subprocess.run(f"{words} >&- 2>&-", shell=True, check=False)
    assert result.returncode == 0
    assert checkpoint.load(tmp_path / "closed" / "checkpoint.npz").metadata["epoch"] == 2
    with open("/dev/full", "w") as full:
        process = start(command(data, tmp_path / "full", epochs=500), stdout=full)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error == "gpucnn: cannot write standard output: No space left on device\n"
    assert checkpoint.load(tmp_path / "full" / "checkpoint.npz")


def run_in_terminal(words: list[str], **env: str) -> tuple[str, int]:
    """Run a command in a pseudo-terminal of 100 columns; return its output and its status."""
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **env})
        os.execvp(words[0], words)
    written = b""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # on Linux, when the other end has closed
            break
        if not chunk:
            break
        written += chunk
    os.close(terminal)
    return written.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_terminal_shows_a_live_display_and_the_cursor_again(data: Path, tmp_path: Path) -> None:
    text, status = run_in_terminal(command(data, tmp_path / "out"), LC_ALL="C.UTF-8")
    assert status == 0
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "images/s" in text
    assert "left" in text
    assert "epoch 8/8" in text
    assert "╭" in text


@pytest.mark.parametrize(
    "env",
    [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}],
    ids=["dumb", "no colour", "ascii"],
)
def test_plain_lines_on_a_terminal_without_colours_or_unicode(
    data: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    words = command(data, tmp_path / "out", "--limit", "40", epochs=3)
    text, status = run_in_terminal(words, **env)
    assert status == 0
    assert text.isascii()
    assert "\x1b" not in text
    assert sum(line.startswith("epoch ") for line in text.splitlines()) == 3


def test_piped_output_has_one_line_for_each_epoch(data: Path, tmp_path: Path) -> None:
    words = command(data, tmp_path / "out", "--limit", "40", epochs=3)
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    lines = result.stdout.splitlines()
    assert [line.startswith("epoch ") for line in lines[:5]] == [False, *[True] * 3, False]
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout
    assert result.stderr == ""


def test_the_first_start_reports_that_kernels_are_compiled(tmp_path: Path) -> None:
    backend_or_skip("emulated")
    runtime = native.runtime().path.parent  # which takes seconds to build
    shutil.copytree(runtime, tmp_path / "cache" / "emulator" / runtime.name)
    env = {**os.environ, "GPUCNN_CACHE_DIR": str(tmp_path / "cache")}
    code = (
        "from gpucnn.cli.sources import make_backend\n"
        "backend, _ = make_backend('emulated')\n"
        "for _ in range(2): backend.relu(backend.zeros((2, 2)))"
    )
    first, again = (
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
        for _ in range(2)
    )
    assert first.stderr == b"compiling the kernels; later starts use the compiled ones\n"
    assert again.stderr == b""


def test_characters_that_the_locale_lacks_are_escaped(data: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    result = subprocess.run(
        [*COMMAND, "evaluate", str(tmp_path / "gewählt.npz")],
        env=env,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.isascii()
    assert b"hlt.npz\n" in result.stderr
