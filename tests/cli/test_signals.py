"""Signals at every stage of a command: no traceback, the status of the signal, and in good time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small import save_npz, small_data, small_model

import gpucnn.cli
from gpucnn import training
from gpucnn.__main__ import main
from gpucnn.cli.running import _measured
from gpucnn.cli.signals import Interrupted, StopRequest
from gpucnn.training import CheckpointWritten, Event, StepEnded
from gpucnn.training.files import checkpoint

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")

ROOT = Path(gpucnn.__file__).parents[1]


def start(folder: Path, words: list[str], injected: str = "", **env: str) -> subprocess.Popen[str]:
    """Start a command whose process runs the Python code ``injected`` first."""
    (folder / "sitecustomize.py").write_text(textwrap.dedent(injected))
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, "-m", "gpucnn", *words],
        env={**os.environ, "PYTHONPATH": path, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


# Sends a signal to the process itself when the COUNT-th module after gpucnn.__main__ is imported.
AT_AN_IMPORT = """
    import os, sys
    imports = []
    def hook(event, arguments):
        if event == "import" and (imports or arguments[0] == "gpucnn.machine"):
            imports.append(arguments[0])
            if len(imports) == int(os.environ["COUNT"]):
                print(len(imports), file=sys.stderr, flush=True)
                os.kill(os.getpid(), int(os.environ["SIGNAL"]))
    sys.addaudithook(hook)
"""


@pytest.mark.parametrize(
    ("count", "number"),
    [
        (1, signal.SIGINT),
        (20, signal.SIGTERM),
        (60, signal.SIGINT),
        (150, signal.SIGINT),
        (300, signal.SIGTERM),
        (400, signal.SIGINT),
    ],
)
def test_a_signal_while_modules_are_imported(tmp_path: Path, count: int, number: int) -> None:
    """``summary`` imports some 500 modules, among them NumPy, whose import discards exceptions."""
    process = start(tmp_path, ["summary"], AT_AN_IMPORT, COUNT=str(count), SIGNAL=str(int(number)))
    output, error = process.communicate(timeout=60)
    assert (process.returncode, output, error) == (128 + number, "", f"{count}\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_signal_ends_the_reading_of_data(
    tmp_path: Path, command: str, number: int, status: int
) -> None:
    """The data are read from a pipe to which nobody writes."""
    data, model = tmp_path / "data.npz", tmp_path / "model.npz"
    os.mkfifo(data)
    network = gpucnn.models.mlp()
    network.normalization = ((0.1,), (0.3,))
    gpucnn.save_model(network, model)
    words = [command, "--data", str(data), *([str(model)] if command == "evaluate" else [])]
    injected = """
        import gpucnn.data
        load = gpucnn.data.load
        def announced(path, **options):
            print("reading", flush=True)
            return open(path).read()
        gpucnn.data.load = announced
    """
    process = start(tmp_path, words, injected)
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == status
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_reading_of_images(tmp_path: Path, number: int, status: int) -> None:
    """Even if the threads hang in a file, as they may on a network drive."""
    image = pytest.importorskip("PIL.Image")
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(4):
            image.new("L", (8, 8), index).save(tmp_path / f"set/{name}/{index}.png")
    injected = """
        import os, threading, gpucnn.data.folders.decoding as decoding
        def hanging(*arguments):
            os.write(1, b"reading\\n")  # in one piece, whichever threads write
            threading.Event().wait()
        decoding.decode = hanging
    """
    process = start(tmp_path, ["train", "--data", "set", "--model", "mlp"], injected)
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    process.send_signal(number)
    output, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (status, "")
    assert not output.replace("reading\n", "")
    assert not (tmp_path / "runs").exists()


def test_a_hanging_step_ends_with_the_last_checkpoint(tmp_path: Path) -> None:
    """The third step never ends: after the grace time the run ends without it."""
    save_npz(tmp_path / "small.npz", small_data(60))
    words = ["train", "--data", "small.npz", "--model", "mlp", "--out", "my run", "--workers", "1"]
    injected = """
        import threading, gpucnn.training.steps as steps
        run, calls = steps.Steps.run, []
        def hanging(*arguments):
            calls.append(1)
            if len(calls) == 3:
                print("hanging", flush=True)
                threading.Event().wait()
            return run(*arguments)
        steps.Steps.run = hanging
    """
    process = start(tmp_path, [*words, "--batch-size", "4", "--checkpoint-every", "2"], injected)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("mlp on")
    assert process.stdout.readline() == "hanging\n"
    process.send_signal(signal.SIGTERM)
    output, error = process.communicate(timeout=60)
    last = "stopped; the last checkpoint is of step 2. Continue with: "
    assert (process.returncode, error) == (143, "")
    assert output == f"{last}gpucnn train --resume 'my run'\n"
    assert checkpoint.load(tmp_path / "my run").metadata["index"] == 2


def test_a_signal_during_the_evaluation_keeps_the_epoch(tmp_path: Path) -> None:
    """All steps of the epoch are saved; the resumed run evaluates and gives the same weights."""
    save_npz(tmp_path / "small.npz", small_data(60))
    words = ["train", "--data", "small.npz", "--model", "mlp", "--epochs", "2", "--workers", "1"]
    injected = """
        import os, threading, gpucnn.training.run as run
        evaluate = run.evaluate_batches
        def hanging(*arguments):
            print("evaluating", flush=True)
            threading.Event().wait()
        if "HANG" in os.environ:
            run.evaluate_batches = hanging
    """
    process = start(tmp_path, [*words, "--out", "one"], injected, HANG="1")
    assert process.stdout is not None
    while process.stdout.readline() != "evaluating\n":
        pass
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "")
    assert output.endswith("stopped at step 1. Continue with: gpucnn train --resume one\n")
    for again in (["train", "--resume", "one"], [*words, "--out", "other"]):
        process = start(tmp_path, again)
        output, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (0, "")
    contents = [(tmp_path / name / "checkpoint.npz").read_bytes() for name in ("one", "other")]
    assert contents[0] == contents[1]


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    request = StopRequest()
    with request.handling():
        yield request


def test_a_signal_raises_and_sets_the_status(stop: StopRequest) -> None:
    with pytest.raises(Interrupted) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.status == stop.status == 143


def test_a_run_that_reacts_gets_all_the_time_that_it_needs(stop: StopRequest) -> None:
    earlier = signal.getsignal(signal.SIGALRM)
    with stop.finishing_steps():
        assert not stop.requested()
        signal.raise_signal(signal.SIGINT)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        assert stop.requested()
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
        assert signal.getsignal(signal.SIGALRM) == earlier


def test_a_run_that_does_not_react_is_interrupted(
    stop: StopRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop.grace = 0.01
    earlier = signal.getsignal(signal.SIGALRM)
    with stop.finishing_steps():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            threading.Event().wait(30)
    assert signal.getsignal(signal.SIGALRM) == earlier


def test_long_steps_get_twice_their_time() -> None:
    stop = StopRequest()
    for seconds, grace in ((0.001, 1), (3, 6), (1000, 30)):
        stop.expect(seconds)
        assert stop.grace == grace


def test_the_time_for_a_step_follows_from_the_last_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 3 seconds and a checkpoint of 1; the evaluation after the last needs no time."""
    started = next(training.events(small_model(), small_data(), epochs=1))
    steps = [StepEnded(n, 1, n * 35, 1.0, 0.1, lambda: (0.0, 0.0)) for n in (1, 2)]
    events = [started, CheckpointWritten(0, 0, ""), *steps]
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def timed() -> Iterator[Event]:
        for event, seconds in zip(events, (9, 1, 3, 3), strict=True):
            clock[0] += seconds
            yield event

    stop = StopRequest()
    assert [stop.grace for _ in _measured(timed(), stop)] == [1, 2, 8, 1]


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert gpucnn.cli.run(["summary", "--json"]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("function", [main, gpucnn.cli.run])
def test_commands_run_in_any_thread(
    tmp_path: Path, function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the main thread can handle signals."""
    for hook in ("excepthook", "unraisablehook"):  # main replaces them
        monkeypatch.setattr(sys, hook, getattr(sys, hook))
    save_npz(tmp_path / "small.npz", small_data(60))
    words = ["train", "--data", str(tmp_path / "small.npz"), "--model", "mlp", "--epochs", "1"]
    found: list[int] = []
    thread = threading.Thread(
        target=lambda: found.append(function([*words, "--out", str(tmp_path / "out")]))
    )
    thread.start()
    thread.join()
    assert found == [0]
    assert checkpoint.load(tmp_path / "out").metadata["epoch"] == 1


def test_a_file_system_without_fsync_or_locks_warns_in_one_line_each(tmp_path: Path) -> None:
    save_npz(tmp_path / "small.npz", small_data(60))
    injected = """
        import errno, fcntl, os
        def unsupported(*arguments):
            raise OSError(errno.EINVAL, "Invalid argument")
        os.fsync = fcntl.flock = unsupported
    """
    words = ["train", "--data", "small.npz", "--model", "mlp", "--epochs", "3", "--workers", "1"]
    process = start(tmp_path, [*words, "--out", "out"], injected)
    _, error = process.communicate(timeout=60)
    lines = error.splitlines()
    assert process.returncode == 0
    assert [line.partition("support ")[0] for line in lines] == [
        "gpucnn: warning: the file system of out does not "
    ] * 2
    assert checkpoint.load(tmp_path / "out").metadata["epoch"] == 3
