"""GPU: seconds from the first step to 99 % of the test digits, from a warm start, over seeds."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from bench import gpu
from bench.harness import BenchError, Options, Peer, Report, Row, attempted
from bench.peers import workers
from bench.show import cost

GOALS = (0.9905, 0.99)
"""LeCun et al. (1998) report 99.05 %."""
SEEDS = 10
DIGITS = 5e-4
"""By how much NumPy in float64 may judge an accuracy differently: 5 digits in 10,000."""


def run(options: Options) -> Report:
    """Return a row for each goal, a column for each way to launch, a cost for each seed."""
    found = gpu.ours(options, ("fused", "captured"))
    report = gpu.report("to an accuracy on the test digits, recipe fast, evaluations in", options)
    report.peers = False  # PyTorch is no column here
    goals = options.size(GOALS, (0.05, 1.1))
    report.rows = [Row(f"to {goal:.2%}") for goal in goals]
    report.about["seeds"] = {flavour.name: [] for flavour in found}
    spec: dict[str, Any] = {
        "kind": "accuracy",
        "goal": goals[0],
        "images": options.size(60_000, 128),
        "test": options.size(10_000, 128),
        "settings": options.size({}, {"epochs": 2, "batch_size": 64}),
    }
    with workers(found) as running:
        left = [worker.peer(spec) for worker in running]
        for _ in range(options.pick(options.size(SEEDS, 1))):
            if options.late():
                break
            # One that fails is refused in the first row, and says so beneath.
            left = attempted(report.rows[0], left, lambda peer: add(report, goals, peer))
    for row, goal in zip(report.rows, goals, strict=True):
        report.notes += [summary(report, row, goal, flavour.name) for flavour in found]
    return report


def add(report: Report, goals: tuple[float, ...], peer: Peer) -> None:
    """Run a seed and add it to every row; NumPy must judge the last weights alike."""
    peer.run(1)
    name, run = peer.name, peer.check()
    times, accuracies = run["seconds"], run["accuracies"]
    if not abs(float(run["judged"]) - accuracies[-1]) <= DIGITS:
        raise BenchError(f"{name}: {accuracies[-1]:.4f}, but {run['judged']:.4f} by NumPy")
    for row, goal in zip(report.rows, goals, strict=True):
        reached = times[accuracies >= goal]
        row.costs.setdefault(name, []).append(float(reached[0]) if len(reached) else math.inf)
    kept = {"seed": int(run["seed"]), "seconds": times.tolist(), "accuracies": accuracies.tolist()}
    report.about["seeds"][name].append(kept)


def summary(report: Report, row: Row, goal: float, name: str) -> str:
    """Return a peer's median, how many seeds got there, and when and how far each one did."""
    runs, times = report.about["seeds"][name], row.costs.get(name, [])
    if not times:
        return f"{row.case}, {name}: {report.rows[0].refused.get(name, 'the time was up')}"
    each = []
    for run in runs:
        when = [place for place, right in enumerate(run["accuracies"], 1) if right >= goal]
        place = f"epoch {when[0]}" if when else "never"
        each.append(f"{place}, at the end {run['accuracies'][-1]:.2%}")
    there = sum(map(math.isfinite, times))
    return (
        f"{row.case}, {name}: median {cost(median(times), 's')}, {there} of {len(times)} seeds "
        f"({'; '.join(each)})"
    )
