"""The model of ``python -m bench scale``: closed forms, limits and what cannot become slower."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

# Last, so that an installed gpucnn stays the one that is tested.
sys.path.append(str(Path(__file__).parents[1]))

from bench import scale
from bench.__main__ import main
from bench.harness import BenchError, Row
from bench.scaling.assumptions import gpu_line, settle
from bench.scaling.measurements import ALONE, AT_ONCE, SIZES, WORKERS
from bench.scaling.model import (
    Bucket,
    Cluster,
    Line,
    Training,
    exposed,
    fit_line,
    make_buckets,
)
from bench.scaling.predictions import predict

CLUSTER = Cluster(
    launch=7e-6,
    inside_hop=1e-6,
    inside_bandwidth=1e11,
    between_hop=5e-6,
    between_bandwidth=2e10,
    per_node=8,
)
LAYERS = [(1_000.0, 6.0), (0.0, 1.0), (200_000.0, 2.0), (40_000.0, 1.0)]
TRAINING = Training(
    alone=Line(50e-6, 1e-6), layers=LAYERS, backward=2 / 3, sums=CLUSTER.sum_seconds, overlap=0.5
)


def test_one_rank_sends_nothing() -> None:
    assert CLUSTER.sum_seconds(1e9, 1) == 0
    assert TRAINING.step_seconds(128, 1) == TRAINING.alone.at(128)
    assert TRAINING.speedup(128, 1) == TRAINING.efficiency(128, 1) == 1


def test_a_ring_within_a_node() -> None:
    # Two ranks: two messages, each of half of the bytes. Four: six of a quarter.
    assert CLUSTER.sum_seconds(1e6, 2) == pytest.approx(7e-6 + 2 * (1e-6 + 0.5e6 / 1e11))
    assert CLUSTER.sum_seconds(1e6, 4) == pytest.approx(7e-6 + 6 * (1e-6 + 0.25e6 / 1e11))


def test_a_tree_over_nodes() -> None:
    # Up and down: 7 hops in a node, 3 between 8 nodes (and between 5); each byte crosses twice.
    expected = 7e-6 + 2 * (7 * 1e-6 + 3 * 5e-6) + 2 * 1e6 / 2e10
    assert CLUSTER.sum_seconds(1e6, 64) == pytest.approx(expected)
    assert CLUSTER.sum_seconds(1e6, 40) == pytest.approx(expected)


def test_buckets_are_filled_from_the_last_layer_on() -> None:
    assert make_buckets(LAYERS, math.inf) == [Bucket(241_000, 1.0)]
    assert make_buckets(LAYERS, 100_000) == [Bucket(240_000, 0.3), Bucket(1_000, 1.0)]
    # Layers without parameters make no bucket of their own.
    assert [b.size for b in make_buckets(LAYERS, 1)] == [40_000, 200_000, 1_000]


def test_sums_that_end_before_the_backward_pass_are_free_where_they_overlap() -> None:
    early, late = Bucket(100.0, 0.25), Bucket(10.0, 1.0)

    def seconds(size: float) -> float:
        return size / 100

    assert exposed(8.0, [early, late], seconds, 1.0) == pytest.approx(0.1)  # late's sum alone
    assert exposed(8.0, [early, late], seconds, 0.0) == pytest.approx(1.1)  # both sums
    assert exposed(8.0, [early, late], seconds, 0.5) == pytest.approx(0.6)
    # A sum of 1 s that can start after 0.25 s of 1 s ends 0.25 s late, and delays the next one.
    assert exposed(1.0, [early, late], seconds, 1.0) == pytest.approx(0.35)


def test_one_bucket_cannot_overlap() -> None:
    bucket = make_buckets(LAYERS, math.inf)
    assert exposed(1.0, bucket, lambda size: 0.25, 1.0) == exposed(1.0, bucket, lambda _: 0.25, 0.0)


def test_more_bandwidth_less_latency_and_more_overlap_are_never_slower() -> None:
    bucketed = replace(TRAINING, bucket=100_000.0)
    for ranks in (2, 8, 16, 64):
        for batch in (64, 512, 4096):
            changes = [
                *({"inside_bandwidth": x, "between_bandwidth": x} for x in (1e9, 1e10, 1e12)),
                *({"inside_hop": x, "between_hop": x} for x in (1e-4, 1e-5, 0.0)),
                *({"launch": x} for x in (1e-4, 1e-5, 0.0)),
            ]
            for start in (0, 3, 6):
                times = [
                    replace(bucketed, sums=replace(CLUSTER, **change).sum_seconds).step_seconds(
                        batch, ranks
                    )
                    for change in changes[start : start + 3]
                ]
                assert all(later < earlier for earlier, later in pairwise(times))
            times = [replace(bucketed, overlap=x).step_seconds(batch, ranks) for x in (0, 0.5, 1)]
            assert all(later <= earlier for earlier, later in pairwise(times))


def test_buckets_pay_only_where_sums_overlap() -> None:
    """A second sum costs a latency again; one that is hidden behind the backward pass is free."""
    one, two = TRAINING, replace(TRAINING, bucket=100_000.0)
    assert replace(two, overlap=0).step_seconds(512, 8) > one.step_seconds(512, 8)
    assert replace(two, overlap=1).step_seconds(512, 8) < one.step_seconds(512, 8)


def test_free_messages_leave_the_step_of_a_part() -> None:
    free = replace(TRAINING, sums=lambda size, ranks: 0.0)
    assert free.step_seconds(1024, 8) == free.alone.at(128)
    assert free.efficiency(128, 64) == 1
    assert free.step_seconds(1025, 8) == free.alone.at(129)  # the greatest part
    assert replace(free, slowdown=1.25).step_seconds(1024, 8) == 1.25 * free.alone.at(128)
    other = replace(free, part=Line(90e-6, 2e-6))
    assert (other.step_seconds(1024, 8), other.step_seconds(1024, 1)) == pytest.approx(
        (346e-6, 1074e-6)
    )


def test_the_speedup_of_large_batches_tends_to_the_number_of_ranks() -> None:
    assert TRAINING.speedup(1 << 30, 64) == pytest.approx(64, rel=1e-3)
    assert TRAINING.speedup(64, 64) < 1  # a step of one image and a sum take longer than 64 images


def test_the_least_batch_that_pays() -> None:
    # Free messages: base + B slope = gain (base + B slope / n), with base 50 and slope 1.
    free = replace(TRAINING, sums=lambda size, ranks: 0.0)
    assert free.least_batch(8, 4.0) == 512  # exactly 300
    assert free.least_batch(8, 8.0) is None
    assert TRAINING.least_batch(8, 1.0) > free.least_batch(8, 1.0) == 8


def test_a_line_without_noise_is_found_and_nothing_is_negative() -> None:
    sizes = [1e3, 1e4, 1e6]
    line = fit_line(sizes, [2e-5 + size / 1e9 for size in sizes])
    assert (line.base, line.slope) == pytest.approx((2e-5, 1e-9))
    assert fit_line([1.0, 2.0], [3.0, 1.5]).slope == 0
    assert fit_line([1.0, 2.0], [1.0, 3.0]) == Line(0.0, pytest.approx(15 / 13))


# --- assumptions and predictions ------------------------------------------------------------------


def test_the_step_of_lenet5_on_a_gpu_is_the_line_through_what_was_measured() -> None:
    line = gpu_line("gpucnn captured")  # 66.33 ms for the 469 steps of an epoch at batch 128
    assert line.at(128) == pytest.approx(66.33e-3 / 469, rel=0.05)
    assert settle([])["lenet5_part_us"].value == pytest.approx(1e6 * line.base)


def test_an_assumption_can_be_changed_and_counts_as_not_measured() -> None:
    values = settle(["lenet5_part_us=50", "overlap=1"])
    assert (values["lenet5_part_us"].value, values["lenet5_part_us"].measured) == (50, False)
    faster = predict(values)["lenet5"]["gpus"]["8"]
    usual = predict(settle([]))["lenet5"]["gpus"]["8"]
    assert faster["pays_from"] < usual["pays_from"]
    assert all(a > b for a, b in zip(faster["speedup"], usual["speedup"], strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("speed=1", "no assumption is named 'speed'"),
        ("overlap=1.5", "at least 0 and at most 1"),
        ("overlap", "expected a number"),
        ("nvlink_gb_s=0", "at least 0.001"),
        ("sum_launch_us=nan", "expected a number"),
        ("sum_launch_us=inf", "expected a number"),
        ("gpus_per_node=1.5", "expected an integer"),
    ],
)
def test_an_assumption_that_cannot_be_is_refused(change: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        settle([change])


def test_predictions_are_listed_with_what_they_assume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    path, out = tmp_path / "figures.json", tmp_path / "plots"
    arguments = ["--only", "no case", "--json", str(path), "--out", str(out)]
    assert main(["scale", *arguments, "--assume", "gpus_per_node=4"]) == 0
    printed = capsys.readouterr().out
    assert "PREDICTED, not run: resnet_small, 700 kB a sum" in printed
    assert "32 GPUs, speedup" in printed
    found = json.loads(path.read_text())["benches"]["scale"]
    assert found["rows"] == []
    assert set(found["about"]["predictions"]["lenet5"]["gpus"]) == {"1", "4", "32"}
    assert found["about"]["assumptions"]["gpus_per_node"]["source"] == "--assume"
    svg = (out / "scale.svg").read_text()
    assert "Predicted, not run: LeNet-5" in svg
    assert "Measured" not in svg
    assert main(["scale", *arguments, "--assume", "gpus_per_node=0"]) == 1
    assert main(["scale", "--out", str(path)]) == 1  # a file; refused before anything is timed
    assert f"--out {path}: " in capsys.readouterr().err


# --- what was measured ----------------------------------------------------------------------------


def measured() -> tuple[dict[int, Row], dict[str, dict[int, Row]]]:
    """Sums of 10 us and 1 GB/s, and steps of 1 ms and 100 us an image, without noise."""
    sums = {size: Row("", costs={WORKERS: [10e-6 + size * 1e-9]}) for size in SIZES}
    rows = {size: Row(f"batch {size}") for size in (32, 64, 128, 256, 512)}
    for batch, row in rows.items():
        row.costs[ALONE] = [1e-3 + batch * 1e-4] * 2
        if batch in (32, 64, 256):
            row.costs[AT_ONCE] = [1.1 * seconds for seconds in row.costs[ALONE]]
        if batch in (64, 128, 512):
            step = 1.1 * (1e-3 + batch / 2 * 1e-4) + 10e-6 + 4 * 61_706 * 1e-9
            row.costs[WORKERS] = [step, 3 * step]
    return sums, {"lenet5": rows}


def test_the_model_finds_what_steps_of_two_ranks_are_made_of() -> None:
    sums, steps = measured()
    links = scale.fit_sums(sums)
    assert vars(links[WORKERS]) == pytest.approx({"base": 10e-6, "slope": 1e-9})
    errors = list(scale.compare_with_model(steps, links))
    assert [error["batch"] for error in errors] == [64, 128, 512]
    for error in errors:
        assert error["model"] == pytest.approx(error["measured"])
        assert error["slowdown"] == pytest.approx(1.1)
    assert "(+0 %)" in scale.describe_error(errors[0])
    lines = list(scale.scaling(steps))
    # Alone 13.8 ms, 7.4 ms for a part; two ranks 8.397 ms, and in the second round 25.19.
    assert lines[1] == (
        "lenet5, batch 128, 2 workers: speedup 1.10 (0.55-1.64); 64 images a rank: efficiency "
        "0.59 (0.29-0.88)"
    )


def test_the_plot_has_what_was_measured_above() -> None:
    pytest.importorskip("matplotlib")
    from bench.scaling.plot import draw

    sums, steps = measured()
    links = scale.fit_sums(sums)
    errors = list(scale.compare_with_model(steps, links))
    figure = draw(sums, links, errors, predict(settle([])))
    assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes] == [
        "Measured", "Measured", "Predicted, not run", "Predicted, not run",
    ]  # fmt: skip
    assert "mathdefault" not in figure.render("svg").decode()  # Matplotlib's powers of ten


def test_two_processes_exchange_sums_through_shared_memory() -> None:
    from bench.sides import ranks

    job = ranks.load({"bytes": 4096, "workers": 2})
    assert job.check()["sum"] == pytest.approx(3 * np.arange(1024.0))
    assert job.run(8) > 0
