"""A training step on images in memory and on packed ones, which are read while steps run."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import gpucnn
from bench.harness import Options, Peer, Report, compare
from gpucnn.data import Data
from gpucnn.data.packed.state import opened
from gpucnn.data.packed.writing import write
from gpucnn.training import EpochEnded, events


def run(options: Options) -> Report:
    """Return a row for each batch size, and at how many images/s the files are read.

    The files were just written, so that the system has them in memory.
    """
    data = gpucnn.data.mnist().limit(options.size(20_000, 400))
    data = replace(data, test=data.test.limit(100), preparation="digit")
    report = Report("a step of LeNet-5 on images in memory and in files", compares_pytorch=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "packed"
        with opened(folder, {}):
            write(data, folder, {}, {})
        sources = {"memory": data, "files": gpucnn.data.load(folder)}
        for batch in (64, 512):
            peers = [peer(kind, source, batch) for kind, source in sources.items()]
            expected = peers[0].check()
            rounds = options.pick(5)
            report.rows.append(
                compare(f"batch {batch}", peers, expected, rounds=rounds, tolerance=0.0)
            )
        report.notes.append(f"{rate(sources['files']):,.0f} images/s are read")
    return report


def peer(name: str, data: Data, batch: int) -> Peer:
    """Return steps of an epoch as a peer; its result is the loss of the epoch."""
    found: list[EpochEnded] = []

    def train(count: int) -> float:
        model = gpucnn.models.lenet5(seed=0)
        run = events(model, data, backend="numpy", epochs=1, batch_size=batch)
        found[:] = [event for event in run if isinstance(event, EpochEnded)]
        return found[0].seconds * count / found[0].step

    def check() -> dict[str, float]:
        train(1)
        return {"loss": found[0].train_loss}

    return Peer(name, check, train, count=1)


def rate(data: Data) -> float:
    """Return at how many images/s a thread reads the training images in a random order."""
    images, order = data.train.images, np.random.default_rng(0).permutation(len(data.train))
    began = time.perf_counter()
    for start in range(0, len(order), 256):
        images.take(order[start : start + 256])
    return len(order) / (time.perf_counter() - began)
