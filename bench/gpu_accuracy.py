"""GPU: seconds from the first step to 99 % of the test digits, ten seeds, warm."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from bench import gpu
from bench.harness import BenchError, Options, Peer, Report, Row, attempt_each
from bench.peers import workers
from bench.show import cost

GOALS = (0.9905, 0.99)
"""LeCun et al. (1998) report 99.05 %."""
SEEDS = 10
DIGITS = 5e-4
"""Greatest difference from the accuracy by NumPy in float64: 5 digits in 10,000."""


def run(options: Options) -> Report:
    """Return a row for each goal, a column for each launch mode, a cost for each seed."""
    found = gpu.ours(options, ("fused", "captured"))
    report = gpu.report(
        "to an accuracy on the test digits, recipe fast, evaluations included", options
    )
    report.compares_pytorch = False
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
            if options.out_of_time():
                break
            # A peer that fails is refused in the first row; the reason is printed below.
            left = attempt_each(report.rows[0], left, lambda peer: add(report, goals, peer))
            options.progress(report)
    for row, goal in zip(report.rows, goals, strict=True):
        report.notes += [summary(report, row, goal, flavour.name) for flavour in found]
    return report


def add(report: Report, goals: tuple[float, ...], peer: Peer) -> None:
    """Run a seed and add it to every row; NumPy must confirm the last accuracy."""
    peer.run(1)
    name, run = peer.name, peer.check()
    times, accuracies = run["seconds"], run["accuracies"]
    if not abs(float(run["reference"]) - accuracies[-1]) <= DIGITS:
        raise BenchError(f"{name}: {accuracies[-1]:.4f}, but {run['reference']:.4f} by NumPy")
    for row, goal in zip(report.rows, goals, strict=True):
        reached = times[accuracies >= goal]
        row.costs.setdefault(name, []).append(float(reached[0]) if len(reached) else math.inf)
    kept = {"seed": int(run["seed"]), "seconds": times.tolist(), "accuracies": accuracies.tolist()}
    report.about["seeds"][name].append(kept)


def summary(report: Report, row: Row, goal: float, name: str) -> str:
    """Return a peer's median, and for each seed the epoch of the goal and the final accuracy."""
    runs, times = report.about["seeds"][name], row.costs.get(name, [])
    if not times:
        return f"{row.case}, {name}: {report.rows[0].refused.get(name, 'no time left')}"
    each = []
    for run in runs:
        epochs = [n for n, value in enumerate(run["accuracies"], 1) if value >= goal]
        first = f"epoch {epochs[0]}" if epochs else "never"
        each.append(f"{first}, at the end {run['accuracies'][-1]:.2%}")
    there = sum(map(math.isfinite, times))
    return (
        f"{row.case}, {name}: median {cost(median(times), 's')}, {there} of {len(times)} seeds "
        f"({'; '.join(each)})"
    )
