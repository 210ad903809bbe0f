"""What is compared on this machine, and the parent's side of the worker processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from select import select
from typing import Any

import numpy as np

from bench import machine
from bench.harness import BenchError, Options, Peer, Report, Results, compare
from gpucnn.machine import processor

ROOT = Path(__file__).parents[1]
HAS_TORCH = find_spec("torch") is not None


@dataclass(frozen=True)
class Flavour:
    """A side, the environment of its process, and settings for its jobs.

    ``spec`` is added to every job's own: "workers", the number of gpucnn's training processes;
    "backend" or "device", if not the CPU; "mode", how training steps are launched there.
    A process that takes longer than ``patience`` seconds for a reply is ended. ``launch`` is a
    command that starts several processes of one that is appended to it; the first one replies.
    """

    name: str
    side: str
    env: Mapping[str, str]
    spec: Mapping[str, Any] = field(default_factory=dict)
    patience: float | None = None
    launch: tuple[str, ...] = ()


def flavours(naive: bool = False, sharing: bool = False) -> list[Flavour]:
    """Return what is compared here; names start with "gpucnn" or "PyTorch".

    gpucnn has one BLAS thread, as it sets it itself for training. Where the CPU has AVX-512, it is
    timed with OpenBLAS's default kernels and with those for AVX-512. ``sharing`` adds gpucnn with
    one worker process for each physical core. PyTorch is timed with one thread and with one for
    each core. ``naive`` adds plain loops.
    """
    one = {"OPENBLAS_NUM_THREADS": "1"}
    found = [Flavour("gpucnn", "ours", one)]
    if processor.has_avx512():
        found.append(Flavour("gpucnn avx512", "ours", {**one, "OPENBLAS_CORETYPE": "SkylakeX"}))
    count = processor.cores()
    if sharing and count > 1:
        found.append(Flavour(f"gpucnn {count} workers", "ours", found[-1].env, {"workers": count}))
    if HAS_TORCH:
        for threads in sorted({1, machine.cores()}):
            name = f"PyTorch {threads} thread{'s' * (threads > 1)}"
            found.append(Flavour(name, "pytorch", {"OMP_NUM_THREADS": str(threads)}))
    if naive:
        found.append(Flavour("loops", "naive", one))
    return found


def environment(flavour: Flavour) -> dict[str, str]:
    """Return this process's environment with the flavour's variables for threads and kernels."""
    prefixes = ("OPENBLAS_", "OMP_", "MKL_", "KMP_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}
    return {**kept, **flavour.env}


class Worker:
    """A flavour's process, which runs bench/worker.py."""

    def __init__(self, flavour: Flavour) -> None:
        self.flavour = flavour
        self.process = subprocess.Popen(
            [*flavour.launch, sys.executable, "-m", "bench.worker", flavour.side],
            cwd=ROOT,
            env=environment(flavour),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, line: str) -> str:
        """Send a command and return the reply; BenchError if it failed or the process ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            self._await()
            reply = self.process.stdout.readline().strip()
        except BrokenPipeError:
            reply = ""
        if not reply or reply.startswith("error "):
            ended = f"the process of {self.flavour.name} ended"
            raise BenchError(reply.removeprefix("error ") or ended)
        return reply

    def _await(self) -> None:
        """Wait for a line; end the process if that takes longer than the flavour's patience."""
        patience = self.flavour.patience
        if patience is not None and not select([self.process.stdout], [], [], patience)[0]:
            self.process.kill()
            self.process.wait()
            raise BenchError(f"no reply within {patience:.0f} s")

    def results(self, job: str) -> Results:
        """Return the arrays that a job computes."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.npz"
            self.ask(f"check {job} {path}")
            with np.load(path) as arrays:
                return dict(arrays)

    def peer(self, spec: Mapping[str, Any]) -> Peer:
        """Return a job as a peer; it is loaded on its first check or run."""

        @cache
        def job() -> str:
            return self.ask("load " + json.dumps({**spec, **self.flavour.spec}))

        return Peer(
            self.flavour.name,
            lambda: self.results(job()),
            lambda count: float(self.ask(f"run {job()} {count}")),
        )

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # an ended process did not read everything
            self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def workers(found: list[Flavour]) -> Iterator[list[Worker]]:
    """Start a process for each flavour, and end all of them afterwards."""
    running: list[Worker] = []
    try:
        running.extend(Worker(flavour) for flavour in found)
        yield running
    finally:
        for worker in running:
            worker.close()


def compare_jobs(
    report: Report,
    jobs: Mapping[str, dict[str, Any]],
    options: Options,
    found: Sequence[Flavour],
    *,
    rounds: int,
    includes: Callable[[str, Flavour], bool] = lambda case, flavour: True,
    afterwards: Callable[[Sequence[Worker]], None] = lambda running: None,
    tolerance: Callable[[str], float] = lambda case: 1e-4,
    **settings: Any,
) -> Report:
    """Add a row to ``report`` for each of ``jobs`` (case: spec), with peers in worker processes.

    The peers of a case are the flavours in ``found`` that ``includes`` accepts. The reference is
    gpucnn in float64, which the tests compare with plain loops. ``afterwards`` is called with the
    workers that could be started, while they still run.
    """
    reference = Flavour("reference", "ours", {"OPENBLAS_NUM_THREADS": "1"})
    with workers([reference, *found]) as (referee, *others):
        running = started(report, others)
        for case, spec in jobs.items():
            if not options.selects(case):
                continue
            if options.out_of_time():
                report.notes.append(f"{case}: left out, no time left")
                continue
            expected = referee.peer({**spec, "dtype": "float64"}).check()
            peers = [worker.peer(spec) for worker in running if includes(case, worker.flavour)]
            report.rows.append(
                compare(
                    case,
                    peers,
                    expected,
                    rounds=options.pick(rounds),
                    tolerance=tolerance(case),
                    out_of_time=options.out_of_time,
                    **settings,
                )
            )
            options.progress(report)
        try:
            afterwards(running)
        except BenchError as error:  # the rows are complete without it
            report.notes.append(f"the figures below the rows are missing: {error}")
    return report


def started(report: Report, found: Sequence[Worker]) -> list[Worker]:
    """Return the workers that reply; note their versions, and why the others are left out."""
    running = []
    for worker in found:
        try:
            report.about[worker.flavour.name] = json.loads(worker.ask("about"))
            running.append(worker)
        except BenchError as error:
            report.notes.append(f"{worker.flavour.name}: left out, {error}")
    return running


@dataclass(frozen=True)
class Completed:
    """A process that has ended: its duration, its peak resident memory, its standard output."""

    seconds: float
    megabytes: float
    output: str


def run_process(command: list[str], flavour: Flavour) -> Completed:
    """Run a process until it ends; BenchError if its status is not 0."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(flavour), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as stream:
        output = stream.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"{' '.join(command)} ended with status {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return Completed(seconds, usage.ru_maxrss * unit / 1e6, output)
