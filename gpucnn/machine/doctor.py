"""What this machine has of what gpucnn can use, and for what is missing the line that mends it."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gpucnn.backends.cuda import sources, tiles
from gpucnn.backends.cuda.probe import driver_version, import_cupy, install_line, installed_wheels
from gpucnn.errors import BackendError, GpucnnError
from gpucnn.machine import openblas, processor

State = Literal["ok", "missing", "bad"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, and where it is not as it should be, what to do."""

    name: str
    state: State
    found: str
    fix: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything, one after the other; nothing raises."""
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
    """Return the linear algebra library that NumPy was built with, and how it runs here."""
    config: dict[str, Any] = np.show_config(mode="dicts")  # type: ignore[assignment]
    blas = config.get("Build Dependencies", {}).get("blas", {})
    library = f"{blas.get('name', 'unknown BLAS')} {blas.get('version', '')}"
    in_use = openblas.in_use()
    if in_use is None:
        return library
    kernels, threads = in_use
    return f"{library}, {kernels} kernels, {threads} thread{'s' * (threads > 1)}"


def _pillow() -> Finding:
    try:
        return Finding("Pillow", "ok", metadata.version("pillow"))
    except metadata.PackageNotFoundError:
        return Finding("Pillow", "missing", "for pictures", "pip install 'gpucnn[images]'")


def _kernels() -> Finding:
    try:
        found = sources.signatures(sources.kernel_folder())
        tiles.load(found)
    except GpucnnError as error:
        return Finding("kernels", "bad", str(error), "install gpucnn again")
    return Finding("kernels", "ok", f"{len(found)}, and the table of tiles")


def _gpu() -> Iterator[Finding]:
    version = driver_version()
    if version is None:
        yield Finding("NVIDIA driver", "missing", "for the cuda backend", "install NVIDIA's driver")
    else:
        yield Finding("NVIDIA driver", "ok", f"supports CUDA {_dotted(version)}")
    wheels = installed_wheels()
    if not wheels:
        yield Finding("CuPy", "missing", "for the cuda backend", install_line())
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
    yield Finding("NVRTC", "ok", f"{nvrtc}: a kernel compiled and ran")
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
        return Finding("g++", "missing", "for the emulated backend", str(error))
    text = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return Finding("g++", "ok", (text.stdout or compiler).splitlines()[0])


def _caches() -> Iterator[Finding]:
    """Look at where compiled kernels are kept, by CuPy and by the emulator."""
    from gpucnn.emulator import cache

    own = os.environ.get("CUPY_CACHE_DIR") or os.path.expanduser("~/.cupy/kernel_cache")
    for name, folder in (("CuPy's cache", own), ("our cache", os.fspath(cache.folder()))):
        place = next(p for p in (Path(folder), *Path(folder).parents) if p.exists())
        if os.access(place, os.W_OK):
            yield Finding(name, "ok", folder)
        else:
            yield Finding(name, "bad", f"{folder} cannot be written", f"chmod u+w {place}")
