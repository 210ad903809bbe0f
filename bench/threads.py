"""The Python API next to gpucnn train: the same weights and the same time, also on busy cores.

Neither has OPENBLAS_NUM_THREADS set. Each process trains on 6,000 digits for two epochs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.harness import Options, Peer, Report, Results, Row, compare
from bench.peers import Completed, Flavour, run_process
from gpucnn.machine import openblas

API = """
import sys
import gpucnn
data, model = gpucnn.data.mnist().limit(6000), gpucnn.models.lenet5()
history = gpucnn.fit(model, data, epochs=2, backend="numpy", checkpoint=sys.argv[1])
print(sum(history["seconds"]))
"""
TRAIN = ["--backend", "numpy", "--workers", "1", "--limit", "6000", "--epochs", "2", "--out"]
SPIN = "while True: pass"


def run(options: Options) -> Report:
    """Return the seconds of processes and of their epochs, idle and next to busy processes."""
    report = Report("Python API and command line, 6,000 images, two epochs", compares_pytorch=False)
    for busy in (0, 2):
        state = f"{busy} busy processes" if busy else "idle"
        if not options.selects(state):
            continue
        if options.out_of_time():
            report.notes.append(f"{state}: left out, no time left")
            continue
        epochs = Row(f"epochs, {state}")
        with spinning(busy), tempfile.TemporaryDirectory() as folder:
            peers = [process(name, Path(folder), epochs) for name in ("api", "command")]
            reference = peers[1].check()
            row = compare(
                f"process, {state}", peers, reference, rounds=options.pick(7), tolerance=0.0
            )
        for each in (row, epochs):
            report.rows.append(each)
            if "api" in row.costs and "command" in row.costs:
                middle, least, greatest = each.ratio("api", "command")
                report.notes.append(
                    f"{each.case}: API / command line {middle:.2f} ({least:.2f}-{greatest:.2f})"
                )
    return report


@contextmanager
def spinning(number: int) -> Iterator[None]:
    """Keep ``number`` processes busy within the block."""
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def process(name: str, folder: Path, epochs: Row) -> Peer:
    """Return "api" or "command" as a peer; its results are its weights, bit for bit.

    The seconds of its epochs, without evaluation, are added to the row ``epochs``.
    """
    environment = dict[str, str]()
    openblas.prepare(environment)  # the API cannot choose kernels: both get the same
    del environment[openblas.THREADS]
    flavour = Flavour(name, "", environment)

    def train() -> tuple[Completed, Path]:
        out = Path(tempfile.mkdtemp(dir=folder))
        api = ["-c", API, str(out / "checkpoint.npz")]
        arguments = api if name == "api" else ["-m", "gpucnn", "train", *TRAIN, str(out)]
        return run_process([sys.executable, *arguments], flavour), out

    def check() -> Results:
        with np.load(train()[1] / "checkpoint.npz") as arrays:
            return {key: arrays[key] for key in arrays.files if key.startswith("parameters/")}

    def cost(count: int) -> float:
        done, out = train()
        log = out / "log.jsonl"
        seconds = logged_seconds(log) if log.exists() else float(done.output)
        epochs.costs.setdefault(name, []).append(seconds)
        return done.seconds

    return Peer(name, check, cost, count=1)


def logged_seconds(log: Path) -> float:
    """Return the seconds of all epochs in a run's log."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return sum(event["seconds"] for event in events if event["event"] == "epoch")
