"""Every kernel through NVRTC, CUDA's own compiler, which needs no GPU: no warning and no spill.

``python tests/test_compile.py`` prints the table of registers, spills and shared memory.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from available import STANDIN

from gpucnn.backends.cuda.sources import kernel_folder, signatures, source

REQUIRED = bool(os.environ.get("GPUCNN_REQUIRE_NVRTC") or os.environ.get("GPUCNN_REQUIRE_GPU"))
ARCHITECTURES = (75, 80, 90, 100, 120)
TENSOR_CORES = 80  # the first that multiplies TF32
FILES = sorted(kernel_folder().glob("*.cu"))

USAGE = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?"
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?:, used \d+ barriers)?(?:, (?P<shared>\d+) bytes smem)?",
    re.DOTALL,
)


def reals(file: Path) -> tuple[str, ...]:
    """Return the types that a file is for."""
    return ("float",) if file.stem.endswith("_tf32") else ("float", "double")


def compiled(file: Path, architecture: str, real: str, *more: str) -> Any:
    """Return NVRTC and the program."""
    if STANDIN and not os.environ.get("GPUCNN_REQUIRE_NVRTC"):
        pytest.skip("these need NVIDIA's NVRTC, which the stand-in replaces: run them without it")
    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        if REQUIRED:
            raise
        pytest.skip(f"no NVRTC ({type(error).__name__}): pip install '.[nvrtc]'")
    program = nvrtc.createProgram(source(file), file.name, (), ())
    try:
        options = ("--std=c++17", f"-Dreal={real}", f"-arch={architecture}", *more)
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    return nvrtc, program


def compile_file(file: Path, architecture: int, real: str) -> tuple[str, bytes]:
    """Return the compiler's log and the machine code."""
    nvrtc, program = compiled(file, f"sm_{architecture}", real, "--ptxas-options=-v")
    return nvrtc.getProgramLog(program), nvrtc.getCUBIN(program)


def usage(log: str) -> Iterator[dict[str, str]]:
    return (match.groupdict() for match in USAGE.finditer(log))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_kernels_compile_without_a_warning_or_a_spill(file: Path, architecture: int) -> None:
    names = {name for name, found in signatures(kernel_folder()).items() if found.file == file}
    for real in reals(file):
        log, code = compile_file(file, architecture, real)
        assert "warning" not in log.lower(), log
        rows = list(usage(log))
        assert {row["name"] for row in rows} == names
        for row in rows:
            assert (row["stores"], row["loads"]) == ("0", "0"), f"{row['name']} spills ({real})"
        assert code[:4] == b"\x7fELF"


@pytest.mark.parametrize("architecture", [75, TENSOR_CORES, 90])
@pytest.mark.parametrize("file", [f for f in FILES if reals(f) == ("float",)], ids=lambda f: f.stem)
def test_tf32_is_multiplied_by_tensor_cores_where_there_are_some(
    file: Path, architecture: int
) -> None:
    """In every kernel of the file, and nowhere by the path that the emulator takes."""
    nvrtc, program = compiled(file, f"compute_{architecture}", "float")
    kernels = nvrtc.getPTX(program).decode().split(".entry ")[1:]
    assert len(kernels) == source(file).count("__global__")
    for kernel in kernels:
        instruction = "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" in kernel
        assert instruction == (architecture >= TENSOR_CORES)
        assert ("shfl.sync" in kernel) != instruction


def main(architecture: int = 90) -> None:
    print("| kernel | real | registers | spills | shared memory |\n| --- | --- | --- | --- | --- |")
    for file in FILES:
        for real in reals(file):
            for row in usage(compile_file(file, architecture, real)[0]):
                spills = int(row["stores"]) + int(row["loads"])
                shared = row["shared"] or 0
                print(f"| {row['name']} | {real} | {row['registers']} | {spills} | {shared} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
