"""The machine and the versions that figures belong to."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gpucnn import openblas, processor


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
    }


def cores() -> int:
    """Return how many logical cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float | None:
    """Return how many processes ran in the last minute: figures of a busy machine say little."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


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
    in_use = openblas.in_use()
    if in_use is not None:
        found["core"], found["threads"] = in_use
    return found
