"""The time of an epoch against the number of images, 6,000 to 60,000, with a fitted line."""

from __future__ import annotations

import numpy as np

from bench.harness import Options, Peer, Report, compare
from bench.peers import Worker, flavours, workers
from bench.start import start_file

SIZES = range(6_000, 60_001, 6_000)
WIDTH = 50


def run(options: Options) -> Report:
    """Return the seconds of the training part of an epoch; the sizes are the peers."""
    with start_file(1) as start, workers(flavours()[:1]) as (worker,):
        peers = [sized(worker, start, size) for size in SIZES]
        row = compare("epoch", peers, {}, rounds=options.pick(3))
    seconds = [row.median(str(size)) for size in SIZES]
    slope, base, r2 = fit_line(np.array(SIZES), np.array(seconds))
    report = Report(
        "an epoch at batch 64, by number of images", row.split("gpucnn"), compares_pytorch=False
    )
    report.about["fit"] = {"seconds_per_image": slope, "seconds": base, "r2": r2}
    report.notes = plot(seconds)
    report.notes.append(f"seconds = {base:.3f} + {slope * 1e6:.1f} µs per image, R² = {r2:.5f}")
    return report


def sized(worker: Worker, start: str, size: int) -> Peer:
    """Return an epoch of ``size`` images as a peer; the loss of a first epoch must be finite."""
    peer = worker.peer({"kind": "growth", "images": size, "start": start})

    def check() -> dict[str, float]:
        # Losses are compared with PyTorch in ``lenet``; only the number of images differs here.
        return {} if np.isfinite(peer.check()["loss"]) else {"loss": float("nan")}

    return Peer(str(size), check, peer.run, count=1)


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return slope, intercept and R² of the least-squares line."""
    slope, base = np.polyfit(x, y, 1)
    residual = y - (slope * x + base)
    return float(slope), float(base), float(1 - (residual @ residual) / ((y - y.mean()) ** 2).sum())


def plot(seconds: list[float]) -> list[str]:
    """Return a bar for each size."""
    return [
        f"{size:>6,} {'█' * round(WIDTH * value / max(seconds))} {value:.2f} s"
        for size, value in zip(SIZES, seconds, strict=True)
    ]
