"""A whole process: import, an epoch of 60,000 images, evaluation of 10,000; time and memory."""

from __future__ import annotations

from bench.harness import Options, Report, Row, compare
from bench.peers import Completed, flavours
from bench.processes import check, peer
from bench.start import start_file

TOLERANCE = 1e-3  # accuracies may differ by a few digits out of 10,000


def run(options: Options) -> Report:
    """Return the seconds of the processes, and the peak resident memory of the same runs."""
    memory = Row("peak resident memory", "MB")
    with start_file(60_000) as start:
        peers = []
        for flavour in flavours(sharing=True):

            def seconds(done: Completed, name: str = flavour.name) -> float:
                memory.costs.setdefault(name, []).append(done.megabytes)
                return done.seconds

            peers.append(peer(flavour, start, 60_000, 64, seconds))
        expected = check(flavours()[0], start, "float64")
        row = compare("process", peers, expected, rounds=options.pick(3), tolerance=TOLERANCE)
    return Report("import, one epoch at batch 64, evaluation", [row, memory])
