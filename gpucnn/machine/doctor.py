"""The hardware and libraries that gpucnn can use, and how to install what is missing."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_info

from gpucnn.backends.cuda import sources, tiles
from gpucnn.backends.cuda.probe import driver_version, import_cupy, install_line, installed_wheels
from gpucnn.errors import BackendError, GpucnnError
from gpucnn.machine import processor

State = Literal["ok", "missing", "bad"]


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was found and, unless it is ok, how to fix it."""

    name: str
    state: State
    found: str
    fix: str = ""


def examine() -> Iterator[Finding]:
    """Yield the findings one after the other. Nothing raises."""
    yield Finding("Python", "ok", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("processor", "ok", _processor())
    yield Finding("NumPy", "ok", f"{np.__version__}, {_blas()}")
    yield _pillow()
    yield _kernels()
    yield from _gpu()
    yield _gplusplus()
    yield from _caches()


def _processor() -> str:
    avx512 = ", AVX-512" if processor.has_avx512() else ""
    cores = processor.cores()
    return f"{processor.name()}, {cores} core{'s' * (cores > 1)}{avx512}"


def _blas() -> str:
    """Return the BLAS that NumPy was built with, and its kernels and threads in this process."""
    config: dict[str, Any] = np.show_config(mode="dicts")  # type: ignore[assignment]
    blas = config.get("Build Dependencies", {}).get("blas", {})
    library = f"{blas.get('name', 'unknown BLAS')} {blas.get('version', '')}"
    for loaded in threadpool_info():
        if loaded["user_api"] == "blas":
            kernels = f", {loaded['architecture']} kernels" if loaded.get("architecture") else ""
            threads = loaded["num_threads"]
            return f"{library}{kernels}, {threads} thread{'s' * (threads > 1)}"
    return library


def _pillow() -> Finding:
    try:
        return Finding("Pillow", "ok", metadata.version("pillow"))
    except metadata.PackageNotFoundError:
        return Finding(
            "Pillow", "missing", "needed to read image files", "pip install 'gpucnn[images]'"
        )


def _kernels() -> Finding:
    try:
        found = sources.signatures(sources.kernel_folder())
        tiles.load(found)
    except GpucnnError as error:
        return Finding("kernels", "bad", str(error), "reinstall gpucnn")
    return Finding("kernels", "ok", f"{len(found)} kernels and their tuning table")


def _gpu() -> Iterator[Finding]:
    version = driver_version()
    if version is None:
        yield Finding(
            "NVIDIA driver", "missing", "needed by the cuda backend", "install NVIDIA's driver"
        )
    else:
        yield Finding("NVIDIA driver", "ok", f"supports CUDA {_dotted(version)}")
    wheels = installed_wheels()
    if not wheels:
        yield Finding("CuPy", "missing", "needed by the cuda backend", install_line())
        return
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in wheels)
    try:
        cupy = import_cupy()
    except BackendError as error:
        yield Finding("CuPy", "bad", packages, str(error))
        return
    runtime = cupy.cuda.runtime
    nvrtc = ".".join(map(str, cupy.cuda.nvrtc.getVersion()))
    yield Finding("CuPy", "ok", f"{packages}, CUDA {_dotted(runtime.runtimeGetVersion())}")
    yield Finding("NVRTC", "ok", f"{nvrtc}, a test kernel compiled and ran")
    for index in range(runtime.getDeviceCount()):
        properties = runtime.getDeviceProperties(index)
        name = properties["name"].decode()
        capability = f"{properties['major']}.{properties['minor']}"
        memory = properties["totalGlobalMem"] / 2**30
        found = f"{name}, {memory:.0f} GiB, compute capability {capability}"
        yield Finding(f"GPU {index}", "ok", found)


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _gplusplus() -> Finding:
    from gpucnn.emulator import toolchain

    try:
        compiler = toolchain.find_compiler()
    except BackendError as error:
        return Finding("g++", "missing", "needed by the emulated backend", str(error))
    try:
        text = toolchain.compiler_version(compiler)
    except GpucnnError as error:
        return Finding("g++", "bad", compiler, str(error))
    return Finding("g++", "ok", (text or compiler).splitlines()[0])


def _caches() -> Iterator[Finding]:
    """Check that CuPy and the emulator can use the folders of their compiled kernels."""
    folder = os.environ.get("CUPY_CACHE_DIR") or os.path.expanduser("~/.cupy/kernel_cache")
    existing = next(p for p in (Path(folder), *Path(folder).parents) if p.exists())
    if os.access(existing, os.W_OK):
        yield Finding("CuPy cache", "ok", folder)
    else:
        # Elsewhere, such as in a home that does not exist, the permissions are as they should be.
        here = str(existing) == folder and os.name == "posix"
        own = here and existing.stat().st_uid == os.getuid()
        fix = f"chmod u+w {shlex.quote(folder)}" if own else "set CUPY_CACHE_DIR to another folder"
        yield Finding("CuPy cache", "bad", f"{folder} is not writable", fix)
    yield _emulator_cache()


def _emulator_cache() -> Finding:
    from gpucnn.emulator import cache

    try:
        folder, damaged = cache.folder(), cache.damaged()
    except (GpucnnError, OSError) as error:
        return Finding("emulator cache", "bad", "cannot be used", str(error))
    if not damaged:
        return Finding("emulator cache", "ok", os.fspath(folder))
    found = f"{folder} has {len(damaged)} damaged entr{'ies' if len(damaged) > 1 else 'y'}"
    return Finding("emulator cache", "bad", found, "none needed: rebuilt at the next use")
