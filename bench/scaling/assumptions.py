"""Figures for machines that were not measured here: each has a name, a source and another value by
``--assume NAME=VALUE``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.harness import BenchError
from bench.scaling.model import Cluster, Line, fit_line

RESULTS = Path(__file__).parents[1] / "results/2026-11-26-h200-2/gpu_lenet.json"
IMAGES = 60_000
"""Images of an epoch in ``RESULTS``"""

KERNELS = {"lenet5": 29, "resnet_small": 150}
"""Launches of a training step, layer by layer (counted in the emulator)"""

_TUNING = "NCCL's tuning.cc, LL"
"""NCCL's choice for messages below about 3 MB on NVLink: the low-latency protocol"""


@dataclass(frozen=True)
class Assumption:
    """A figure, its unit and where it comes from.

    ``measured`` is whether it was measured with gpucnn on a GPU; ``fraction`` whether it cannot
    exceed 1; ``least`` is its least value.
    """

    value: float
    unit: str
    source: str
    measured: bool = False
    fraction: bool = False
    least: float = 0.0


def defaults() -> dict[str, Assumption]:
    """Return all assumptions by name."""
    fused, captured = gpu_line("gpucnn fused"), gpu_line("gpucnn captured")
    kernel = captured.base / KERNELS["lenet5"]
    return {
        "gpus_per_node": Assumption(8, "", "usual", least=1),
        "sum_launch_us": Assumption(6.6, "µs", f"{_TUNING}: before the first message"),
        "nvlink_hop_us": Assumption(0.6, "µs", f"{_TUNING}: a message by NVLink"),
        "nvlink_gb_s": Assumption(88, "GB/s", f"{_TUNING}, H100; 370 above 3 MB", least=1e-3),
        "network_hop_us": Assumption(5.0, "µs", f"{_TUNING}: a message by InfiniBand"),
        "network_gb_s": Assumption(20, "GB/s", f"{_TUNING}: of a node", least=1e-3),
        "bucket_kb": Assumption(1049, "kB", "gpucnn's BUCKET_BYTES: one sum for both networks"),
        "overlap": Assumption(0.5, "", "a guess: sums take multiprocessors", fraction=True),
        "backward_share": Assumption(2 / 3, "", "2 of the 3 products of a layer", fraction=True),
        "lenet5_alone_us": _measured(fused.base, "fused steps"),
        "lenet5_alone_image_us": _measured(fused.slope, "the same"),
        "lenet5_part_us": _measured(captured.base, "captured steps"),
        "lenet5_part_image_us": _measured(captured.slope, "the same"),
        "resnet_small_us": Assumption(
            KERNELS["resnet_small"] * kernel * 1e6,
            "µs",
            f"{KERNELS['resnet_small']} launches, {kernel * 1e6:.1f} µs each as LeNet-5's",
        ),
        "resnet_small_image_us": Assumption(
            13.0, "µs", "121 MFLOP, a guess: 10 TFLOP/s; 5 MB at 4.2 TB/s"
        ),
    }


def _measured(seconds: float, what: str) -> Assumption:
    return Assumption(
        seconds * 1e6, "µs", f"H200, results/{RESULTS.parent.name}, {what}", measured=True
    )


def gpu_line(peer: str) -> Line:
    """Return the step of LeNet-5 on the GPU of ``RESULTS``: seconds, and seconds for an image."""
    rows = json.loads(RESULTS.read_text())["benches"]["gpu_lenet"]["rows"]
    batches = [int(row["case"].removeprefix("batch ")) for row in rows]
    epochs = [row["medians"][peer] for row in rows]
    steps = [math.ceil(IMAGES / batch) for batch in batches]
    return fit_line(batches, [epoch / count for epoch, count in zip(epochs, steps, strict=True)])


def settle(changes: Sequence[str]) -> dict[str, Assumption]:
    """Return the assumptions with those of ``changes``, each "NAME=VALUE".

    Raises BenchError if there is no such name, or the value is not in its range.
    """
    found = defaults()
    for change in changes:
        name, _, text = change.partition("=")
        if name not in found:
            raise BenchError(
                f"--assume {change}: no assumption is named {name!r}; expected NAME=VALUE with one "
                f"of {', '.join(found)}"
            )
        assumption = found[name]
        most = 1.0 if assumption.fraction else math.inf
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not assumption.least <= value <= most or math.isinf(value):
            limit = " and at most 1" if assumption.fraction else ""
            raise BenchError(
                f"--assume {change}: expected a number of at least {assumption.least:g}{limit}, as "
                f"in --assume {name}={assumption.value:.3g}"
            )
        if name == "gpus_per_node" and value != int(value):
            raise BenchError(f"--assume {change}: expected an integer, as in --assume {name}=8")
        found[name] = replace(assumption, value=value, source="--assume", measured=False)
    return found


def cluster(values: Mapping[str, Assumption]) -> Cluster:
    """Return the GPUs that the assumptions describe."""
    return Cluster(
        launch=values["sum_launch_us"].value * 1e-6,
        inside_hop=values["nvlink_hop_us"].value * 1e-6,
        inside_bandwidth=values["nvlink_gb_s"].value * 1e9,
        between_hop=values["network_hop_us"].value * 1e-6,
        between_bandwidth=values["network_gb_s"].value * 1e9,
        per_node=int(values["gpus_per_node"].value),
    )


def line(values: Mapping[str, Assumption], name: str) -> Line:
    """Return the seconds of a step that ``name``_us and ``name``_image_us are."""
    return Line(values[f"{name}_us"].value * 1e-6, values[f"{name}_image_us"].value * 1e-6)
