"""GPU: LeNet-5's operations and two 3x3 convolutions, many calls to a launch, and cuDNN's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench import cases, gpu
from bench.harness import Options, Report, Row
from bench.peers import Worker, compare_jobs
from bench.show import cost
from gpucnn.backends.cuda.graphs import MAX_STEPS_PER_GRAPH

SETS = 4
"""Sets of arrays used in turn; those of the large convolutions exceed a GPU's cache."""
TOLERANCE = {"ieee": 2e-4, "tf32": 5e-3}
TF32 = ("conv2d", "linear")


def run(options: Options) -> Report:
    """Return a row for each operation, direction and precision."""
    report = gpu.report("one call of an operation out of many in a graph, float32", options)
    spec = {"kind": "captured", "sets": SETS, "repeats": options.size(MAX_STEPS_PER_GRAPH, 1)}
    # The mode of training steps does not matter here: all calls are in graphs.
    found = [replace(gpu.ours(options, ["captured"])[0], name="gpucnn")]
    found += [replace(each, name="PyTorch") for each in gpu.pytorch(options, ["eager"])]

    def afterwards(running: Sequence[Worker]) -> None:
        rates = report.about["ceilings"] = gpu.ceilings(running, options)
        report.notes.append(gpu.format_ceilings(rates))
        report.notes += [shares(row, rates) for row in report.rows if row.costs]

    jobs = {
        title: {**spec, "case": name, "direction": direction, "precision": precision}
        for precision in TOLERANCE
        for title, name, direction in titles(options, precision)
    }
    return compare_jobs(
        report,
        jobs,
        options,
        found,
        rounds=5,
        afterwards=afterwards,
        tolerance=lambda case: TOLERANCE[case.rsplit(", ", 1)[1]],
        block=0.05,
    )


def titles(options: Options, precision: str) -> list[tuple[str, str, str]]:
    """Return title, case and direction of each row in a precision."""
    found = []
    for name, case in cases.gpu_cases(options.tiny).items():
        if precision == "tf32" and case.op not in TF32:
            continue
        for direction in case.directions:
            suffix = f", {direction}" if len(case.directions) > 1 else ""
            found.append((f"{name}{suffix}, {precision}", name, direction))
    return found


def shares(row: Row, rates: dict[str, float]) -> str:
    """Return each peer's rate and its share of the floor: arithmetic or memory traffic."""
    case, direction = row.case.rsplit(", ", 1)[0], "forward"
    for ending in ("forward", "backward"):
        if case.endswith(f", {ending}"):
            case, direction = case.removesuffix(f", {ending}"), ending
    flops, moved = cases.amount(cases.ALL[case], direction)
    arithmetic = flops / rates["tf32" if row.case.endswith("tf32") else "ieee"]
    floor = max(arithmetic, moved / rates["copy"])
    each = []
    for name in row.costs:
        took = row.median(name)
        rate = f"{flops / took / 1e9:,.1f} GFLOP/s"
        if floor > arithmetic:
            rate = f"{moved / took / 1e9:,.1f} GB/s"
        each.append(f"{name} {cost(took, 's')}, {rate}, {floor / took:.1%} of the floor")
    return f"{row.case}: {'; '.join(each)}"
