"""Ranks of MPI: the bytes of workers, also after signals and kills, and faults that end all."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mpi_program
import pytest
from mpi import mpiexec, needs_mpi, rank_of
from small import save_npz, small_data, small_model

from gpucnn import training
from gpucnn.training.files import checkpoint

pytestmark = [needs_mpi, pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")]


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_give_the_bytes_of_workers_also_when_resumed(tmp_path: Path, size: int) -> None:
    command = mpiexec(size, mpi_program.__file__, str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "refused\n" * size, "")
    path = tmp_path / "workers.npz"
    options = {**mpi_program.OPTIONS, "workers": size, "checkpoint": path}
    list(training.events(small_model(seed=1), small_data(), **options))
    for name in ("straight.npz", "resumed.npz"):
        assert (tmp_path / name).read_bytes() == path.read_bytes(), name
    assert not (tmp_path / "never.npz").exists()


class Ranks:
    """``gpucnn train`` as two ranks in a session of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.log, self.variable = folder / "log.jsonl", f"GPUCNN_TEST_RUN={random.random()}"
        name, _, value = self.variable.partition("=")
        self.process = subprocess.Popen(
            mpiexec(2, "-m", "gpucnn", "train", "--backend", "numpy", *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, name: value},
        )

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while not (self.log.exists() and text in self.log.read_text()):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def running(self) -> dict[int, int | None]:
        """The processes of this run, with their ranks."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                mine = self.variable.encode() in (place / "environ").read_bytes().split(b"\0")
                state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:  # it has ended
                continue
            if mine and state != "Z":
                found[int(place.name)] = rank_of(int(place.name))
        return found

    def send(self, number: int, rank: int) -> None:
        (pid,) = (pid for pid, its in self.running().items() if its == rank)
        os.kill(pid, number)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return status and output. Nothing is left running."""
        output, error = self.process.communicate(timeout=60)
        wait_until(lambda: not self.running())
        return self.process.returncode, output, error


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def words(folder: Path, out: str) -> list[str]:
    data = folder / "small.npz"
    if not data.exists():
        save_npz(data, small_data(100))
    rest = ["--model", "mlp", "--batch-size", "8", "--epochs", "8", "--checkpoint-every", "5"]
    return ["--data", str(data), *rest, "--out", str(folder / out)]


def shared_memory() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("mpich")}


def test_a_run_that_is_killed_and_stopped_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL to one rank ends all; SIGTERM to one stops all after the same step, saved."""
    straight, resumed, before = tmp_path / "straight", tmp_path / "out", shared_memory()
    ranks = Ranks(straight, *words(tmp_path, "straight"))
    assert ranks.end()[0] == 0
    ranks = Ranks(resumed, *words(tmp_path, "out"))
    ranks.wait_for('"epoch": 2,')
    time.sleep(random.random() / 20)
    ranks.send(signal.SIGKILL, random.randrange(2))
    assert ranks.end()[0] != 0
    ranks = Ranks(resumed, "--resume", str(resumed))
    ranks.wait_for('"epoch": 4,')
    ranks.send(signal.SIGTERM, 1)
    status, output, error = ranks.end()
    assert (status, error) == (143, "")
    assert f"Continue with: mpiexec -n 2 gpucnn train --resume {resumed}" in output
    ranks = Ranks(resumed, "--resume", str(resumed))
    assert ranks.end()[0] == 0
    files = [folder / "checkpoint.npz" for folder in (straight, resumed)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert shared_memory() == before


@pytest.mark.parametrize("words", [["--nonsense"], ["--group", "nonsense"]])
def test_an_error_in_the_options_of_any_rank_is_one_line_and_ends_all(words: list[str]) -> None:
    one, other = (mpiexec(1, "-m", "gpucnn", "train", *rest) for rest in ([], words))
    for command in ([*one, ":", *other[1:]], mpiexec(2, *other[4:])):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "nonsense" in done.stderr


def test_a_suspended_rank_ends_all_with_one_line(tmp_path: Path) -> None:
    out, before = tmp_path / "out", shared_memory()
    ranks = Ranks(out, *words(tmp_path, "out"), "--epochs", "3000")
    ranks.wait_for('"epoch": 2,')
    ranks.send(signal.SIGSTOP, 1)
    _, _, error = ranks.end()
    saved = checkpoint.load(out / "checkpoint.npz").metadata
    step = 13 * saved["epoch"] + saved["index"]
    line = f"gpucnn: rank 1 does not respond: stopped after step {step}; checkpoint saved to"
    assert error == f"{line} {out / 'checkpoint.npz'}\n"
    assert shared_memory() == before
