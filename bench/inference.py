"""Evaluation on the 10,000 test digits, and predictions of 1 and of 512."""

from __future__ import annotations

from typing import Any

from bench.harness import Options, Report
from bench.peers import compare_jobs, flavours
from bench.start import start_file


def run(options: Options) -> Report:
    """Return a row for each; losses, accuracies and probabilities must agree."""
    with start_file(1) as start:
        spec: dict[str, Any] = {"kind": "inference", "start": start}
        jobs = {
            "evaluate 10,000": {**spec, "batch": None},
            "predict 1": {**spec, "batch": 1},
            "predict 512": {**spec, "batch": 512},
        }
        return compare_jobs(Report("inference with LeNet-5"), jobs, options, flavours(), rounds=9)
