"""Where the time of a training step goes, operation by operation, at batch 64 and 512."""

from __future__ import annotations

from bench.harness import Options, Report, Row
from bench.peers import flavours, workers
from bench.start import start_file

STEPS = 100
LEAST = 1e-6


def run(options: Options) -> Report:
    """Return a row for each operation and shape; timers cost about a microsecond a call."""
    report = Report("a step of LeNet-5, operation by operation", peers=False)
    with start_file(60_000) as start, workers(flavours()[:1]) as (worker,):
        for batch in (64, 512):
            peer = worker.peer({"kind": "profile", "batch": batch, "start": start})
            peer.run(10)
            costs: dict[str, list[float]] = {}
            for _ in range(options.pick(5)):
                peer.run(STEPS)
                for name, seconds in peer.check().items():
                    costs.setdefault(name, []).append(float(seconds) / STEPS)
            found = [Row(f"batch {batch}: {name}", "s", {"gpucnn": c}) for name, c in costs.items()]
            # What is done once a shape is no part of a step.
            found = [row for row in found if row.median("gpucnn") >= LEAST]
            found.sort(key=lambda row: -row.median("gpucnn"))
            whole = sum(row.median("gpucnn") for row in found)
            report.rows += found
            report.notes.append(f"batch {batch}: {whole * 1e3:.2f} ms a step, all rows together")
    return report
