"""What is compared, each in worker processes of its own: gpucnn, PyTorch, and plain loops.

A side is a module with ``about()``, what to note of its process, ``load(spec)``, which makes a Job,
and, where it trains in a process of its own, ``whole(spec)``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """Something to time: ``check`` computes arrays by name, ``run`` does it COUNT times.

    ``run`` returns the seconds that it took; ``check`` leaves what is timed as it was.
    """

    check: Callable[[], dict[str, Any]]
    run: Callable[[int], float]


def timed(function: Callable[[], Any]) -> Callable[[int], float]:
    """Return a Job's ``run`` for a plain function."""

    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            function()
        return time.perf_counter() - began

    return run


def in_blocks(launch: Callable[[int], None], size: int) -> Callable[[int], float]:
    """Return a Job's ``run`` of calls that come in blocks of ``size``, or as if they did not.

    ``launch`` does a number of blocks and waits for them. At least one is timed.
    """

    def run(count: int) -> float:
        blocks = -(-count // size)
        return timed(lambda: launch(blocks))(1) * count / (blocks * size)

    return run


def named(results: Any) -> dict[str, Any]:
    """Return the arrays of an operation's result, which may be one or a tuple, by position."""
    results = results if isinstance(results, (tuple, list)) else (results,)
    return {str(place): x for place, x in enumerate(r for r in results if r is not None)}
