"""What the model predicts for 8 GPUs of one node and for 8 nodes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gpucnn
from bench.scaling.assumptions import Assumption, cluster, line
from bench.scaling.model import Training

NODES = 8
BATCHES = (64, 128, 256, 512, 1024, 4096, 16384)
NETWORKS = {"lenet5": "LeNet-5", "resnet_small": "resnet_small"}


def layers_of(model: gpucnn.Sequential) -> list[tuple[float, float]]:
    """Return bytes of the gradients (float32) and multiply-adds of each layer."""
    rows = model.summary().outermost
    return [(4.0 * row.parameters, float(row.multiply_adds)) for row in rows]


def trainings(values: Mapping[str, Assumption]) -> dict[str, Training]:
    """Return each network on the GPUs that the assumptions describe."""
    common: dict[str, Any] = {
        "backward": values["backward_share"].value,
        "sums": cluster(values).sum_seconds,
        "overlap": values["overlap"].value,
        "bucket": values["bucket_kb"].value * 1e3,
    }
    lenet5 = Training(
        line(values, "lenet5_alone"),
        layers_of(gpucnn.models.lenet5()),
        part=line(values, "lenet5_part"),
        **common,
    )
    residual = Training(
        line(values, "resnet_small"), layers_of(gpucnn.models.resnet_small()), **common
    )
    return {"lenet5": lenet5, "resnet_small": residual}


def predict(values: Mapping[str, Assumption]) -> dict[str, Any]:
    """Return steps, speedups and efficiencies as plain data, by network and number of GPUs."""
    node = int(values["gpus_per_node"].value)
    counts = (1, node, NODES * node)
    found: dict[str, Any] = {}
    for name, training in trainings(values).items():
        found[name] = {
            "bytes": sum(size for size, _ in training.layers),
            "batches": list(BATCHES),
            "gpus": {
                str(count): {
                    "sum_seconds": training.sums(sum(s for s, _ in training.layers), count),
                    "step_seconds": [training.step_seconds(batch, count) for batch in BATCHES],
                    "speedup": [training.speedup(batch, count) for batch in BATCHES],
                    "efficiency": [training.efficiency(batch, count) for batch in BATCHES],
                    "pays_from": training.least_batch(count, 1.0),
                    "half_from": training.least_batch(count, count / 2),
                }
                for count in dict.fromkeys(counts)
            },
        }
    return found


def lines(values: Mapping[str, Assumption], predicted: Mapping[str, Any]) -> list[str]:
    """Return the assumptions and the predictions as lines of text."""
    found = ["Assumptions, changed by --assume NAME=VALUE; * was measured with gpucnn on a GPU:"]
    for name, one in values.items():
        mark = "*" if one.measured else " "
        found.append(f"{mark} {name:<21} {one.value:>6.3g} {one.unit:<4} {one.source}")
    for name, network in predicted.items():
        found += [
            "",
            f"PREDICTED, not run: {NETWORKS[name]}, {network['bytes'] / 1e3:.0f} kB a sum",
        ]
        found.append(row_of("batch of all GPUs", network["batches"], ",.0f"))
        rows = network["gpus"].items()
        several = [(count, row) for count, row in rows if count != "1"]
        for count, row in rows:
            microseconds = [1e6 * x for x in row["step_seconds"]]
            found.append(row_of(f"{count} GPU, step in µs", microseconds, ",.0f"))
        for count, row in several:
            found.append(row_of(f"{count} GPUs, speedup", row["speedup"], ".2f"))
        found.append(row_of("batch of each GPU", network["batches"], ",.0f"))
        for count, row in several:
            found.append(row_of(f"{count} GPUs, efficiency", row["efficiency"], ".2f"))
        found += [pays(count, row) for count, row in several]
    return found


def row_of(label: str, cells: Iterable[float], form: str) -> str:
    """Return a row of a table of 78 columns."""
    return f"  {label:<20}" + "".join(f"{format(cell, form):>8}" for cell in cells)


def pays(count: str, row: Mapping[str, Any]) -> str:
    """Return from which batch on several GPUs are faster than one, and reach half of their sum."""

    def from_batch(batch: int | None) -> str:
        return "at no batch" if batch is None else f"from {batch:,} images on"

    return (
        f"  {count} GPUs sum in {1e6 * row['sum_seconds']:.0f} µs; they are faster than one "
        f"{from_batch(row['pays_from'])}, half of {count} times {from_batch(row['half_from'])}"
    )
