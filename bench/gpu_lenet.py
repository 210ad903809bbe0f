"""GPU: epochs of LeNet-5 at batch 64 to 1024, gpucnn and PyTorch in three launch modes each."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from bench import gpu
from bench.harness import Options, Report, Row
from bench.peers import Flavour, Worker, compare_jobs
from bench.show import cost
from bench.start import start_file

BATCHES = (128, 512, 64, 256, 1024)
"""The most important first: there may be no time for the last."""
COMPILED = ("batch 128", "batch 512")
"""The cases with torch.compile, which takes much of a minute each time."""
UNTRACED = ("PyTorch graphs", "PyTorch compile")
FLOP = 135.8e9 / 60_000
"""For one image in training, without the gradient of the images."""
NOMINAL = 60e12
"""The nominal FLOP/s of an H100 in float32."""


def run(options: Options) -> Report:
    """Return a row for each batch size; the mean losses of the first 20 steps must agree."""
    modes = gpu.PYTORCH[:2] if options.rehearse else gpu.PYTORCH  # the third needs CUDA as well
    found = [*gpu.ours(options), *gpu.pytorch(options, modes)]
    images, part = options.size((60_000, 1), (40, 64))
    report = gpu.report("an epoch of LeNet-5, SGD with momentum, all on the device", options)
    with start_file(images) as start:
        spec = {"kind": "epoch", "images": images, "steps": options.size(20, 2), "start": start}
        spec |= {"test": options.size(128, 8), "part": "all"}
        jobs = {f"batch {n}": {**spec, "batch": n // part} for n in BATCHES}
        # Without the host's work before the first step: the order and the learning rates.
        jobs["batch 128, steps alone"] = {**jobs["batch 128"], "part": "steps"}

        def includes(case: str, flavour: Flavour) -> bool:
            return "compile" not in flavour.name or case.startswith(COMPILED)

        def afterwards(running: Sequence[Worker]) -> None:
            kernels = launches(running, {**jobs["batch 128"], "kind": "launches"})
            report.about["kernels_per_step"] = kernels
            counts = ", ".join(f"{name} {count}" for name, count in kernels.items())
            report.notes.append(f"kernels per step: {counts}")
            rates = report.about["ceilings"] = gpu.ceilings(running, options)
            report.notes.append(gpu.format_ceilings(rates))
            for row in report.rows:
                report.notes += figures(row, images, rates["ieee"])

        return compare_jobs(
            report,
            jobs,
            options,
            found,
            rounds=5,
            block=0.2,
            includes=includes,
            afterwards=afterwards,
        )


def launches(running: Sequence[Worker], spec: dict[str, object]) -> dict[str, int | str]:
    """Return the number of kernels in a step, or the reason why it is unknown.

    PyTorch is traced in eager mode only: tracing graphs may crash, and their kernels are the same.
    """
    chosen = [worker for worker in running if worker.flavour.name not in UNTRACED]
    answers = {worker.flavour.name: gpu.ask_once(worker, spec) for worker in chosen}
    return {
        name: answer if isinstance(answer, str) else int(answer["kernels"])
        for name, answer in answers.items()
    }


def figures(row: Row, images: int, rate: float) -> list[str]:
    """Return the time per step, the epoch over the floor, and PyTorch's time over gpucnn's."""
    steps = -(-images // int(row.case.split(",")[0].split()[1]))
    floors = {"measured": images * FLOP / rate, "60 TFLOP/s": images * FLOP / NOMINAL}
    lines = []
    for name in row.costs:
        epoch = row.median(name)
        over = ", ".join(f"{epoch / floor:.1f} ({at})" for at, floor in floors.items())
        line = f"{row.case}, {name}: {cost(epoch / steps, 's')} per step, over the floor {over}"
        if name.startswith("gpucnn"):
            line += "".join(f", {ratio}" for ratio in ratios(row, name))
        lines.append(line)
    return lines


def ratios(row: Row, ours: str) -> list[str]:
    """Return the ratios of PyTorch eager, and of the better of its other modes, to ``ours``."""
    found = []
    eager, *others = [f"PyTorch {mode}" for mode in gpu.PYTORCH]
    if eager in row.costs:
        found.append(f"{eager} / it {row.ratio(eager, ours)[0]:.2f}")
    timed = [name for name in others if name in row.costs]
    if timed:
        best = min(timed, key=lambda name: median(row.costs[name]))
        found.append(f"{best} / it {row.ratio(best, ours)[0]:.2f}")
    return found
