"""Profile mode: its counts are those on paper, and those of a model of a warp."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import counted.known
import numpy as np
import pytest
from counted.known import CASES, f
from counted.simt import LANES, WORDS, Kernel

from gpucnn import emulator
from gpucnn.emulator import Profile, RawModule, blocks, settings
from gpucnn.errors import BackendError, SettingError

try:
    emulator.require()
    MISSING = ""
except BackendError as error:
    MISSING = str(error)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@functools.cache
def known() -> RawModule:
    code = Path(counted.known.__file__).with_suffix(".cu").read_text()
    return RawModule(code=f'#line 1 "known.cu"\n{code}')


def measured(case: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
    _, name, block, shared, arguments, _ = case
    block = block if isinstance(block, tuple) else (block,)
    given = [emulator.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
    with emulator.profiling() as profile:
        known().get_function(name)((1,), block, given, shared_mem=shared)
    kernel = profile.kernel(name)
    found = {}
    for space, moved in (("global", "sectors"), ("shared", "wavefronts")):
        for use in ("load", "store", "atomic"):
            counts = getattr(kernel, f"{space}_{use}")
            numbers = (counts.requests, counts.lanes, getattr(counts, moved),
                       getattr(counts, f"least_{moved}"))  # fmt: skip
            if counts.requests:
                found[f"{space}_{use}"] = (*numbers, counts.serial) if use == "atomic" else numbers
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_the_counts_are_those_on_paper(case: tuple[Any, ...]) -> None:
    assert measured(case) == case[-1]


@pytest.mark.parametrize("order", ["reverse", "random"])
def test_the_order_of_threads_does_not_change_the_counts(order: str) -> None:
    emulator.configure(order=order, seed=3)
    for case in CASES:
        assert measured(case) == case[-1], case[0]


def test_random_control_flow_is_counted_as_a_warp_runs_it() -> None:
    """Requests, lanes and sectors of each load, against a model that runs lanes under a mask."""
    # The last five differ if loops within loops do not begin with a successor of the outer head.
    kernels = [Kernel(seed) for seed in (*range(17), 96, 130, 150, 196, 262)]
    module = RawModule(code="\n".join(kernel.text() for kernel in kernels))
    x, y = emulator.zeros(WORDS, np.int32), emulator.zeros(LANES, np.int32)
    with emulator.profiling() as profile:
        for kernel in kernels:
            module.get_function(kernel.name)((1,), (LANES,), (x, y))
    found: dict[str, Counter[tuple[int, str]]] = {kernel.name: Counter() for kernel in kernels}
    for line in profile.lines():
        if line.use == "load":
            assert line.line is not None
            numbers = found[line.kernel]
            numbers[line.line, "requests"] += line.counts.requests
            numbers[line.line, "lanes"] += line.counts.lanes
            numbers[line.line, "sectors"] += line.counts.sectors
    loads = 0
    for kernel in kernels:
        wanted = Counter({
            (line, what): count
            for line, counts in kernel.run().items()
            for what, count in zip(("requests", "lanes", "sectors"), counts, strict=True)
        })  # fmt: skip
        assert found[kernel.name] == wanted, kernel.name
        loads += len(wanted)
    assert loads > 300


def profiled(name: str, *arguments: Any, block: int = 32, grid: int = 1) -> Profile:
    """Launch a kernel of known.cu and return the profile."""
    given = [emulator.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
    with emulator.profiling() as profile:
        known().get_function(name)((grid,), (block,), given)
    return profile


def test_a_kernel_has_its_launches_their_shapes_and_its_sums() -> None:
    x, y = emulator.asarray(f(1024)), emulator.empty(1024, "float32")
    copy = known().get_function("transpose_33")
    with emulator.profiling() as profile:
        for _ in range(3):
            copy((1,), (32, 32), (x, y))
    kernel = profile.kernel("transpose_33")
    assert kernel.launches == 3
    assert kernel.shapes == {((1, 1, 1), (32, 32, 1), 32 * 33 * 4): 3}
    assert (kernel.sectors_read, kernel.sectors_written) == (3 * 128, 3 * 128)
    assert kernel.bytes_moved == kernel.bytes_once == 3 * 256 * 32
    assert kernel.shared.wavefronts == 3 * 64
    assert kernel.active_lanes == 32


def test_sectors_that_several_requests_touch_are_read_once() -> None:
    kernel = profiled("strided", f(256), f(64), np.int32(4), block=64).kernel("strided")
    assert kernel.global_load.sectors == kernel.sectors_read == 32
    kernel = profiled("broadcast", f(32), f(64), block=64).kernel("broadcast")
    assert (kernel.global_load.sectors, kernel.sectors_read, kernel.sectors_written) == (2, 1, 8)


def test_additions_multiplications_divisions_and_roots_are_counted() -> None:
    y, z = f(32), f(32, "float64")
    profile = profiled("arithmetic", y, z, np.float32(0.5), np.float64(3))
    kernel = profile.kernel("arithmetic")
    assert (kernel.flops, kernel.double_flops) == (32 * 23, 16 * 2)
    assert 16 < kernel.active_lanes < 32


def test_the_arithmetic_of_a_block_belongs_to_the_call_at_its_start() -> None:
    text = """\
\t.type\tf, @function
f:
\tcall\t__sanitizer_cov_trace_pc@PLT
\tvmulss\t%xmm0, %xmm1, %xmm2
\tcall\t__tsan_read4@PLT
\tvfmadd132ss\t%xmm0, %xmm1, %xmm2
\tjne\t.L2
\tvaddsd\t%xmm0, %xmm1, %xmm2
.L2:
\tcall\t__sanitizer_cov_trace_pc@PLT
\tvsqrtss\t%xmm0, %xmm1, %xmm2
\tvfnmsub231sd\t%xmm0, %xmm1, %xmm2
\tret
\t.size\tf, .-f
"""
    ranked = blocks.rank_calls(text)
    assert ranked.work == [(4, 3, 1), (0, 0, 0), (3, 1, 2)]
    assert "gpu_trace_read4" in ranked.text
    assert "tsan" not in ranked.text


def test_lines_have_file_text_and_counts_and_the_most_waste_comes_first() -> None:
    profile = profiled("if_else", f(64), f(32))
    first, *others = profile.lines("if_else")
    text = "if (threadIdx.x % 2) value = x[threadIdx.x];"
    assert (first.file, first.text, first.use, first.size) == ("known.cu", text, "load", 4)
    assert first.counts.wasted_bytes == 2 * 32
    assert known().code.splitlines()[first.line or 0].strip() == text
    assert [line.use for line in others] == ["load", "store"]


def test_a_line_of_an_included_file_has_its_text(tmp_path: Path) -> None:
    header = tmp_path / "twice.cuh"
    header.write_text("__device__ float twice(const float* x) {\n    return 2 * *x;\n}\n")
    code = f'''#include "{header}"
extern "C" __global__ void f(const float* x, float* y) {{ y[threadIdx.x] = twice(x); }}'''
    kernel = RawModule(code=code).get_function("f")
    with emulator.profiling() as profile:
        kernel((1,), (32,), (emulator.asarray(f(1)), emulator.empty(32, "float32")))
    assert {line.text for line in profile.lines() if line.use == "load"} == {"return 2 * *x;"}


def test_an_unknown_kernel_is_refused_with_the_names_that_ran() -> None:
    with pytest.raises(SettingError, match="broadcast"):
        profiled("broadcast", f(32), f(32)).kernel("brodcast")


def test_a_fault_ends_the_launch_and_the_next_one_is_counted() -> None:
    gather = known().get_function("gather")
    x, y = emulator.asarray(f(32)), emulator.empty(32, "float32")
    # 8 GiB away, where no array of another test can be: profile mode lets a kernel read them all.
    bad, good = (emulator.asarray(np.full(32, at, np.int32)) for at in (2**31 - 1, 5))
    with emulator.profiling() as profile:
        with pytest.raises(emulator.EmulatorError, match="out of bounds"):
            gather((1,), (32,), (x, bad, y))
        gather((1,), (32,), (x, good, y))
    assert profile.kernel("gather").launches == 1
    assert profile.kernel("gather").global_load.sectors == 4 + 1


def test_graphs_are_counted_if_they_were_captured_in_profile_mode() -> None:
    copy = known().get_function("copy")
    x, y = emulator.asarray(f(32)), emulator.empty(32, "float32")

    def captured() -> Any:
        stream = emulator.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            copy((1,), (32,), (x, y))
            return stream.end_capture()

    fast = captured()
    with emulator.profiling() as profile:
        graph = captured()
        for _ in range(2):
            graph.launch()
            fast.launch()
    assert profile.kernel("copy").launches == profile.not_counted == 2
    assert "2 launches are not counted" in str(profile)


def test_profiles_within_each_other_count_separately_and_the_mode_comes_back() -> None:
    x, y = emulator.asarray(f(32)), emulator.empty(32, "float32")
    copy = known().get_function("copy")
    emulator.configure("check")
    with emulator.profiling() as outer:
        copy((1,), (32,), (x, y))
        with emulator.profiling() as inner:
            copy((1,), (32,), (x, y))
    assert settings.current().mode == "check"
    assert outer.kernel("copy").launches == inner.kernel("copy").launches == 1


def test_the_variable_prints_a_table_when_python_exits() -> None:
    code = f"""
from gpucnn import emulator
copy = emulator.RawModule(code={known().code!r}).get_function("copy")
copy((1,), (32,), (emulator.zeros(32, "float32"), emulator.zeros(32, "float32")))
"""
    environment = {**os.environ, "GPUCNN_EMULATOR": "profile"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    head, row = done.stderr.splitlines()
    assert head.startswith("kernel  launches  load sectors  of least  store sectors  of least")
    assert row.split() == ["copy", "1", "4", "4", "4", "4", "0", "0", "32.0", "0"]
