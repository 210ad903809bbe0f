"""The machine and the versions that figures belong to."""

from __future__ import annotations

import ctypes
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# What OpenBLAS's SkylakeX kernels need; without them they end in an illegal instruction.
_SKYLAKEX = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}


def describe() -> dict[str, Any]:
    """Return the date, CPU and versions, as plain data."""
    from gpucnn import __version__

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu(),
        "cores": cores(),
        "avx512": avx512(),
        "load": load(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "gpucnn": __version__,
        "numpy": installed("numpy"),
        "torch": installed("torch"),
        "blas": blas(),
    }


def cores() -> int:
    """Return how many logical cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float | None:
    """Return how many processes ran in the last minute: figures of a busy machine say little."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def cpu() -> str:
    """Return the CPU's name."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def avx512() -> bool:
    """Return whether OpenBLAS's AVX-512 kernels run here."""
    return set(_cpuinfo("flags").split()) >= _SKYLAKEX


def installed(package: str) -> str | None:
    """Return a package's version, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def blas() -> dict[str, Any]:
    """Return NumPy's BLAS and, if it is OpenBLAS, the kernels and threads of this process."""
    import numpy as np

    built: Any = np.show_config(mode="dicts")
    library = built.get("Build Dependencies", {}).get("blas", {})
    found = {key: library.get(key) for key in ("name", "version")}
    loaded = _openblas()
    if loaded is not None:
        library, name = loaded
        core = getattr(library, name)
        core.restype = ctypes.c_char_p
        found["core"] = core().decode()
        found["threads"] = getattr(library, name.replace("corename", "num_threads"))()
    return found


def _openblas() -> tuple[ctypes.CDLL, str] | None:
    """Return the OpenBLAS in this process and what it calls the function that names the CPU."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    for path in sorted({line.split()[-1] for line in lines if "openblas" in line}):
        library = ctypes.CDLL(path)
        for prefix in ("scipy_openblas", "openblas"):
            for suffix in ("64_", ""):
                name = f"{prefix}_get_corename{suffix}"
                if hasattr(library, name):
                    return library, name
    return None


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(found, "")
