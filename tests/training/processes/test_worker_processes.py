"""Worker processes of a command or a script: signals, custom files, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small import save_npz, small_data

import gpucnn

COMMAND = [sys.executable, "-m", "gpucnn"]


def test_workers_end_with_the_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import gpucnn\n"
        "if __name__ == '__main__':\n"
        f"    data = gpucnn.data.load({str(tmp_path / 'small.npz')!r})\n"
        "    model = gpucnn.models.mlp(channels=1, size=(8, 8), classes=4)\n"
        "    events = gpucnn.training.events(model, data, workers=2)\n"
        "    print(next(events).name)\n"
    )
    save_npz(tmp_path / "small.npz", small_data())
    words = [sys.executable, str(script)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "start\n", "")


def command(folder: Path, *options: str) -> list[str]:
    data = folder / "small.npz"
    save_npz(data, small_data(400))
    words = ["train", "--data", str(data), "--model", "mlp", "--batch-size", "4", "--workers", "2"]
    return [*COMMAND, *words, "--out", str(folder / "out"), *options]


def wait_for_log(folder: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    path = folder / "out" / "log.jsonl"
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def running(group: int) -> list[int]:
    """Return the processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has ended
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def start_run(folder: Path) -> subprocess.Popen[str]:
    """Start a long run in a session of its own, and wait until it has trained two epochs."""
    process = subprocess.Popen(
        command(folder, "--epochs", "2000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for_log(folder, '"epoch": 2,')
    return process


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_the_first_process_handles_signals_to_all(tmp_path: Path, number: int, status: int) -> None:
    """Terminals and service managers signal all processes; killing the first ends the others."""
    process = start_run(tmp_path)
    assert len(running(process.pid)) >= 2
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)
    output, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (status, "")
    assert number == signal.SIGKILL or "gpucnn train --resume" in output
    deadline = time.monotonic() + 30
    while running(process.pid):
        assert time.monotonic() < deadline, "a worker outlived its run"
        time.sleep(0.02)
    assert gpucnn.load_model(tmp_path / "out").input_shape == (1, 8, 8)


def is_worker(pid: int) -> bool:
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("signals", [1, 2])
def test_a_suspended_worker_does_not_hold_up_a_signal(tmp_path: Path, signals: int) -> None:
    """One signal ends the run after the grace time, a second one at once."""
    process = start_run(tmp_path)
    (worker,) = (pid for pid in running(process.pid) if is_worker(pid))
    os.kill(worker, signal.SIGSTOP)
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (130, "")
    assert signals == 2 or "gpucnn train --resume" in output.splitlines()[-1]
    assert gpucnn.load_model(tmp_path / "out").input_shape == (1, 8, 8)
    assert worker not in running(process.pid)


def test_custom_layers_reach_the_workers_and_a_resume_keeps_their_number(tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(
        "from gpucnn import Sequential\n"
        "from gpucnn.nn import Flatten, Linear, ReLU\n"
        "class CustomReLU(ReLU):\n"
        "    pass\n"
        "class Net(Sequential):\n"
        "    pass\n"
        "def build(channels, size, classes):\n"
        "    rest = [CustomReLU(), Linear(channels * size[0] * size[1], classes)]\n"
        "    return Net([Flatten(), *rest], (channels, *size))\n"
    )
    words = command(tmp_path, "--epochs", "1", "--limit", "20")
    words[words.index("mlp")] = f"{tmp_path}/mynet.py:build"
    at = words.index("--workers")
    for each in (words, [*words[:at], *words[at + 2 :], "--resume"]):
        done = subprocess.run(each, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ", 2 processes\n" in done.stdout


def test_a_script_without_a_guard_gets_a_hint(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import gpucnn\n"
        f"data = gpucnn.data.load({str(tmp_path / 'small.npz')!r})\n"
        "model = gpucnn.models.mlp(channels=1, size=(8, 8), classes=4)\n"
        "gpucnn.fit(model, data, workers=2)\n"
    )
    save_npz(tmp_path / "small.npz", small_data())
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "WorkerError: worker 1 exited with status 1 before it was ready" in last
    assert "`if __name__ == '__main__':`" in last
