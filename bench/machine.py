"""The machine and the versions, to be recorded with all figures."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from threadpoolctl import threadpool_info

from gpucnn.backends.cuda import probe
from gpucnn.errors import BackendError
from gpucnn.machine import processor


def describe() -> dict[str, Any]:
    """Return the date, CPU and versions, as plain data."""
    from gpucnn import __version__

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": processor.name(),
        "cores": cores(),
        "avx512": processor.has_avx512(),
        "load": load(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "gpucnn": __version__,
        "numpy": installed("numpy"),
        "torch": installed("torch"),
        "blas": blas(),
        "gpu": gpu(),
    }


def cores() -> int:
    """Return the number of logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float | None:
    """Return the load average of the last minute; figures from a busy machine are unreliable."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def installed(package: str) -> str | None:
    """Return a package's version, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def blas() -> dict[str, Any]:
    """Return NumPy's BLAS and its kernels and threads in this process."""
    import numpy as np

    built: Any = np.show_config(mode="dicts")
    library = built.get("Build Dependencies", {}).get("blas", {})
    found = {key: library.get(key) for key in ("name", "version")}
    for loaded in threadpool_info():
        if loaded["user_api"] == "blas":
            found["core"], found["threads"] = loaded.get("architecture"), loaded["num_threads"]
    return found


def gpu() -> dict[str, Any] | None:
    """Return the first NVIDIA GPU and its driver and libraries, None if CuPy finds none."""
    try:
        cupy = probe.import_cupy()
    except BackendError:
        return None
    runtime = cupy.cuda.runtime
    about = runtime.getDeviceProperties(0)
    return {
        "name": about["name"].decode(),
        "multiprocessors": about.get("multiProcessorCount"),
        "memory": about.get("totalGlobalMem"),
        "l2": about.get("l2CacheSize"),
        "driver": driver(),
        "driver_cuda": runtime.driverGetVersion(),
        "cuda_runtime": runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
    }


def driver() -> str | None:
    """Return the version of the NVIDIA driver according to nvidia-smi."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n")[0].strip()
