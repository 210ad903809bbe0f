"""The sides of a comparison, in separate worker processes: gpucnn, PyTorch and plain loops.

A side is a module with ``about()``, which returns versions and threads, ``load(spec)``, which
returns a Job, and, if it trains in whole processes, ``whole(spec)``; if it is several processes
that were started together, ``commands()``, which yields the lines of the first one's input there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """Work to time: ``check`` returns arrays by name, ``run`` does the work COUNT times.

    ``run`` returns the elapsed seconds. ``check`` does not change what is timed.
    """

    check: Callable[[], dict[str, Any]]
    run: Callable[[int], float]


def timed(function: Callable[[], Any]) -> Callable[[int], float]:
    """Return the ``run`` of a Job for a function without arguments."""

    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            function()
        return time.perf_counter() - began

    return run


def in_blocks(launch: Callable[[int], None], size: int) -> Callable[[int], float]:
    """Return the ``run`` of a Job whose calls are launched in blocks of ``size``.

    ``launch`` runs a number of blocks and waits for them. The time is scaled to the count asked
    for; at least one block is timed.
    """

    def run(count: int) -> float:
        blocks = -(-count // size)
        return timed(lambda: launch(blocks))(1) * count / (blocks * size)

    return run


def by_position(results: Any) -> dict[str, Any]:
    """Return the arrays in an operation's result, one or a tuple, by their positions."""
    results = results if isinstance(results, (tuple, list)) else (results,)
    return {str(index): x for index, x in enumerate(r for r in results if r is not None)}
