"""How everything is measured: verified, warmed up, interleaved, and compared round by round.

A round times every peer once, each round beginning with another, so that what disturbs the machine
for a while disturbs all. A ratio is taken within a round, and the median of the rounds' ratios is
what is reported, with the least and the greatest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
Results = Mapping[str, Any]

PAUSE = 0.02
"""Seconds before each block: the threads of the peer before it stop waiting for work by then."""

BEGAN = time.monotonic()
"""When this process began, for ``Options.late``."""


class BenchError(Exception):
    """Something that is compared could not be run."""


@dataclass(frozen=True)
class Options:
    """What the command line asks of a bench."""

    rounds: int | None = None
    quick: bool = False
    only: str = ""
    rehearse: bool = False
    seconds: float | None = None
    write: bool = False

    def pick(self, rounds: int) -> int:
        """Return how many rounds to do, where a bench does ``rounds`` by default."""
        return self.rounds or (min(rounds, 2) if self.quick else rounds)

    def wants(self, case: str) -> bool:
        """Return whether a case is asked for."""
        return self.only in case

    def late(self) -> bool:
        """Return whether the time is up: what runs then is finished, and nothing else begun."""
        return self.seconds is not None and time.monotonic() - BEGAN > self.seconds

    def size(self, full: T, rehearsed: T) -> T:
        """Return how much to do: ``rehearsed`` where a GPU's bench is tried out without one."""
        return rehearsed if self.rehearse else full


@dataclass(frozen=True)
class Peer:
    """One way to do the work: its results, and a block of COUNT runs, which returns its cost.

    The cost is seconds, or another unit that adds up. ``count`` fixes how many runs a block has;
    without it a block takes about as long as ``compare`` is told.
    """

    name: str
    check: Callable[[], Results]
    run: Callable[[int], float]
    count: int | None = None


@dataclass
class Row:
    """The figures of one case: a cost for each peer and round, and why a peer has none."""

    case: str
    unit: str = "s"
    costs: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Return a peer's median cost."""
        return median(self.costs[name])

    def best(self, prefix: str) -> str | None:
        """Return the peer of the least median cost among those whose names begin so."""
        names = [name for name in self.costs if name.startswith(prefix)]
        return min(names, key=self.median) if names else None

    def ratio(self, name: str, over: str) -> tuple[float, float, float]:
        """Return the median, least and greatest of the rounds' costs of ``name`` over ``over``."""
        pairs = zip(self.costs[name], self.costs[over], strict=True)
        ratios = [one / other for one, other in pairs]
        return median(ratios), min(ratios), max(ratios)

    def split(self, column: str) -> list[Row]:
        """Return a row for each peer, all in one ``column``: to show peers as cases."""
        return [Row(name, self.unit, {column: costs}) for name, costs in self.costs.items()]


@dataclass
class Report:
    """What a bench found: rows, and lines of text beneath them.

    ``peers`` is whether PyTorch is a column, or would be if it were installed.
    """

    title: str
    rows: list[Row] = field(default_factory=list)
    peers: bool = True
    notes: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)


def rotated(peers: Sequence[Peer], number: int) -> list[Peer]:
    """Return the order of a round: each begins one peer further on."""
    start = number % len(peers) if peers else 0
    return [*peers[start:], *peers[:start]]


def fault(results: Results, reference: Results, tolerance: float) -> str | None:
    """Return what is wrong with ``results``, None if nothing.

    An array's error is its greatest difference, over the greatest element of the reference.
    """
    if set(results) != set(reference):
        return f"results are {sorted(results)}, wanted {sorted(reference)}"
    for name, wanted in reference.items():
        got, wanted = np.asarray(results[name], np.float64), np.asarray(wanted, np.float64)
        if got.shape != wanted.shape:
            return f"{name} is {got.shape}, wanted {wanted.shape}"
        scale = float(np.abs(wanted).max(initial=0)) or 1.0
        error = float(np.abs(got - wanted).max(initial=0)) / scale
        if not error <= tolerance:  # so that NaN is refused
            return f"{name} is off by {error:.1e}, allowed {tolerance:.0e}"
    return None


def compare(
    case: str,
    peers: Sequence[Peer],
    reference: Results,
    *,
    rounds: int,
    block: float = 0.2,
    tolerance: float = 1e-4,
    unit: str = "s",
) -> Row:
    """Verify every peer against ``reference``, then time those that are right, interleaved.

    One that fails while it is timed is refused like one that is wrong; the others go on.
    """
    row, counts = Row(case, unit), dict[str, int]()

    def warm(peer: Peer) -> None:
        reason = fault(peer.check(), reference, tolerance)
        if reason is not None:
            raise BenchError(reason)
        counts[peer.name] = peer.count or calibrated(peer, block)
        row.costs[peer.name] = []

    def cost(peer: Peer) -> None:
        time.sleep(PAUSE)
        row.costs[peer.name].append(peer.run(counts[peer.name]) / counts[peer.name])

    left = attempted(row, peers, warm)
    for number in range(rounds):
        done = attempted(row, rotated(left, number), cost)
        left = [peer for peer in left if peer in done]
    return row


def attempted(row: Row, peers: Sequence[Peer], deed: Callable[[Peer], None]) -> list[Peer]:
    """Do ``deed`` with each peer and return those that did not fail; ``row`` refuses the others."""
    done = []
    for peer in peers:
        try:
            deed(peer)
            done.append(peer)
        except BenchError as error:
            row.costs.pop(peer.name, None)
            row.refused[peer.name] = str(error)
    return done


def calibrated(peer: Peer, block: float) -> int:
    """Warm ``peer`` up and return how many runs take about ``block`` seconds."""
    peer.run(1)
    count, seconds = 1, peer.run(1)
    while seconds < block / 4 and count < 100_000:
        count *= 4
        seconds = peer.run(count)
    return max(1, round(count * block / seconds))
