"""Where the time of a training step goes, operation by operation, at batch 64 and 512."""

from __future__ import annotations

from bench.harness import Options, Report, Row
from bench.peers import flavours, workers
from bench.start import start_file

STEPS = 100
MIN_SECONDS = 1e-6


def run(options: Options) -> Report:
    """Return a row for each operation and shape; a timer costs about a microsecond per call."""
    report = Report("a step of LeNet-5, operation by operation", compares_pytorch=False)
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
            # Work done once for each shape is not part of a step.
            found = [row for row in found if row.median("gpucnn") >= MIN_SECONDS]
            found.sort(key=lambda row: -row.median("gpucnn"))
            whole = sum(row.median("gpucnn") for row in found)
            report.rows += found
            report.notes.append(
                f"batch {batch}: {whole * 1e3:.2f} ms per step, the sum of all rows"
            )
    return report
