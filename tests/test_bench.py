"""The benches: which peers are refused, in which order they are timed, and the figures."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from available import backend_or_skip

ROOT = Path(__file__).parents[1]
# Last, so that an installed gpucnn stays the one that is tested.
sys.path.append(str(ROOT))

from bench import harness, peers, show  # noqa: E402
from bench.harness import Peer, Report, Row, compare, mismatch, rotated  # noqa: E402
from gpucnn.backends.cuda import probe  # noqa: E402
from gpucnn.backends.cuda.sources import kernel_folder, signatures  # noqa: E402
from gpucnn.backends.cuda.tiles import FILE, PRODUCTS, tiles_of  # noqa: E402
from gpucnn.machine import processor  # noqa: E402


def peer(name: str, log: list[str], results: Any = 1.0, seconds: float = 1.0) -> Peer:
    def run(count: int) -> float:
        log.append(name)
        return seconds * count

    return Peer(name, lambda: {"x": results}, run, count=2)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "PAUSE", 0.0)


def test_peers_are_interleaved_and_each_round_starts_with_the_next() -> None:
    log: list[str] = []
    row = compare("case", [peer(name, log) for name in "abc"], {"x": 1.0}, rounds=4)
    assert "".join(log) == "abc" + "bca" + "cab" + "abc"
    assert row.costs == {name: [1.0] * 4 for name in "abc"}  # of one run, not of a block


def test_the_order_of_no_peers() -> None:
    assert rotated([], 3) == []


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (1.1, "error 1.0e-01"),
        (float("nan"), "error nan"),
        (np.ones(2), "(2,), expected ()"),
    ],
)
def test_a_peer_with_a_wrong_result_is_refused_and_not_timed(results: Any, message: str) -> None:
    log: list[str] = []
    peers = [peer("right", log, 1.0), peer("wrong", log, results)]
    row = compare("case", peers, {"x": 1.0}, rounds=2)
    assert log == ["right", "right"]
    assert list(row.costs) == ["right"]
    assert message in row.refused["wrong"]


def test_the_tolerance_is_relative_to_the_greatest_element() -> None:
    reference = {"x": np.array([1000.0, 0.0])}
    assert mismatch({"x": np.array([1000.0, 0.09])}, reference, 1e-4) is None
    assert mismatch({"x": np.array([1000.0, 0.11])}, reference, 1e-4) is not None
    assert "expected ['x']" in (mismatch({"y": 1.0}, reference, 1e-4) or "")


def test_a_peer_that_cannot_be_run_is_refused() -> None:
    def broken() -> Any:
        raise harness.BenchError("no such thing")

    row = compare("case", [Peer("broken", broken, lambda count: 1.0)], {}, rounds=2)
    assert row.refused == {"broken": "no such thing"}
    assert row.costs == {}


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    row = Row("case", costs={"ours": [1.0, 2.0, 4.0], "PyTorch 1": [3.0, 4.0, 20.0]})
    assert row.ratio("PyTorch 1", "ours") == (3.0, 2.0, 5.0)  # medians would give 4 / 2


def test_pytorch_is_the_better_of_its_thread_counts() -> None:
    costs = {"gpucnn": [1.0], "PyTorch 1 thread": [3.0], "PyTorch 2 threads": [2.0]}
    row = Row("case", costs=costs)
    assert row.best("PyTorch") == "PyTorch 2 threads"
    assert show.ratio(row, "gpucnn") == "2.00\n(2.00-2.00)"
    data = show.as_data(Report("title", [row]))
    assert data["rows"][0]["pytorch_over"]["gpucnn"]["median"] == 2.0


def test_a_block_takes_the_time_asked_for() -> None:
    steady = Peer("steady", dict, lambda count: 0.001 * count)
    assert harness.calibrated(steady, 0.2) == 200


def test_costs_are_written_in_their_unit() -> None:
    written = [show.cost(x, "s") for x in (2.5, 0.0123, 4.56e-6, 0.0)]
    assert written == ["2.50 s", "12.3 ms", "4.56 µs", "0 µs"]
    assert show.cost(107.6, "MB") == "108 MB"


def test_the_fitted_line_and_its_r2() -> None:
    from bench.linear import fit_line

    x = np.arange(1.0, 6.0)
    assert fit_line(x, 3 * x + 2) == pytest.approx((3, 2, 1))
    assert fit_line(x, np.array([1.0, -1.0, 0.0, -1.0, 1.0]))[2] == pytest.approx(0)


def test_timers_do_not_count_nested_calls_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.sides import timers as module
    from bench.sides.timers import OTHER, Timers

    # A clock that advances by a second whenever it is read: relu takes 3 s, _relu 1 s of them.
    clock = SimpleNamespace(perf_counter=iter(range(100)).__next__)
    monkeypatch.setattr(module, "time", clock)

    class Backend:
        def relu(self, x: Any) -> Any:
            return self._relu(x)

        def _relu(self, x: Any) -> Any:
            return x

    backend, timers = Backend(), Timers()
    timers.wrap(backend)
    backend.relu(np.ones((2, 3)))
    parts = timers.collect(10.0)
    assert set(parts) == {"relu 2x3", OTHER}
    assert sum(parts.values()) == pytest.approx(10.0)
    assert parts["relu 2x3"] == 3
    assert timers.collect(0.0) == {OTHER: 0.0}


def test_a_small_bench_runs_without_pytorch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.__main__ import main

    monkeypatch.setattr(peers, "HAS_TORCH", False)
    monkeypatch.setenv("COLUMNS", "120")
    path = tmp_path / "figures.json"
    arguments = ["ops", "--quick", "--rounds", "1", "--only", "softmax 10", "--json", str(path)]
    assert main(arguments) == 0
    assert "pip install 'gpucnn[bench]'" in capsys.readouterr().out
    found = json.loads(path.read_text())
    assert found["machine"]["cpu"] == processor.name()
    assert found["machine"]["blas"]["name"]
    rows = {row["case"]: row for row in found["benches"]["ops"]["rows"]}
    assert set(rows) == {"softmax 10, forward", "softmax 10, backward"}
    for row in rows.values():
        assert row["refused"] == {}
        assert {"gpucnn", "loops"} <= set(row["medians"])


def test_steps_on_images_in_files_end_with_the_loss_of_those_in_memory() -> None:
    from bench import reading

    report = reading.run(harness.Options(tiny=True, rounds=1))
    assert [(row.case, row.refused) for row in report.rows] == [("batch 64", {}), ("batch 512", {})]
    assert all(set(row.costs) == {"memory", "files"} for row in report.rows)


def test_every_bench_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    from bench.__main__ import BENCHES, GPU_BENCHES, main

    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in (*BENCHES, *GPU_BENCHES))


def test_a_peer_that_fails_while_timed_is_refused_and_the_others_continue() -> None:
    costs = iter([1.0, 2.0])

    def failing(count: int) -> float:
        try:
            return next(costs)
        except StopIteration:
            raise harness.BenchError("the device is gone") from None

    broken = Peer("broken", lambda: {"x": 1.0}, failing, count=1)
    row = compare("case", [broken, peer("steady", [])], {"x": 1.0}, rounds=4)
    assert row.refused == {"broken": "the device is gone"}
    assert row.costs == {"steady": [1.0] * 4}


def test_no_case_is_started_after_the_time_limit() -> None:
    assert not harness.Options().out_of_time()
    assert harness.Options(seconds=0.0).out_of_time()
    options = harness.Options(seconds=0.0)
    jobs = {"case": {"kind": "op", "case": "softmax 10", "direction": "forward"}}
    report = peers.compare_jobs(Report("title"), jobs, options, [], rounds=1)
    assert report.rows == []
    assert report.notes == ["case: left out, no time left"]


def test_no_round_but_the_first_is_started_after_the_time_limit() -> None:
    log: list[str] = []
    row = compare("case", [peer("a", log)], {"x": 1.0}, rounds=4, out_of_time=lambda: True)
    assert row.costs == {"a": [1.0]}


def test_a_side_that_cannot_start_is_left_out() -> None:
    report = Report("title")
    found = [peers.Flavour("gone", "no_such_side", {}), peers.Flavour("loops", "naive", {})]
    jobs = {"case": {"kind": "op", "case": "softmax 10", "direction": "forward"}}
    options = harness.Options(rounds=1)
    peers.compare_jobs(report, jobs, options, found, rounds=1, tolerance=lambda case: 2e-4)
    assert report.notes == ["gone: left out, the process of gone ended"]
    assert list(report.rows[0].costs) == ["loops"]


def test_rows_are_kept_when_a_bench_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench import ops
    from bench.__main__ import main

    def failing(options: harness.Options) -> Report:
        report = Report("title", [Row("first", costs={"a": [1.0]}, refused={"b": "no GPU"})])
        options.progress(report)
        raise harness.BenchError("the device is gone")

    monkeypatch.setattr(ops, "run", failing)
    path = tmp_path / "figures.json"
    assert main(["ops", "--json", str(path)]) == 1
    printed = capsys.readouterr().err
    assert printed == "first: a 1.00 s, b refused: no GPU\nbench ops: the device is gone\n"
    (row,) = json.loads(path.read_text())["benches"]["ops"]["rows"]
    assert row["medians"] == {"a": 1.0}


def test_the_operations_and_bytes_of_a_case() -> None:
    from bench import cases

    found = cases.gpu_cases()
    conv = found["conv2d 28x28 5x5 1->6, batch 64"]
    outputs = 64 * 6 * 28 * 28
    moved = 4 * (64 * 28 * 28 + 6 * 25 + 6 + outputs)
    assert cases.amount(conv, "forward") == (2 * 25 * outputs, moved)
    assert cases.amount(conv, "backward") == (2 * 25 * outputs, moved)  # no gradient of the images
    linear = found["linear 400->120, batch 64"]
    flops, moved = cases.amount(linear, "backward")
    assert flops == 4 * 64 * 400 * 120
    assert moved == 4 * (2 * 64 * 400 + 64 * 120 + 2 * 400 * 120 + 120)
    for case in found.values():
        for direction in case.directions:
            assert cases.amount(case, direction)[1] > 0


@pytest.mark.skipif(probe.driver_version() is not None, reason="there may be a GPU")
def test_a_gpu_bench_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    from bench.__main__ import main

    assert main(["gpu_ops"]) == 1
    assert capsys.readouterr().err.startswith("bench gpu_ops: ")


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [
        (
            ["gpu_lenet", "--only", "batch 1024"],
            {"gpucnn eager", "gpucnn captured", "gpucnn fused", "PyTorch eager"},
        ),
        (["gpu_accuracy"], {"gpucnn captured", "gpucnn fused"}),
        (["gpu_ops", "--only", "3x3"], {"gpucnn", "PyTorch"}),
        (["gpu_start"], {"gpucnn", "gpucnn, nothing compiled", "PyTorch eager"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_bench_for_a_gpu_can_be_rehearsed(
    arguments: list[str], columns: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The emulator replaces the GPU, and PyTorch computes on the CPU."""
    from bench.__main__ import main

    pytest.importorskip("torch")
    backend_or_skip("emulated")
    path = tmp_path / "figures.json"
    assert main([*arguments, "--rehearse", "--rounds", "1", "--json", str(path)]) == 0
    assert "REHEARSAL" in capsys.readouterr().out
    (report,) = json.loads(path.read_text())["benches"].values()
    assert report["about"]["rehearsal"] is True
    assert len(report["rows"]) > (arguments[0] == "gpu_ops")
    for row in report["rows"]:
        wanted = columns - ({"gpucnn"} if row["case"].endswith("tf32") else set())
        assert wanted <= set(row["costs"]), row["refused"]
        if not row["case"].endswith("tf32"):
            assert all(reason.endswith("needs CUDA") for reason in row["refused"].values())
    kernels = report["about"].get("kernels_per_step", {"gpucnn eager": 1})
    assert kernels["gpucnn eager"] > 0


def test_a_replay_of_pytorch_keeps_the_tensors_that_it_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A CUDA graph does not, and then reads whatever was allocated in their place."""
    torch = pytest.importorskip("torch")
    from bench.sides.pytorch_gpu import capture

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: nullcontext())

    def captured() -> tuple[Any, Any]:
        offsets = torch.arange(3)
        return capture(lambda: offsets + 1, None), weakref.ref(offsets)

    replay, offsets = captured()
    gc.collect()
    assert offsets() is not None
    del replay
    gc.collect()
    assert offsets() is None


def test_a_bench_for_a_gpu_without_pytorch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench import gpu
    from bench.__main__ import main

    backend_or_skip("emulated")
    for module in (gpu, peers):
        monkeypatch.setattr(module, "HAS_TORCH", False)
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["gpu_ops", "--rehearse", "--only", "6x6"]) == 0
    printed = capsys.readouterr().out
    assert "the ceilings are measured with PyTorch" in printed
    assert show.MISSING in printed


@pytest.mark.parametrize("confirmed", [True, False])
def test_numpy_must_confirm_an_accuracy(confirmed: bool) -> None:
    from bench.gpu_accuracy import add

    run = {"seconds": np.array([1.0, 2.0]), "accuracies": np.array([0.5, 0.9]), "seed": 0}
    run["reference"] = 0.9 if confirmed else 0.8
    report = Report("title", [Row("to 80 %")], about={"seeds": {"gpucnn": []}})
    one = Peer("gpucnn", lambda: run, lambda count: 0.0)
    if confirmed:
        add(report, (0.8,), one)
        assert report.rows[0].costs == {"gpucnn": [2.0]}
    else:
        with pytest.raises(harness.BenchError, match=r"0\.9000, but 0\.8000 by NumPy"):
            add(report, (0.8,), one)


def test_a_process_that_does_not_reply_is_ended() -> None:
    flavour = peers.Flavour("slow", "naive", {}, patience=0.0)
    worker = peers.Worker(flavour)
    with pytest.raises(harness.BenchError, match="no reply within 0 s"):
        worker.ask("about")
    with pytest.raises(harness.BenchError, match="the process of slow ended"):
        worker.ask("about")
    worker.close()


# --- tune ---------------------------------------------------------------------------------------


def test_tuning_needs_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    from bench.__main__ import main

    if probe.driver_version() is not None:
        pytest.skip("there may be one")
    assert main(["tune"]) == 1
    assert "bench tune: no GPU to tune for, " in capsys.readouterr().err


def test_times_of_the_emulator_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    from bench.__main__ import main

    assert main(["tune", "--rehearse", "--write"]) == 1
    assert "--write needs a GPU" in capsys.readouterr().err


def test_products_without_enough_time_get_no_table() -> None:
    from bench import tune

    backend_or_skip("emulated")
    report = tune.run(harness.Options(rehearse=True, seconds=0.0))
    assert report.rows == []
    assert "no time left for a table of " in report.notes[0]
    assert report.notes[1].endswith("is unchanged")


def test_tuning_in_the_emulator(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every product and tile is verified and timed, and the table is complete."""
    from bench.__main__ import main

    backend_or_skip("emulated")
    before, path = FILE.read_bytes(), tmp_path / "figures.json"
    assert main(["tune", "--rehearse", "--json", str(path)]) == 0
    assert FILE.read_bytes() == before
    assert "--write would write this to" in capsys.readouterr().out
    rows = json.loads(path.read_text())["benches"]["tune"]["rows"]
    assert all(not row["refused"] for row in rows)
    kernels = signatures(kernel_folder())
    for product in PRODUCTS:
        for name in (product, f"{product}_tf32"):
            found = [row for row in rows if row["case"].startswith(f"{name}, ")]
            assert len(found) == (2 if product.startswith("conv2d") else 1)
            wanted = {tile.name for tile in tiles_of(name, kernels)}
            for row in found:
                assert set(row["medians"]) == wanted | ({"ieee"} if name != product else set())


def test_a_tile_with_a_wrong_result_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import tune

    backend_or_skip("emulated")
    call = tune.Layer.call

    def wrong(layer: Any, backend: Any, product: str) -> Any:
        compute, written = call(layer, backend, product)

        def computed() -> None:
            compute()
            if backend.variant == {"linear_forward": "32x32"}:
                written[0][...] = 1

        return computed, written

    monkeypatch.setattr(tune.Layer, "call", wrong)
    report = tune.run(harness.Options(only="linear_forward, ", rehearse=True))
    (row,) = report.rows
    assert set(row.costs) == {"16x32", "64x128"}
    assert "has error" in row.refused["32x32"]


def test_the_table_that_results_from_times() -> None:
    from bench.tune import entries

    fast, slow = {"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 1.0}
    nearly = {"a": 1.02, "b": 1.0}
    points = [((8, 100), fast), ((8, 400), slow), ((64, 100), slow), ((64, 900), slow)]
    assert entries([*points, ((256, 50), slow), ((8, 50), nearly), ((8, 40), fast)]) == [
        {"rows": [1, 22], "columns": [1, 200], "tile": "a"},
        {"rows": [1, 22], "columns": [201, None], "tile": "b"},
        {"rows": [23, None], "columns": [1, None], "tile": "b"},
    ]
    assert entries([((8, 9), fast), ((8, 9), {"a": 1.0, "b": 0.5})]) == [
        {"rows": [1, None], "columns": [1, None], "tile": "a"}
    ]
