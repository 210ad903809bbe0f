"""Steps of one and of two ranks on this machine, and the sums of their gradients."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import BenchError, Options, Peer, Report, Results, Row, compare, mismatch
from bench.peers import Flavour, Worker, started, workers

ALONE, AT_ONCE, WORKERS, MPI = "alone", "2 at once, no sums", "2 workers", "2 ranks, MPI"
BATCHES = (64, 128, 512)
SIZES = tuple(1024 * 4**power for power in range(7))
"""Bytes, 1 KiB to 4 MiB"""

EXCHANGES = 64
"""Sums of a block"""

_ONE = {"OPENBLAS_NUM_THREADS": "1"}
_PATIENCE = 300.0


@dataclass
class Engines:
    """The processes that are compared: by the name of the engine, and what they are checked by."""

    running: dict[str, Worker]
    second: Worker
    referee: Worker
    known: dict[str, Results] = field(default_factory=dict)

    @property
    def pairs(self) -> list[str]:
        """The engines with two ranks."""
        return [name for name in self.running if name != ALONE]

    def expected(self, spec: dict[str, Any]) -> Results:
        """Return the results of a job in float64, computed once."""
        key = json.dumps(spec)
        if key not in self.known:
            self.known[key] = self.referee.peer({**spec, "dtype": "float64"}).check()
        return self.known[key]


def mpiexec() -> str | None:
    """Return the command that starts ranks of MPI, None without mpi4py or without the command."""
    if find_spec("mpi4py") is None:
        return None
    installed = Path(sys.executable).with_name("mpiexec")  # by pip install mpich
    return str(installed) if installed.exists() else shutil.which("mpiexec")


@contextmanager
def engines(report: Report) -> Iterator[Engines]:
    """Start the processes of all engines that there are; the report names those left out."""
    found = [
        Flavour(ALONE, "ranks", _ONE),
        Flavour(WORKERS, "ranks", _ONE, {"workers": 2}),
        Flavour(AT_ONCE, "ranks", _ONE),
        Flavour("reference", "ranks", _ONE),
    ]
    if command := mpiexec():
        launch = (command, "-n", "2")
        found.append(Flavour(MPI, "ranks", _ONE, patience=_PATIENCE, launch=launch))
    else:
        report.notes.append(f"{MPI}: left out; pip install 'gpucnn[mpi]' mpich")
    with workers(found) as processes:
        running = {worker.flavour.name: worker for worker in started(report, processes)}
        second, referee = running.pop(AT_ONCE), running.pop("reference")
        yield Engines(running, second, referee)


def sums(report: Report, options: Options, found: Engines) -> dict[int, Row]:
    """Return the seconds of a sum over two ranks: a row for each size, peers are the engines.

    All sizes are timed also if ``options`` select some cases only: the model needs them.
    """
    rows = {}
    for size in SIZES:
        case = f"sum of {size // 1024:,} KiB"
        if options.out_of_time():
            break
        expected = {"sum": 3 * np.arange(size // 4, dtype=np.float64)}
        peers = [found.running[name].peer({"bytes": size}) for name in found.pairs]
        peers = [replace(peer, count=EXCHANGES) for peer in peers]
        rows[size] = compare(
            case, peers, expected, rounds=options.pick(9), out_of_time=options.out_of_time
        )
        report.rows.append(rows[size])
        options.progress(report)
    return rows


def network_steps(
    report: Report, options: Options, found: Engines, network: str, batches: Sequence[int] = BATCHES
) -> dict[int, Row]:
    """Return the seconds of a step: a row for each batch, peers are the engines.

    One process alone is also timed with the part of each rank, and so are two of them at once,
    which share the machine and nothing else. All are timed in the same rounds.
    """
    parts = [batch // 2 for batch in batches]
    peers = [alone(found, network, batch) for batch in sorted({*batches, *parts})]
    peers += [at_once(found, network, batch) for batch in parts]
    peers += [pair(found, network, name, batch) for name in found.pairs for batch in batches]
    measured = compare(
        network, peers, {}, rounds=options.pick(7), block=0.3, out_of_time=options.out_of_time
    )
    rows: dict[int, Row] = {}
    for key in (*measured.costs, *measured.refused):
        name, _, batch = key.partition("/")
        row = rows.setdefault(int(batch), Row(f"{network}, batch {batch}"))
        if key in measured.costs:
            row.costs[name] = measured.costs[key]
        else:
            row.refused[name] = measured.refused[key]
    rows = dict(sorted(rows.items()))
    report.rows += rows.values()
    options.progress(report)
    return rows


def alone(found: Engines, network: str, batch: int) -> Peer:
    """Return a step of one process; its losses must be those of float64."""
    spec = {"network": network, "batch": batch}
    return checked(found.running[ALONE].peer(spec), f"{ALONE}/{batch}", found, spec)


def pair(found: Engines, network: str, name: str, batch: int) -> Peer:
    """Return a step of two ranks; losses must be those of two workers in float64.

    Batch normalisation takes statistics of parts, so one process has other losses.
    """
    spec = {"network": network, "batch": batch}
    peer = found.running[name].peer(spec)
    return checked(peer, f"{name}/{batch}", found, {**spec, "workers": 2})


def checked(peer: Peer, name: str, found: Engines, spec: dict[str, Any]) -> Peer:
    """Return a peer that compares its results with those of ``spec`` in float64."""

    def check() -> Results:
        reason = mismatch(peer.check(), found.expected(spec), 1e-4)
        if reason is not None:
            raise BenchError(reason)
        return {}

    return Peer(name, check, peer.run)


def at_once(found: Engines, network: str, batch: int) -> Peer:
    """Return a step of two processes at the same time, each with ``batch`` images of its own."""
    spec = {"network": network, "batch": batch}
    both = [found.running[ALONE].peer(spec), found.second.peer(spec)]

    def run(count: int) -> float:
        with ThreadPoolExecutor(2) as threads:
            return max(threads.map(lambda peer: peer.run(count), both))

    return Peer(f"{AT_ONCE}/{batch}", dict, run)
