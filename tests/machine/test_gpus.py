"""Estimates for GPUs that are not here: figures, occupancy, roofline and NVRTC's log."""

from __future__ import annotations

from collections import Counter

import pytest

from gpucnn.emulator import Profile
from gpucnn.emulator.counts import GlobalAccesses, KernelProfile, SharedAccesses
from gpucnn.errors import BackendError, SettingError
from gpucnn.machine.gpus import GPUS, Gpu, get_gpu, make_report, nvrtc, occupancy, roofline
from gpucnn.machine.gpus.nvrtc import Resources, read_resources

LOG = """\
ptxas info    : 0 bytes gmem, 24 bytes cmem[4]
ptxas info    : Compiling entry function 'scale' for 'sm_90'
ptxas info    : Function properties for scale
    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 8 bytes cumulative stack size, 4224 bytes smem
ptxas info    : Compiling entry function 'copy' for 'sm_90'
ptxas info    : Function properties for copy
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers
"""


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_published_rates_are_those_of_cores_and_clock(gpu: Gpu) -> None:
    assert gpu.tflops == pytest.approx(
        gpu.multiprocessors * gpu.cores * 2 * gpu.clock / 1e3, rel=0.01
    )
    assert gpu.source


def test_a_gpu_is_found_by_its_name_however_it_is_written() -> None:
    assert get_gpu("H100") is get_gpu("h100") is GPUS["h100"]
    assert get_gpu("RTX 4090") is GPUS["rtx4090"]
    with pytest.raises(SettingError, match="h100"):
        get_gpu("h1000")


# The blocks are those of cudaOccMaxActiveBlocksPerMultiprocessor in CUDA 12.9's cuda_occupancy.h.
@pytest.mark.parametrize(
    ("gpu", "threads", "registers", "shared", "blocks", "limit"),
    [
        ("h100", 256, 32, 0, 8, "threads"),
        ("h100", 32, 32, 0, 32, "blocks"),
        ("h100", 256, 33, 0, 6, "registers"),  # 40 registers: 12 warps a partition
        ("h100", 128, 168, 14336, 3, "registers"),
        ("h100", 128, 56, 11264, 9, "registers"),
        ("h100", 64, 32, 32 * 1024, 6, "shared memory"),
        ("h100", 1024, 255, 0, 0, "registers"),
        ("a100", 64, 32, 32 * 1024, 4, "shared memory"),  # 164 KiB, and 1 KiB more for each block
        ("t4", 64, 32, 32 * 1024, 2, "shared memory"),
        ("t4", 256, 64, 0, 4, "threads"),
        ("l4", 33, 32, 0, 24, "threads"),
    ],
)
def test_occupancy_is_that_of_cudas_header(
    gpu: str, threads: int, registers: int, shared: int, blocks: int, limit: str
) -> None:
    found = occupancy(GPUS[gpu], threads, registers, shared)
    assert (found.blocks, found.limit) == (blocks, limit)
    assert found.warps == blocks * -(-threads // 32)
    assert found.share == found.warps * 32 / GPUS[gpu].threads


def kernel(**fields: object) -> KernelProfile:
    shapes = Counter({((1000, 1, 1), (256, 1, 1), 0): 1})
    return KernelProfile("f", **{"shapes": shapes, **fields})  # type: ignore[arg-type]


def test_the_roof_is_the_slowest_part() -> None:
    h100 = GPUS["h100"]
    busy = roofline(h100, kernel(flops=67_000_000, double_flops=34_000_000))
    assert (busy.roof, busy.seconds) == ("arithmetic", pytest.approx(2e-6))
    busy = roofline(h100, kernel(sectors_read=50_000, sectors_written=50_000, flops=1))
    assert (busy.roof, busy.seconds) == ("memory", pytest.approx(3_200_000 / 3350e9))
    load, shared = GlobalAccesses(_moved=400), SharedAccesses(_moved=100)
    busy = roofline(h100, kernel(global_load=load, shared_load=shared))
    assert (busy.roof, busy.seconds) == ("l1", pytest.approx(200 / 132 / 1.98e9))


def test_no_more_multiprocessors_work_than_there_are_blocks() -> None:
    shapes = Counter({((2, 3, 1), (256, 1, 1), 0): 1, ((1, 1, 1), (256, 1, 1), 0): 5})
    few = roofline(GPUS["h100"], kernel(shapes=shapes, flops=67_000_000))
    assert few.seconds == pytest.approx(1e-6 * 132 / 6)


def test_resources_are_read_from_the_log_of_ptxas() -> None:
    assert read_resources(LOG) == {
        "scale": Resources(40, 4224, 12, 16),
        "copy": Resources(10, 0, 0, 0),
    }


def test_a_report_without_nvrtc_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise BackendError("NVRTC is not installed: pip install 'gpucnn[nvrtc]'")

    monkeypatch.setattr(nvrtc, "_library", missing)
    profile = Profile()
    profile.kernels["f"] = kernel()
    profile.sources["f"] = ("code of its own", ())
    report = make_report(profile, GPUS["t4"])
    assert report.kernels[0].resources is report.kernels[0].occupancy is None
    assert "pip install 'gpucnn[nvrtc]'" in (report.note or "")


def test_a_report_has_the_occupancy_of_the_largest_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "gpucnn.machine.gpus.report.compile_resources", lambda *_: read_resources(LOG)
    )
    profile = Profile()
    shapes = Counter({((5, 1, 1), (64, 2, 1), 8192): 1, ((4, 1, 1), (1024, 1, 1), 0): 9})
    profile.kernels["scale"] = kernel(shapes=shapes)
    profile.sources["scale"] = ("", ())
    (found,) = make_report(profile, GPUS["a100"]).kernels
    assert found.occupancy == occupancy(GPUS["a100"], 128, 40, 8192)
    assert found.as_dict()["resources"]["spill_loads"] == 16
