"""gpucnn in one process, in workers of one machine, and in processes that ``mpiexec`` started."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

import gpucnn
from bench.sides import Job, timed
from bench.sides.ours import about as about
from bench.sides.ours import fit, mnist, stepping, steps
from bench.start import MEAN, STD
from gpucnn.training import Group, make_group
from gpucnn.training.processes.shared import SharedArrays, receive, send

RUNS: list[Iterator[Any]] = []
"""The events of runs that were started"""

ENDING = False
"""Whether they are to stop"""


@cache
def group() -> Group:
    """Return the processes that were started together with this one."""
    return make_group()


def commands() -> Iterator[str]:
    """Yield the lines of rank 0's standard input there; the other ranks do the same jobs."""
    jobs = list[Job]()
    while line := group().broadcast(sys.stdin.readline() if group().rank == 0 else ""):
        if group().rank == 0:
            yield line
        else:
            follow(jobs, *line.strip().split(" ", 1))
    end_runs()
    group().close()


def end_runs() -> None:
    """Let all runs stop after one more step, on all ranks together."""
    global ENDING
    ENDING = True
    for events in RUNS:
        for _ in events:
            pass


def follow(jobs: list[Job], command: str, rest: str = "") -> None:
    """Do what rank 0 does for a command, without a reply."""
    if command == "load":
        jobs.append(load(json.loads(rest)))
    elif command == "check":
        jobs[int(rest.split(" ")[0])].check()
    elif command == "run":
        number, count = map(int, rest.split(" "))
        jobs[number].run(count)


def load(spec: dict[str, Any]) -> Job:
    """Return the job that ``spec`` describes: steps of a "network", or sums of "bytes"."""
    if "network" in spec:
        return step(spec)
    return shared_sum(spec) if spec.get("workers", 1) > 1 else group_sum(spec)


def step(spec: dict[str, Any]) -> Job:
    """Training steps on MNIST; the time between epochs is not counted."""
    digits = replace(mnist(), test=mnist().test.limit(128))

    def events(data: gpucnn.Data, epochs: int) -> Iterator[Any]:
        model = getattr(gpucnn.models, spec["network"])(seed=0)
        model.to(gpucnn.get_backend("numpy", spec.get("dtype", "float32")))
        model.normalization = (MEAN,), (STD,)
        return fit(
            model, data, epochs, spec["batch"],
            workers=spec.get("workers", 1), group=group(), should_stop=lambda: ENDING,
        )  # fmt: skip

    def check() -> dict[str, Any]:
        # To its end: a rank that leaves a run early has failed.
        found = steps(events(digits.limit(3 * spec["batch"]), 1))
        return {"losses": [event.metrics()[0] for event in found]}

    @cache
    def endless() -> Callable[[int], float]:
        RUNS.append(events(digits, 10**6))
        return stepping(RUNS[-1])

    return Job(check, lambda count: endless()(count))


WINDOW = 4
"""Exchanges that are timed together: in a single one, a rank that is late does not wait"""


def undisturbed(exchange: Callable[[], None]) -> Callable[[int], float]:
    """Return the ``run`` of a Job whose cost is that of the fastest exchanges of a block.

    An exchange takes microseconds, and milliseconds if another process has the core of one rank.
    """
    window = timed(exchange)

    def run(count: int) -> float:
        return count * min(window(WINDOW) / WINDOW for _ in range(-(-count // WINDOW)))

    return run


def group_sum(spec: dict[str, Any]) -> Job:
    """The messages of a step: a sum of ``bytes`` over the ranks, and whether all continue."""
    values = np.zeros(spec["bytes"] // 4, np.float32)
    totals = np.zeros(2)

    def exchange() -> None:
        group().sum(values, totals)
        group().any(False)

    def check() -> dict[str, Any]:
        summed = np.arange(values.size, dtype=np.float32) * (group().rank + 1)
        group().sum(summed, totals)
        return {"sum": summed}

    return Job(check, undisturbed(exchange))


def shared_sum(spec: dict[str, Any]) -> Job:
    """The messages and the sum of a step of two workers, without the gradients themselves."""
    size = spec["bytes"] // 4
    layers = {"flatten": gpucnn.nn.Flatten(), "fc": gpucnn.nn.Linear(size - 1, 1)}
    model = gpucnn.Sequential(layers, (1, 1, size - 1)).to("numpy")
    shared = SharedArrays(model, 2, 1)
    context = multiprocessing.get_context("spawn")
    own, other = context.Pipe()
    context.Process(target=reply_always, args=(other, shared), daemon=True).start()
    other.close()
    receive(own, shared.replies[1])  # it has started

    def add() -> None:
        send(own, (1, 1, None), shared.requests[1])
        receive(own, shared.replies[1])
        shared.grads[0] += shared.grads[1]

    def check() -> dict[str, Any]:
        for rank, row in enumerate(shared.grads, 1):
            row[:size] = np.arange(size, dtype=np.float32) * rank
        add()
        summed = shared.grads[0, :size].copy()
        shared.grads[...] = 0
        return {"sum": summed}

    return Job(check, undisturbed(add))


def reply_always(connection: Connection, shared: SharedArrays) -> None:
    """Reply to each message, until the connection closes."""
    with suppress(EOFError, OSError):
        while True:
            send(connection, [0.0, 0.0], shared.replies[1])
            receive(connection, shared.requests[1])
