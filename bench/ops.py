"""Every operation at LeNet-5's sizes, forward and backward, and two larger convolutions."""

from __future__ import annotations

from bench.cases import CASES
from bench.harness import Options, Report
from bench.peers import compare_jobs, flavours

NAIVE_WORK = 100_000
"""Plain loops are timed up to this many iterations, a fraction of a second."""


def run(options: Options) -> Report:
    """Return a row for each operation and direction."""
    jobs, naive = {}, set()
    for name, case in CASES.items():
        for direction in case.directions:
            title = f"{name}, {direction}" if len(case.directions) > 1 else name
            jobs[title] = {"kind": "op", "case": name, "direction": direction}
            if case.work <= NAIVE_WORK:
                naive.add(title)
    report = Report("one call of an operation, float32")
    return compare_jobs(
        report,
        jobs,
        options,
        flavours(naive=any(map(options.selects, naive))),
        rounds=7,
        includes=lambda case, flavour: flavour.side != "naive" or case in naive,
        block=0.05,
        tolerance=lambda case: 2e-4,
    )
