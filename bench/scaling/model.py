"""The time of a training step that several ranks share: computing, sums, and their overlap.

A rank computes its part of the batch as a process alone would. A sum of n bytes takes a latency and
n over a bandwidth (Hockney's model, as in Thakur, Rabenseifner and Gropp, "Optimization of
Collective Communication Operations in MPICH", 2005). Gradients are summed in buckets, from the last
layer on, and a bucket's sum can run during the backward pass of the layers before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Line:
    """``base`` seconds and ``slope`` seconds for each unit: an image, or a byte."""

    base: float
    slope: float

    def at(self, x: float) -> float:
        """Return the seconds of ``x`` units."""
        return self.base + self.slope * x


def fit_line(x: Sequence[float], y: Sequence[float]) -> Line:
    """Return the line with the least sum of squared relative errors, and nothing negative.

    Relative errors, because a latency shows in the least messages, which take the least time.
    """
    sizes, seconds = np.asarray(x, np.float64), np.asarray(y, np.float64)
    columns = np.stack([1 / seconds, sizes / seconds], 1)
    base, slope = np.linalg.lstsq(columns, np.ones(len(sizes)), rcond=None)[0]
    if slope < 0:
        return Line(_scale(columns[:, 0]), 0.0)
    if base < 0:
        return Line(0.0, _scale(columns[:, 1]))
    return Line(float(base), float(slope))


def _scale(column: np.ndarray) -> float:
    """Return the factor that makes the elements of a column closest to 1."""
    return float(column.sum() / (column @ column))


@dataclass(frozen=True)
class Cluster:
    """GPUs in nodes, and how their gradients are summed; seconds, and bytes per second.

    Within a node the sum goes around a ring: 2 (n - 1) messages, and each GPU sends 2 (n - 1) / n
    of the bytes. Over several nodes it goes up and down a tree: a chain within each node, a binary
    tree of nodes. NCCL chooses its algorithms by the same formulas (src/graph/tuning.cc).
    """

    launch: float
    inside_hop: float
    inside_bandwidth: float
    between_hop: float
    between_bandwidth: float
    per_node: int

    def sum_seconds(self, size: float, ranks: int) -> float:
        """Return the seconds that ``ranks`` GPUs need to sum ``size`` bytes."""
        if ranks == 1:
            return 0.0
        if ranks <= self.per_node:
            hops = 2 * (ranks - 1)
            sent = hops / ranks * size
            return self.launch + hops * self.inside_hop + sent / self.inside_bandwidth
        nodes = math.ceil(ranks / self.per_node)
        hops = 2 * (self.per_node - 1) * self.inside_hop
        hops += 2 * math.ceil(math.log2(nodes)) * self.between_hop
        return self.launch + hops + 2 * size / self.between_bandwidth


@dataclass(frozen=True)
class Bucket:
    """Gradients that are summed together.

    Attributes:
        size: bytes.
        ready: the fraction of the backward pass after which all of them are computed.
    """

    size: float
    ready: float


def make_buckets(layers: Sequence[tuple[float, float]], least: float) -> list[Bucket]:
    """Return the buckets of a network, in the order in which they are summed.

    Args:
        layers: bytes of the gradients and work of each layer, in the order of the forward pass.
        least: bytes of a bucket at least, except the last one; infinite: one bucket.
    """
    total = sum(work for _, work in layers)
    found, size, done = list[Bucket](), 0.0, 0.0
    for gradients, work in reversed(layers):
        size, done = size + gradients, done + work
        if gradients and size >= least:
            found.append(Bucket(size, done / total))
            size = 0.0
    if size:
        found.append(Bucket(size, 1.0))
    return found


def exposed(
    backward: float, buckets: Sequence[Bucket], seconds: Callable[[float], float], overlap: float
) -> float:
    """Return by how many seconds the sums of a step lengthen it.

    Args:
        backward: seconds of the backward pass.
        buckets: what is summed; one sum starts when the one before it has ended.
        seconds: of the sum of so many bytes.
        overlap: the fraction of a sum's time that is free if it runs during the backward pass, from
            0 (sums start after it, or slow it down by as much) to 1.
    """
    end = 0.0
    for bucket in buckets:
        end = max(end, bucket.ready * backward) + seconds(bucket.size)
    best = max(0.0, end - backward)
    return best + (1 - overlap) * (sum(seconds(bucket.size) for bucket in buckets) - best)


@dataclass(frozen=True)
class Training:
    """A network on ranks of one kind.

    Attributes:
        alone: seconds of a step of one rank by images.
        part: the same for one of several ranks without its sums, if it is another line.
        layers: bytes of the gradients and work of each layer.
        backward: the share of the backward pass in a step.
        sums: seconds of a sum by bytes and ranks.
        overlap: see ``exposed``.
        bucket: bytes of a bucket of gradients at least, infinite: all are summed together.
        slowdown: of computing, if several ranks compute on one machine.
    """

    alone: Line
    layers: Sequence[tuple[float, float]]
    backward: float
    sums: Callable[[float, int], float]
    overlap: float = 0.0
    bucket: float = math.inf
    slowdown: float = 1.0
    part: Line | None = None

    def step_seconds(self, batch: int, ranks: int) -> float:
        """Return the seconds of a step with ``batch`` images over all ranks."""
        if ranks == 1:
            return self.alone.at(batch)
        computing = self.slowdown * (self.part or self.alone).at(math.ceil(batch / ranks))
        return computing + exposed(
            self.backward * computing,
            make_buckets(self.layers, self.bucket),
            lambda size: self.sums(size, ranks),
            self.overlap,
        )

    def speedup(self, batch: int, ranks: int) -> float:
        """Return how many times faster than one rank ``ranks`` of them do the same step."""
        return self.step_seconds(batch, 1) / self.step_seconds(batch, ranks)

    def efficiency(self, part: int, ranks: int) -> float:
        """Return the speed of a rank with ``part`` images a step, over that of a rank alone."""
        return self.step_seconds(part, 1) / self.step_seconds(part * ranks, ranks)

    def least_batch(self, ranks: int, gain: float, most: int = 1 << 20) -> int | None:
        """Return the least power of two from ``ranks`` on whose speedup is at least ``gain``.

        None if no batch up to ``most`` images has it.
        """
        batch = 1 << math.ceil(math.log2(ranks))
        while batch <= most:
            if self.speedup(batch, ranks) >= gain:
                return batch
            batch *= 2
        return None
