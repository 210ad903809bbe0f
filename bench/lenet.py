"""A training step of LeNet-5 on MNIST at batch 64, 128 and 512."""

from __future__ import annotations

from bench.harness import Options, Report
from bench.peers import compare_jobs, flavours
from bench.start import start_file


def run(options: Options) -> Report:
    """Return a row for each batch size; the losses of three steps must agree."""
    with start_file(60_000) as start:
        jobs = {
            f"batch {batch}": {"kind": "step", "batch": batch, "start": start}
            for batch in (64, 128, 512)
        }
        report = Report("a training step of LeNet-5, SGD with momentum, all in memory")
        found = flavours(sharing=True)
        return compare_jobs(report, jobs, options, found, rounds=9, block=0.4)
