"""The peers of this machine, and how the parent talks to their processes."""

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
    """A side, the environment that its process is given, and what its jobs must know.

    ``spec`` goes into every job's own: "workers", how many processes of gpucnn's train; "backend"
    or "device", where to compute if not on the CPU; "mode", how steps are launched there.
    A process that takes longer than ``patience`` seconds for an answer is ended.
    """

    name: str
    side: str
    env: Mapping[str, str]
    spec: Mapping[str, Any] = field(default_factory=dict)
    patience: float | None = None


def flavours(naive: bool = False, sharing: bool = False) -> list[Flavour]:
    """Return what is compared here; gpucnn's names begin with "gpucnn", PyTorch's with "PyTorch".

    gpucnn has one BLAS thread, as its command line sets it, and OpenBLAS's AVX-512 kernels beside
    the default ones where the CPU has AVX-512. With ``sharing`` there is one more, with the best
    kernels, whose batches as many processes share as there are physical cores. PyTorch has one
    thread, and as many as there are cores.
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
    """Return this process's environment with nothing about threads or kernels but the flavour's."""
    prefixes = ("OPENBLAS_", "OMP_", "MKL_", "KMP_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}
    return {**kept, **flavour.env}


class Worker:
    """The process of a flavour (bench/worker.py), seen from outside."""

    def __init__(self, flavour: Flavour) -> None:
        self.flavour = flavour
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", flavour.side],
            cwd=ROOT,
            env=environment(flavour),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, line: str) -> str:
        """Send a command and return the reply; BenchError if it failed or the process is gone."""
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
        """Wait for a line, no longer than the flavour's patience; end the process else."""
        patience = self.flavour.patience
        if patience is not None and not select([self.process.stdout], [], [], patience)[0]:
            self.process.kill()
            self.process.wait()
            raise BenchError(f"no answer within {patience:.0f} s")

    def results(self, job: str) -> Results:
        """Return the arrays that a job computes."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.npz"
            self.ask(f"check {job} {path}")
            with np.load(path) as arrays:
                return dict(arrays)

    def peer(self, spec: Mapping[str, Any]) -> Peer:
        """Return a job as a peer; it is loaded when it is first checked or run."""

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
        with suppress(BrokenPipeError):  # of what an ended process did not read
            self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def workers(found: list[Flavour]) -> Iterator[list[Worker]]:
    """Start a process for each flavour, and end them all."""
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
    among: Callable[[str, Flavour], bool] = lambda case, flavour: True,
    then: Callable[[Sequence[Worker]], None] = lambda running: None,
    tolerance: Callable[[str], float] = lambda case: 1e-4,
    **settings: Any,
) -> Report:
    """Add a row for each of ``jobs`` (case: spec) to ``report``, its peers in worker processes.

    They are those of ``found`` that are ``among`` a case's. The reference is gpucnn in float64,
    which the tests compare with plain loops. ``then`` is called while the workers still run.
    """
    reference = Flavour("reference", "ours", {"OPENBLAS_NUM_THREADS": "1"})
    with workers([reference, *found]) as (judge, *running):
        for worker in running:
            report.about[worker.flavour.name] = json.loads(worker.ask("about"))
        for case, spec in jobs.items():
            if not options.wants(case):
                continue
            if options.late():
                report.notes.append(f"{case}: left out, the time was up")
                continue
            right = judge.peer({**spec, "dtype": "float64"}).check()
            peers = [worker.peer(spec) for worker in running if among(case, worker.flavour)]
            report.rows.append(
                compare(
                    case,
                    peers,
                    right,
                    rounds=options.pick(rounds),
                    tolerance=tolerance(case),
                    **settings,
                )
            )
        try:
            then(running)
        except BenchError as error:  # the rows stand without
            report.notes.append(f"what goes with the rows is missing: {error}")
    return report


@dataclass(frozen=True)
class Finished:
    """A process that is done: how long it took, its greatest resident memory, what it printed."""

    seconds: float
    megabytes: float
    output: str


def finished(command: list[str], flavour: Flavour) -> Finished:
    """Run a process to its end; BenchError if it fails."""
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
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return Finished(seconds, usage.ru_maxrss * unit / 1e6, output)
