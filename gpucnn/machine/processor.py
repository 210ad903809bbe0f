"""What the system says of the processor. Imports nothing that imports NumPy."""

from __future__ import annotations

import os
import platform
from pathlib import Path

# What OpenBLAS's kernels called SkylakeX use: without one of these they end in an illegal
# instruction.
_SKYLAKEX = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "fma", "avx2"}


def says(key: str) -> str:
    """Return what Linux says of the first processor under ``key``, elsewhere nothing."""
    lines = _text("/proc/cpuinfo").splitlines()
    found = (line.partition(":")[2].strip() for line in lines if line.partition("\t")[0] == key)
    return next(found, "")


def name() -> str:
    """Return what the processor is called."""
    return says("model name") or platform.processor() or platform.machine()


def has_avx512() -> bool:
    """Return whether this processor runs OpenBLAS's AVX-512 kernels."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and set(says("flags").split()) >= _SKYLAKEX


def cores() -> int:
    """Return how many physical cores this process may use.

    Affinity and a container's share of processor time are heeded where the system tells; where it
    does not tell which processors share a core, each counts as one.
    """
    if hasattr(os, "sched_getaffinity"):
        place = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
        count = len({_text(place.format(cpu)) or cpu for cpu in os.sched_getaffinity(0)})
    else:
        count = os.cpu_count() or 1
    return max(1, min(count, _quota() or count))


def _quota() -> int | None:
    """Return the whole processors' time that a Linux container has, None if it has no limit."""
    root = "/sys/fs/cgroup"
    found = _text(f"{root}/cpu.max") or " ".join(
        _text(f"{root}/cpu/cpu.cfs_{key}_us") for key in ("quota", "period")
    )
    quota, _, period = found.partition(" ")
    if not (quota.isdecimal() and period.isdecimal()):
        return None
    return max(1, int(quota) // int(period))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
