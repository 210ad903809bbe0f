"""The time of an epoch against the number of images, from 6,000 to 60,000, with a straight line."""

from __future__ import annotations

import numpy as np

from bench.harness import Options, Peer, Report, compare
from bench.peers import Worker, flavours, workers
from bench.start import start_file

SIZES = range(6_000, 60_001, 6_000)
WIDTH = 50


def run(options: Options) -> Report:
    """Return the seconds of the training part of an epoch, the sizes as peers of each other."""
    with start_file(1) as start, workers(flavours()[:1]) as (worker,):
        peers = [sized(worker, start, size) for size in SIZES]
        row = compare("epoch", peers, {}, rounds=options.pick(3))
    seconds = [row.median(str(size)) for size in SIZES]
    slope, base, r2 = straight(np.array(SIZES), np.array(seconds))
    report = Report("an epoch at batch 64, by number of images", row.split("gpucnn"), peers=False)
    report.about["fit"] = {"seconds_per_image": slope, "seconds": base, "r2": r2}
    report.notes = plot(seconds)
    report.notes.append(
        f"seconds = {base:.3f} + {slope * 1e6:.1f} millionths an image, R² = {r2:.5f}"
    )
    return report


def sized(worker: Worker, start: str, size: int) -> Peer:
    """Return an epoch of ``size`` images as a peer; the loss of a first one must be finite."""
    peer = worker.peer({"kind": "growth", "images": size, "start": start})

    def check() -> dict[str, float]:
        # ``lenet`` compares with PyTorch: here it is the same code on more or fewer images.
        return {} if np.isfinite(peer.check()["loss"]) else {"loss": float("nan")}

    return Peer(str(size), check, peer.run, count=1)


def straight(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return slope, intercept and R² of the least-squares line."""
    slope, base = np.polyfit(x, y, 1)
    rest = y - (slope * x + base)
    return float(slope), float(base), float(1 - (rest @ rest) / ((y - y.mean()) ** 2).sum())


def plot(seconds: list[float]) -> list[str]:
    """Return a bar for each size."""
    return [
        f"{size:>6,} {'█' * round(WIDTH * value / max(seconds))} {value:.2f} s"
        for size, value in zip(SIZES, seconds, strict=True)
    ]
