"""Peak resident memory of a training process that holds all of MNIST, at batch 64 and 512."""

from __future__ import annotations

from bench.harness import Options, Report, compare
from bench.peers import Completed, flavours
from bench.processes import check, peer
from bench.start import start_file

IMAGES = 6400
"""Images of training. All 60,000 are in memory, and more steps do not raise the peak."""


def run(options: Options) -> Report:
    """Return a row for each batch size; ``epoch`` reports the peak of a whole epoch."""

    def megabytes(done: Completed) -> float:
        return done.megabytes

    report = Report("peak resident memory of a training process")
    with start_file(60_000) as start:
        expected = check(flavours()[0], start, "float64")
        for batch in (64, 512):
            if options.out_of_time():
                report.notes.append(f"batch {batch}: left out, no time left")
                continue
            peers = [peer(flavour, start, IMAGES, batch, megabytes) for flavour in flavours()]
            rounds = options.pick(2)
            report.rows.append(
                compare(f"batch {batch}", peers, expected, rounds=rounds, tolerance=1e-3, unit="MB")
            )
    return report
