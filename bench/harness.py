"""The method of all measurements: verify, warm up, interleave, and compare round by round.

A round times every peer once, and each round starts with the next peer, so that a temporary load on
the machine affects all of them. Ratios are computed within a round; the median of the rounds'
ratios is reported, with the least and the greatest.
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
"""Seconds before each block, in which the previous peer's threads stop spinning."""

BEGAN = time.monotonic()
"""The start time of this process, for ``Options.out_of_time``."""


class BenchError(Exception):
    """A bench, or one of its peers, could not run."""


@dataclass(frozen=True)
class Options:
    """The options of the command line, and what to do with the report after each of its rows.

    ``rehearse`` implies ``tiny``.
    """

    rounds: int | None = None
    quick: bool = False
    only: str = ""
    tiny: bool = False
    rehearse: bool = False
    seconds: float | None = None
    write: bool = False
    assume: tuple[str, ...] = ()
    out: str | None = None
    progress: Callable[[Report], None] = lambda report: None

    def __post_init__(self) -> None:
        if self.rehearse:
            object.__setattr__(self, "tiny", True)

    def pick(self, rounds: int) -> int:
        """Return the number of rounds for a bench whose default is ``rounds``."""
        return self.rounds or (min(rounds, 2) if self.quick or self.tiny else rounds)

    def selects(self, case: str) -> bool:
        """Return whether a case is to be run."""
        return self.only in case

    def out_of_time(self) -> bool:
        """Return whether the time limit has passed: no case or round is started after it."""
        return self.seconds is not None and time.monotonic() - BEGAN > self.seconds

    def size(self, full: T, tiny: T) -> T:
        """Return ``full``, or ``tiny`` if the sizes are to be tiny."""
        return tiny if self.tiny else full


@dataclass(frozen=True)
class Peer:
    """One way to do the work.

    ``check`` returns its results by name. ``run`` does a block of COUNT runs and returns its total
    cost, in seconds or another additive unit. ``count`` fixes the number of runs in a block; None:
    as many as take the time that ``compare`` sets.
    """

    name: str
    check: Callable[[], Results]
    run: Callable[[int], float]
    count: int | None = None


@dataclass
class Row:
    """The figures of one case: a cost for each peer and round, or the reason why there is none."""

    case: str
    unit: str = "s"
    costs: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Return a peer's median cost."""
        return median(self.costs[name])

    def best(self, prefix: str) -> str | None:
        """Return the peer of least median cost among those whose names start with ``prefix``."""
        names = [name for name in self.costs if name.startswith(prefix)]
        return min(names, key=self.median) if names else None

    def ratio(self, name: str, over: str) -> tuple[float, float, float]:
        """Return median, least and greatest over the rounds of the cost of ``name`` / ``over``."""
        pairs = zip(self.costs[name], self.costs[over], strict=True)
        ratios = [one / other for one, other in pairs]
        return median(ratios), min(ratios), max(ratios)

    def split(self, column: str) -> list[Row]:
        """Return a row for each peer, all in one ``column``, to show peers as cases."""
        return [Row(name, self.unit, {column: costs}) for name, costs in self.costs.items()]


@dataclass
class Report:
    """The result of a bench: rows, and lines of text to print below them.

    ``compares_pytorch`` is whether PyTorch is a column wherever it is installed.
    """

    title: str
    rows: list[Row] = field(default_factory=list)
    compares_pytorch: bool = True
    notes: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)


def rotated(peers: Sequence[Peer], number: int) -> list[Peer]:
    """Return the peers in the order of round ``number``, which starts one peer later each time."""
    start = number % len(peers) if peers else 0
    return [*peers[start:], *peers[:start]]


def mismatch(results: Results, reference: Results, tolerance: float) -> str | None:
    """Return how ``results`` differ from the reference, None if they agree.

    The error of an array is its greatest difference, divided by the reference's greatest element.
    """
    if set(results) != set(reference):
        return f"results are {sorted(results)}, expected {sorted(reference)}"
    for name, values in reference.items():
        got, expected = np.asarray(results[name], np.float64), np.asarray(values, np.float64)
        if got.shape != expected.shape:
            return f"{name} has shape {got.shape}, expected {expected.shape}"
        scale = float(np.abs(expected).max(initial=0)) or 1.0
        error = float(np.abs(got - expected).max(initial=0)) / scale
        if not error <= tolerance:  # also true for NaN
            return f"{name} has error {error:.1e}, allowed {tolerance:.0e}"
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
    out_of_time: Callable[[], bool] = lambda: False,
) -> Row:
    """Verify every peer against ``reference``, then time the correct ones, interleaved.

    A peer that fails while it is timed is refused like an incorrect one; the others continue.
    Rounds after the first are left out if there is no time for them.
    """
    row, counts = Row(case, unit), dict[str, int]()

    def warm(peer: Peer) -> None:
        reason = mismatch(peer.check(), reference, tolerance)
        if reason is not None:
            raise BenchError(reason)
        counts[peer.name] = peer.count or calibrated(peer, block)
        row.costs[peer.name] = []

    def cost(peer: Peer) -> None:
        time.sleep(PAUSE)
        row.costs[peer.name].append(peer.run(counts[peer.name]) / counts[peer.name])

    left = attempt_each(row, peers, warm)
    for number in range(rounds):
        if number and out_of_time():
            break
        done = attempt_each(row, rotated(left, number), cost)
        left = [peer for peer in left if peer in done]
    return row


def attempt_each(row: Row, peers: Sequence[Peer], action: Callable[[Peer], None]) -> list[Peer]:
    """Call ``action`` for each peer; return those that succeed and refuse the others in ``row``."""
    done = []
    for peer in peers:
        try:
            action(peer)
            done.append(peer)
        except BenchError as error:
            row.costs.pop(peer.name, None)
            row.refused[peer.name] = str(error)
    return done


def calibrated(peer: Peer, block: float) -> int:
    """Warm up ``peer`` and return the number of runs that take about ``block`` seconds."""
    peer.run(1)
    count, seconds = 1, peer.run(1)
    while seconds < block / 4 and count < 100_000:
        count *= 4
        seconds = peer.run(count)
    return max(1, round(count * block / seconds))
