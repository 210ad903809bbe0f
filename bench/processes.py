"""Processes that import, train an epoch and evaluate, as peers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from bench.harness import BenchError, Peer, Results
from bench.peers import Completed, Flavour, run_process

CHECK_STEPS = 20


def training(flavour: Flavour, **spec: Any) -> tuple[Completed, dict[str, float]]:
    """Run a process of ``flavour``; return its cost, and its loss and accuracy."""
    spec = {"batch": 64, "steps": None, **flavour.spec, **spec}
    command = [sys.executable, "-m", "bench.whole", flavour.side, json.dumps(spec)]
    done = run_process(command, flavour)
    return done, json.loads(done.output)


def check(flavour: Flavour, start: str, dtype: str = "float32") -> Results:
    """Return the loss and accuracy after 20 steps on the images of the start file's order."""
    return training(flavour, start=start, images=60_000, steps=CHECK_STEPS, dtype=dtype)[1]


def peer(
    flavour: Flavour, start: str, images: int, batch: int, cost: Callable[[Completed], float]
) -> Peer:
    """Return a process of ``flavour`` as a peer; ``cost`` computes its cost."""

    def run(count: int) -> float:
        total = 0.0
        for _ in range(count):
            done, figures = training(flavour, start=start, images=images, batch=batch)
            if images == 60_000 and figures["accuracy"] < 0.95:
                raise BenchError(f"{flavour.name} did not learn: {figures}")
            total += cost(done)
        return total

    return Peer(flavour.name, lambda: check(flavour, start), run, count=1)
