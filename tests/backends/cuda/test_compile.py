"""Every kernel through NVRTC, CUDA's own compiler, which needs no GPU: no warning, no spill, and
the instructions that the options ask for.

``python tests/test_compile.py`` prints the table of registers, spills and shared memory.
"""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from available import STANDIN

from gpucnn.backends.cuda.loader import _module
from gpucnn.backends.cuda.sources import kernel_folder, signatures, source
from gpucnn.machine.gpus.nvrtc import VERBOSE, compile_resources, read_resources

REQUIRED = bool(os.environ.get("GPUCNN_REQUIRE_NVRTC") or os.environ.get("GPUCNN_REQUIRE_GPU"))
ARCHITECTURES = (75, 80, 90, 100, 120)
ARCHITECTURES_FOR_DOUBLE = (75, 90, 120)
TENSOR_CORES = 80  # the first that multiplies TF32
FILES = sorted(kernel_folder().glob("*.cu"))


def is_tf32(file: Path) -> bool:
    return file.stem.endswith("_tf32")


def reals(file: Path) -> tuple[str, ...]:
    """Return the types that a file is for."""
    return ("float",) if is_tf32(file) else ("float", "double")


class Compiled:
    """A file as CuPy compiles it for a GPU, which need not be here.

    CuPy's own functions compile it, from where RawModule calls them to where the driver would load
    the machine code, so that NVRTC gets the options that it gets on a GPU: ``options``.
    """

    options: tuple[str, ...]
    code: bytes
    ptx: str  # of which the machine code is made

    def __init__(self, file: Path, architecture: int, real: str, *more: str) -> None:
        """more: options in addition to gpucnn's."""
        cupy, compiler = import_cupy()
        module = _module(cupy, file, np.dtype("float32" if real == "float" else "float64"))
        # Without the memory for each device, which would ask for one.
        compile_module = cupy._core.raw._get_raw_module.__wrapped__
        options, log = (*module.options, *more), io.StringIO()
        with (
            mock.patch.dict(os.environ, CUPY_CACHE_IN_MEMORY="1"),
            mock.patch.multiple(compiler, **self._replaced(compiler, architecture)),
        ):
            try:
                compile_module(
                    module.code, None, options, module.backend, False, False, False, None, log
                )
            except compiler.CompileException as error:
                pytest.fail(str(error))
        self.log = log.getvalue()

    def _replaced(self, compiler: Any, architecture: int) -> dict[str, Any]:
        """Return what takes the place of CuPy's functions that require a device."""
        compiled = self

        class Program(compiler._NVRTCProgram):  # type: ignore[misc]
            def compile(self, options: tuple[str, ...] = (), log_stream: Any = None) -> Any:
                compiled.options = tuple(options)
                machine_code = super().compile(options, log_stream)
                compiled.ptx = compiler.nvrtc.getPTX(self.ptr).decode()
                return machine_code

        class Module(compiler.function.Module):  # type: ignore[misc]
            def load(self, code: bytes) -> None:
                compiled.code = code

        return {
            "_NVRTCProgram": Program,
            "_use_ptx": False,
            "_get_arch": lambda: str(architecture),
            "_get_arch_for_options_for_nvrtc": compiler._get_arch_for_options_for_nvrtc.__wrapped__,
            "function": SimpleNamespace(Module=Module),
        }


def import_cupy() -> Any:
    """Return CuPy and its module that calls NVRTC."""
    if STANDIN and not os.environ.get("GPUCNN_REQUIRE_NVRTC"):
        pytest.skip("these need NVIDIA's NVRTC, which the stand-in replaces: run them without it")
    try:
        import cupy
        from cupy.cuda import compiler, nvrtc

        nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        if REQUIRED:
            raise
        pytest.skip(f"no NVRTC ({type(error).__name__}): pip install '.[nvrtc]'")
    return cupy, compiler


ARITHMETIC = re.compile(
    r"\s((?:add|sub|mul|fma|div|sqrt|min|max|abs|neg|setp)\.[\w.]*f(?:32|64))\b"
)


def assert_flushes_float32_only(ptx: str) -> None:
    """Arithmetic in float32 flushes subnormal numbers, and that in float64 does not."""
    found = set(ARITHMETIC.findall(ptx))
    assert all((".ftz" in name) == name.endswith("f32") for name in found), found


def assert_multiplies(ptx: str, file: Path, by_tensor_cores: bool) -> None:
    """Every kernel of the file multiplies TF32 by tensor cores, or as the emulator does."""
    kernels = ptx.split(".entry ")[1:]
    assert len(kernels) == source(file).count("__global__")
    for kernel in kernels:
        instruction = "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" in kernel
        assert instruction == by_tensor_cores
        assert ("shfl.sync" in kernel) != instruction


@pytest.mark.parametrize(
    ("file", "architecture"),
    [
        pytest.param(file, architecture, id=f"{file.stem}-{architecture}")
        for architecture in ARCHITECTURES
        for file in FILES
        # Without tensor cores for it, --precision tf32 is refused.
        if not is_tf32(file) or architecture >= TENSOR_CORES
    ],
)
def test_kernels_compile_without_a_warning_or_a_spill(file: Path, architecture: int) -> None:
    """All is read from one compilation, which may take seconds."""
    names = {name for name, found in signatures(kernel_folder()).items() if found.file == file}
    for real in reals(file):
        if real == "double" and architecture not in ARCHITECTURES_FOR_DOUBLE:
            continue
        compiled = Compiled(file, architecture, real, VERBOSE)
        assert "warning" not in compiled.log.lower(), compiled.log
        found = read_resources(compiled.log)
        assert set(found) == names
        for name, row in found.items():
            assert (row.spill_stores, row.spill_loads) == (0, 0), f"{name} spills ({real})"
        assert compiled.code[:4] == b"\x7fELF"
        assert set(re.findall(r"\.entry (\w+)", compiled.ptx)) == names
        assert_flushes_float32_only(compiled.ptx)
        if is_tf32(file):
            assert_multiplies(compiled.ptx, file, by_tensor_cores=True)


def test_tf32_is_multiplied_without_tensor_cores_where_there_are_none() -> None:
    file = next(file for file in FILES if file.stem == "linear_tf32")
    compiled = Compiled(file, TENSOR_CORES - 5, "float")
    assert_multiplies(compiled.ptx, file, by_tensor_cores=False)


def test_resources_are_read_without_cupy_as_well() -> None:
    """``gpucnn profile`` calls NVRTC itself, with the same options."""
    file = next(file for file in FILES if file.stem == "relu")
    with_cupy = read_resources(Compiled(file, 90, "float", VERBOSE).log)
    options = ("--std=c++17", "-Dreal=float")
    assert compile_resources(source(file), options, 90) == with_cupy


def test_the_options_are_those_of_gpucnn_and_two_that_cupy_adds() -> None:
    """A new one may change what kernels compute: see "Compiler options" in kernels/README.md."""
    given = Compiled(FILES[0], 90, "float").options
    options = sorted(option for option in given if not option.startswith("-I"))
    assert options == sorted(
        [
            *("--std=c++17", "-Dreal=float", "-arch=sm_90"),
            *("-ftz=true", "--device-as-default-execution-space"),
        ]
    )


def main(architecture: int = 90) -> None:
    print("| kernel | real | registers | spills | shared memory |\n| --- | --- | --- | --- | --- |")
    for file in FILES:
        for real in reals(file):
            log = Compiled(file, architecture, real, VERBOSE).log
            for name, row in read_resources(log).items():
                spills = row.spill_stores + row.spill_loads
                print(f"| {name} | {real} | {row.registers} | {spills} | {row.shared} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
